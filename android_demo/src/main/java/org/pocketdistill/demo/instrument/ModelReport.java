package org.pocketdistill.demo.instrument;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import org.pocketdistill.demo.engine.Engine;

/** What was seen of one model so far; what was not reached stays null, 0 or empty. */
final class ModelReport {
    private static final double NANOS_PER_MS = 1e6;
    private static final double NANOS_PER_SECOND = 1e9;

    private final String id;
    private String sha256;
    private String error;
    private Engine engine;
    private Double loadMs;
    private TimedLoop.Timing timing;
    private float[] goldenOutput = new float[0];
    private Long peakMemoryBytes;
    private final List<Object> readings = new ArrayList<>();
    private List<Object> outputs = new ArrayList<>();
    private Map<String, Object> stages;
    private int answered;
    private List<Object> unreadable = new ArrayList<>();
    private String logitsSha256;

    ModelReport(String id) {
        this.id = id;
    }

    void hashed(String foundSha256) {
        sha256 = foundSha256;
    }

    void opened(Engine opened, long loadNanos) {
        engine = opened;
        loadMs = loadNanos / NANOS_PER_MS;
    }

    void measured(TimedLoop.Timing measuredTiming) {
        timing = measuredTiming;
    }

    void checked(Repeats repeats) {
        goldenOutput = repeats.first();
        outputs = repeats.toJson();
        peakMemoryBytes = Proc.peakMemoryBytes();
    }

    void timedPath(PathStages path, TimedLoop.Timing pathTiming) {
        stages = path.toJson(pathTiming.samplesNanos);
    }

    void answered(Answering answering, String sha256OfLogits) {
        answered = answering.count();
        unreadable = answering.unreadable();
        logitsSha256 = sha256OfLogits;
    }

    void failed(String reason) {
        error = reason;
    }

    /** Notes the device's state after {@code sampleCount} samples. */
    void read(Surroundings device, int sampleCount) {
        Integer core = Proc.core();
        Map<String, Object> reading = new LinkedHashMap<>();
        reading.put("at_ns", device.sinceBootNanos());
        reading.put("sample_index", sampleCount);
        reading.put("thermal_status", device.thermalStatus());
        reading.put("thermal_headroom", device.thermalHeadroom());
        reading.put("core", core);
        reading.put("core_khz", Proc.coreKhz(core));
        readings.add(reading);
    }

    Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("id", id);
        json.put("sha256", sha256);
        json.put("error", error);
        json.put("runtime", engine == null ? null : engine.runtime());
        json.put("runtime_version", engine == null ? null : engine.runtimeVersion());
        json.put("threads_active", engine == null ? null : engine.threads());
        json.put("accelerator_active", engine == null ? null : engine.accelerator());
        json.put("load_ms", loadMs);
        json.put("first_inference_ms", timing == null ? null : timing.firstNanos / NANOS_PER_MS);
        json.put("warmup_count", timing == null ? 0 : timing.warmupCount);
        json.put("warmup_s", timing == null ? 0.0 : timing.warmupNanos / NANOS_PER_SECOND);
        json.put("samples_ns", timing == null ? new long[0] : timing.samplesNanos);
        json.put("sample_count", timing == null ? 0 : timing.samplesNanos.length);
        json.put("golden_output", goldenOutput);
        json.put("peak_memory_bytes", peakMemoryBytes);
        json.put("readings", readings);
        json.put("outputs", outputs);
        json.put("stages", stages);
        json.put("answered", answered);
        json.put("unreadable", unreadable);
        json.put("logits_sha256", logitsSha256);
        return json;
    }
}
