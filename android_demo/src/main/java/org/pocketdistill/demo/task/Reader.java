package org.pocketdistill.demo.task;

/** Makes answers of the outputs of one model. Used by one thread at a time. */
public interface Reader {
    /** What one picture's output says; {@code output} is not kept. */
    Answer read(float[] output);
}
