package org.pocketdistill.demo.instrument;

import java.util.LinkedHashMap;
import java.util.Map;

import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.json.JsonObject;

/**
 * When warm-up and sampling stop (the toolkit's {@code bench.timing.loop.Limits}).
 *
 * <p>Floors must both be reached; a cap stops at once, floor or not. One sample is always taken.
 */
public final class Limits {
    /** What a person's tap on "measure" uses, and what a job that leaves a limit out means. */
    public static final Limits DEFAULT = new Limits(10, 0.5, 5.0, 100, 1.0, 3000, 10.0);

    final int warmupCount;
    final double warmupSeconds;
    final double warmupCapSeconds;
    final int minCount;
    final double minSeconds;
    final int maxCount;
    final double maxSeconds;

    Limits(
            int warmupCount, double warmupSeconds, double warmupCapSeconds, int minCount, double minSeconds,
            int maxCount, double maxSeconds) {
        this.warmupCount = warmupCount;
        this.warmupSeconds = warmupSeconds;
        this.warmupCapSeconds = warmupCapSeconds;
        this.minCount = minCount;
        this.minSeconds = minSeconds;
        this.maxCount = maxCount;
        this.maxSeconds = maxSeconds;
    }

    static Limits parse(JsonObject json) throws JsonException {
        json.allowKeys("warmup_count", "warmup_s", "warmup_cap_s", "min_count", "min_s", "max_count", "max_s");
        Limits limits = new Limits(
                count(json, "warmup_count", DEFAULT.warmupCount),
                seconds(json, "warmup_s", DEFAULT.warmupSeconds),
                seconds(json, "warmup_cap_s", DEFAULT.warmupCapSeconds),
                count(json, "min_count", DEFAULT.minCount),
                seconds(json, "min_s", DEFAULT.minSeconds),
                count(json, "max_count", DEFAULT.maxCount),
                seconds(json, "max_s", DEFAULT.maxSeconds));
        requireOrder("warmup_s", limits.warmupSeconds, limits.warmupCapSeconds);
        requireOrder("min_count", limits.minCount, limits.maxCount);
        requireOrder("min_s", limits.minSeconds, limits.maxSeconds);
        return limits;
    }

    Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("warmup_count", warmupCount);
        json.put("warmup_s", warmupSeconds);
        json.put("warmup_cap_s", warmupCapSeconds);
        json.put("min_count", minCount);
        json.put("min_s", minSeconds);
        json.put("max_count", maxCount);
        json.put("max_s", maxSeconds);
        return json;
    }

    private static int count(JsonObject json, String key, int otherwise) throws JsonException {
        return json.has(key) ? json.integer(key, 1) : otherwise;
    }

    private static double seconds(JsonObject json, String key, double otherwise) throws JsonException {
        double value = json.has(key) ? json.number(key) : otherwise;
        if (value < 0) {
            throw new JsonException("limits." + key + ": must not be negative, found " + value);
        }
        return value;
    }

    private static void requireOrder(String name, double floor, double cap) throws JsonException {
        if (floor > cap) {
            throw new JsonException("limits." + name + " is " + floor + ", above its cap " + cap);
        }
    }
}
