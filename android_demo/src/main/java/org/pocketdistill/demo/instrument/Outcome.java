package org.pocketdistill.demo.instrument;

import java.io.File;
import java.io.IOException;

import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.json.JsonObject;
import org.pocketdistill.demo.model.WholeFile;

/** What a person is shown of a launch with one model. */
public final class Outcome {
    /** Why there is no measurement, or null. */
    public final String error;
    /** NaN if there is none. */
    public final double medianMs;
    public final float[] goldenOutput;

    private Outcome(String error, double medianMs, float[] goldenOutput) {
        this.error = error;
        this.medianMs = medianMs;
        this.goldenOutput = goldenOutput;
    }

    /** The result file of a launch in a folder that the instrument was given. */
    public static File file(File folder, String runId) {
        return LaunchFiles.resultFile(folder, runId);
    }

    /** Reads a result file. */
    public static Outcome read(File file) throws IOException, JsonException {
        JsonObject json = JsonObject.parse(WholeFile.text(WholeFile.read(file)), file.getName());
        json.requireVersion(Job.SCHEMA_VERSION, "the result");
        if (!json.isNull("error")) {
            return new Outcome(json.string("error"), Double.NaN, new float[0]);
        }
        JsonObject model = json.objects("models").get(0);
        return new Outcome(
                model.stringOrNull("error"), Latencies.medianMs(model.longIntegers("samples_ns")),
                model.floatsOrNaN("golden_output"));
    }
}
