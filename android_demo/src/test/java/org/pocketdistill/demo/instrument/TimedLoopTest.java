package org.pocketdistill.demo.instrument;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertSame;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.util.ArrayList;
import java.util.List;

import org.junit.Test;
import org.pocketdistill.demo.engine.EngineException;

public final class TimedLoopTest {
    private static final long MS = 1_000_000L;

    /** A clock that moves only when the call or the observer takes time. */
    private static final class FakeTime implements Clock, TimedLoop.Call, TimedLoop.Observer {
        final List<Integer> observed = new ArrayList<>();
        long now = 5;
        int calls;
        long callNanos = 10 * MS;
        long observerNanos;

        @Override
        public long nanos() {
            return now;
        }

        @Override
        public void run() throws EngineException {
            calls++;
            now += callNanos;
        }

        @Override
        public void between(int sampleCount) {
            observed.add(sampleCount);
            now += observerNanos;
        }
    }

    private static Limits limits(
            int warmupCount, double warmupS, double warmupCapS, int minCount, double minS, int maxCount, double maxS) {
        return new Limits(warmupCount, warmupS, warmupCapS, minCount, minS, maxCount, maxS);
    }

    private static TimedLoop.Timing measure(FakeTime time, Limits limits) throws EngineException {
        return new TimedLoop(time, limits).measure(time, time);
    }

    @Test
    public void bothFloorsMustBeReached() throws EngineException {
        TimedLoop.Timing timing = measure(new FakeTime(), limits(3, 0.1, 5, 5, 0.2, 3000, 10));
        assertEquals(10, timing.warmupCount);
        assertEquals(100 * MS, timing.warmupNanos);
        assertEquals(20, timing.samplesNanos.length);
        timing = measure(new FakeTime(), limits(30, 0.1, 5, 50, 0.2, 3000, 10));
        assertEquals(30, timing.warmupCount);
        assertEquals(50, timing.samplesNanos.length);
    }

    @Test
    public void capsStopAtOnce() throws EngineException {
        TimedLoop.Timing timing = measure(new FakeTime(), limits(1000, 0.1, 0.25, 1000, 0.2, 3000, 0.3));
        assertEquals(25, timing.warmupCount);
        assertEquals(30, timing.samplesNanos.length);
        timing = measure(new FakeTime(), limits(1, 0, 5, 5, 1, 7, 10));
        assertEquals(7, timing.samplesNanos.length);
    }

    @Test
    public void oneSampleIsAlwaysTaken() throws EngineException {
        FakeTime time = new FakeTime();
        time.callNanos = 60_000 * MS;
        TimedLoop.Timing timing = measure(time, limits(10, 0.5, 5, 100, 1, 3000, 10));
        assertArrayEquals(new long[] {60_000 * MS}, timing.samplesNanos);
        assertEquals(60_000 * MS, timing.firstNanos);
        assertEquals(1, timing.warmupCount);
    }

    @Test
    public void whatTheObserverTakesIsInNoSample() throws EngineException {
        FakeTime time = new FakeTime();
        time.observerNanos = 7 * MS;
        TimedLoop.Timing timing = measure(time, limits(1, 0, 5, 200, 1, 3000, 10));
        for (long sample : timing.samplesNanos) {
            assertEquals(10 * MS, sample);
        }
        assertEquals(200, timing.samplesNanos.length);
        assertEquals(3, time.observed.size());
        assertEquals(50, (int) time.observed.get(0));
    }

    @Test
    public void everyCallIsAccountedFor() throws EngineException {
        FakeTime time = new FakeTime();
        TimedLoop.Timing timing = measure(time, limits(3, 0.1, 5, 5, 0.2, 3000, 10));
        assertEquals(1 + timing.warmupCount + timing.samplesNanos.length, time.calls);
    }

    @Test
    public void whatTheCallThrowsIsPassedOn() {
        final EngineException failure = new EngineException("out of memory");
        FakeTime time = new FakeTime();
        try {
            new TimedLoop(time, Limits.DEFAULT).measure(new TimedLoop.Call() {
                @Override
                public void run() throws EngineException {
                    throw failure;
                }
            }, time);
            fail();
        } catch (EngineException found) {
            assertSame(failure, found);
        }
    }

    @Test
    public void shownStatisticsAreNumpys() {
        Latencies latencies = new Latencies(100);
        assertTrue(Double.isNaN(latencies.medianMs()));
        for (int i = 1; i <= 19; i++) {
            latencies.add(i * MS);
        }
        assertEquals(10, latencies.medianMs(), 0);
        assertTrue("too few for a p90", Double.isNaN(latencies.p90Ms()));
        latencies.add(20 * MS);
        assertEquals(10.5, latencies.medianMs(), 1e-9);
        assertEquals(18.1, latencies.p90Ms(), 1e-9);
    }

    @Test
    public void onlyTheLatestValuesCount() {
        Latencies latencies = new Latencies(3);
        for (int i = 1; i <= 10; i++) {
            latencies.add(i * MS);
        }
        assertEquals(3, latencies.count());
        assertEquals(9, latencies.medianMs(), 0);
        assertEquals(2, Latencies.medianMs(new long[] {3 * MS, MS, 2 * MS}), 0);
    }
}
