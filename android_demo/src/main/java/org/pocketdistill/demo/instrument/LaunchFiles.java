package org.pocketdistill.demo.instrument;

import java.io.File;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import org.pocketdistill.demo.json.JsonText;
import org.pocketdistill.demo.model.WholeFile;

/** The files of a launch, progress journal, result and logits, in every folder the host may look into. */
final class LaunchFiles {
    private final String runId;
    private final List<File> folders;
    private final Surroundings device;

    LaunchFiles(String runId, List<File> folders, Surroundings device) {
        this.runId = runId;
        this.folders = folders;
        this.device = device;
    }

    /** Adds a line to the progress journal; {@code modelId} is null where the stage is about the whole job. */
    void progress(String stage, String modelId) throws IOException {
        progress(stage, modelId, null, null);
    }

    /** The same, with how many of how many pictures are answered. */
    void progress(String stage, String modelId, Integer done, Integer total) throws IOException {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("schema_version", Job.SCHEMA_VERSION);
        line.put("run_id", runId);
        line.put("stage", stage);
        line.put("model_id", modelId);
        line.put("pid", device.processId());
        line.put("at_ns", device.sinceBootNanos());
        line.put("done", done);
        line.put("total", total);
        for (File folder : folders) {
            WholeFile.appendLine(new File(folder, runId + ".progress.jsonl"), JsonText.of(line));
        }
    }

    /** Writes the result, which appears whole or not at all. */
    void result(Map<String, Object> result) throws IOException {
        for (File folder : folders) {
            WholeFile.write(resultFile(folder, runId), JsonText.of(result) + "\n");
        }
    }

    /** Writes the logits of all pictures, float32, little-endian, whole or not at all; returns their SHA-256. */
    String logits(byte[] logits) throws IOException {
        for (File folder : folders) {
            WholeFile.write(new File(folder, runId + ".logits.bin"), logits);
        }
        return WholeFile.sha256(logits);
    }

    static File resultFile(File folder, String runId) {
        return new File(folder, runId + ".result.json");
    }
}
