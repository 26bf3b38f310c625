package org.pocketdistill.demo.instrument;

import java.util.Arrays;

/** The latest latencies of a stream, in a ring of fixed size, and what is shown of them. Nothing is removed. */
public final class Latencies {
    /** A 90th percentile of fewer samples would be little more than the slowest one. */
    public static final int MIN_COUNT_FOR_P90 = 20;

    private final long[] ring;
    private final long[] sorted;
    private int count;
    private int next;

    /** Keeps the last {@code capacity} values, at least one. */
    public Latencies(int capacity) {
        ring = new long[capacity];
        sorted = new long[capacity];
    }

    public void add(long latencyNanos) {
        ring[next] = latencyNanos;
        next = (next + 1) % ring.length;
        count = Math.min(count + 1, ring.length);
    }

    public int count() {
        return count;
    }

    /** Median in milliseconds; NaN if there is no value. */
    public double medianMs() {
        return percentileMs(0.5, 1);
    }

    /** 90th percentile in milliseconds; NaN below {@link #MIN_COUNT_FOR_P90} values. */
    public double p90Ms() {
        return percentileMs(0.9, MIN_COUNT_FOR_P90);
    }

    /** Median of any values in nanoseconds, in milliseconds; NaN if there are none. */
    public static double medianMs(long[] latenciesNanos) {
        Latencies all = new Latencies(Math.max(1, latenciesNanos.length));
        for (long value : latenciesNanos) {
            all.add(value);
        }
        return all.medianMs();
    }

    /** Linear interpolation between the nearest ranks, as NumPy's default percentile. */
    private double percentileMs(double share, int minCount) {
        if (count < minCount) {
            return Double.NaN;
        }
        System.arraycopy(ring, 0, sorted, 0, count);
        Arrays.sort(sorted, 0, count);
        double rank = share * (count - 1);
        int below = (int) rank;
        int above = Math.min(below + 1, count - 1);
        return (sorted[below] + (rank - below) * (sorted[above] - sorted[below])) / 1e6;
    }
}
