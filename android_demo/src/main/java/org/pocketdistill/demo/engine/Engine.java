package org.pocketdistill.demo.engine;

import java.nio.FloatBuffer;

/**
 * A loaded model on one runtime, for one batch size. All memory is taken when it is opened.
 *
 * <p>Used by one thread at a time.
 */
public interface Engine {
    /** What runs the model: executorch, onnxruntime, litert or libtorch. */
    String runtime();

    String runtimeVersion();

    /** Threads in use, as asked for and accepted. */
    int threads();

    /** Delegate or provider in use, e.g. xnnpack; null if the runtime has no such notion. */
    String accelerator();

    /** Hands over input values, batch x channels x height x width in [0, 1], from position 0 on. */
    void setInput(FloatBuffer values) throws EngineException;

    /** One inference and nothing else: what a benchmark times. */
    void run() throws EngineException;

    /** Copies the output of the last {@link #run} into {@code logits}, as many values as its shape has. */
    void readOutput(float[] logits) throws EngineException;

    /** Frees native memory. */
    void close();
}
