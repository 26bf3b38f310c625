package org.pocketdistill.demo.instrument;

/** What the platform knows of the device; null where it does not tell. */
public interface Surroundings {
    /** Nanoseconds since boot, sleep included. */
    long sinceBootNanos();

    int processId();

    /** ABI of this process, e.g. arm64-v8a. */
    String abi();

    /** 0 none, 1 light, 2 moderate, 3 severe, 4 critical, 5 emergency, 6 shutdown. */
    Integer thermalStatus();

    /** Share of the way to severe throttling; 1 is there. */
    Double thermalHeadroom();
}
