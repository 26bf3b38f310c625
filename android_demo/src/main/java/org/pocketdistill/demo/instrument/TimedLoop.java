package org.pocketdistill.demo.instrument;

import java.util.Arrays;

import org.pocketdistill.demo.engine.EngineException;

/**
 * The timed loop: first call, warm-up, samples; the same stopping rules as the toolkit's {@code bench.timing.loop}.
 *
 * <p>Between the two readings of the clock there is the call and nothing else. Memory for all samples is taken
 * beforehand; nothing is logged, allocated or drawn while sampling, apart from what the observer does between samples.
 */
public final class TimedLoop {
    private static final double NANOS_PER_SECOND = 1e9;
    private static final long OBSERVE_EVERY_NANOS = 500_000_000L;

    /** What is timed. */
    public interface Call {
        void run() throws EngineException;
    }

    /** Is told between two samples, about every half second, how many samples there are. */
    public interface Observer {
        void between(int sampleCount);
    }

    /** What was seen; all times in nanoseconds, samples in order, none removed. */
    public static final class Timing {
        public final long firstNanos;
        public final int warmupCount;
        public final long warmupNanos;
        public final long[] samplesNanos;

        Timing(long firstNanos, int warmupCount, long warmupNanos, long[] samplesNanos) {
            this.firstNanos = firstNanos;
            this.warmupCount = warmupCount;
            this.warmupNanos = warmupNanos;
            this.samplesNanos = samplesNanos;
        }
    }

    private final Clock clock;
    private final Limits limits;

    public TimedLoop(Clock clock, Limits limits) {
        this.clock = clock;
        this.limits = limits;
    }

    /** Times a call; whatever it throws ends the measurement and is passed on. */
    public Timing measure(Call call, Observer observer) throws EngineException {
        long began = clock.nanos();
        call.run();
        long firstNanos = clock.nanos() - began;
        long[] samplesNanos = new long[limits.maxCount];
        long warmupBegan = clock.nanos();
        int warmupCount = warmUp(call, warmupBegan);
        long warmupNanos = clock.nanos() - warmupBegan;
        // A collection now is one that no sample pays for.
        Runtime.getRuntime().gc();
        int count = sample(call, observer, samplesNanos);
        return new Timing(firstNanos, warmupCount, warmupNanos, Arrays.copyOf(samplesNanos, count));
    }

    private int warmUp(Call call, long began) throws EngineException {
        int count = 0;
        double seconds = 0;
        while (seconds < limits.warmupCapSeconds
                && (count < limits.warmupCount || seconds < limits.warmupSeconds)) {
            call.run();
            count++;
            seconds = (clock.nanos() - began) / NANOS_PER_SECOND;
        }
        return count;
    }

    private int sample(Call call, Observer observer, long[] samplesNanos) throws EngineException {
        double floorNanos = limits.minSeconds * NANOS_PER_SECOND;
        double capNanos = limits.maxSeconds * NANOS_PER_SECOND;
        int count = 0;
        long began = clock.nanos();
        long observed = began;
        while (count < samplesNanos.length) {
            long start = clock.nanos();
            call.run();
            long end = clock.nanos();
            samplesNanos[count] = end - start;
            count++;
            if (end - began >= (count >= limits.minCount ? floorNanos : capNanos)) {
                break;
            }
            if (end - observed >= OBSERVE_EVERY_NANOS) {
                observer.between(count);
                observed = end;
            }
        }
        return count;
    }
}
