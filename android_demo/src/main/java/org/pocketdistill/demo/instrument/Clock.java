package org.pocketdistill.demo.instrument;

/** Nanoseconds since any fixed moment; only differences mean something. */
public interface Clock {
    long nanos();
}
