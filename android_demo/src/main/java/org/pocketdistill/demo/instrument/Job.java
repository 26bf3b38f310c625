package org.pocketdistill.demo.instrument;

import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.json.JsonObject;
import org.pocketdistill.demo.json.JsonText;
import org.pocketdistill.demo.model.ModelSpec;

/** What the host asks for in one launch: {@code bench/protocol/job.schema.json}. */
public final class Job {
    public static final int SCHEMA_VERSION = 1;
    public static final String FILE_NAME = "job.json";
    static final Pattern RUN_ID = Pattern.compile("[0-9a-f]{32}");
    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}");
    private static final Pattern SHA_256 = Pattern.compile("[0-9a-f]{64}");

    /** One model to measure, with its input; files lie beside the job. */
    public static final class Model {
        public final String id;
        public final String sha256;
        public final long sizeBytes;
        public final File inputFile;
        public final String inputSha256;
        public final ModelSpec spec;

        /** {@code spec.file} is the model file. */
        public Model(String id, String sha256, long sizeBytes, File inputFile, String inputSha256, ModelSpec spec) {
            this.id = id;
            this.sha256 = sha256;
            this.sizeBytes = sizeBytes;
            this.inputFile = inputFile;
            this.inputSha256 = inputSha256;
            this.spec = spec;
        }

        private static Model parse(JsonObject json, File folder, int batch) throws JsonException {
            json.requireKeys(
                    "id", "format", "file", "sha256", "size_bytes", "input_file", "input_sha256", "input_name",
                    "input_shape", "output_name", "output_shape");
            ModelSpec spec = new ModelSpec(
                    json.string("format"), new File(folder, matching(json, "file", NAME)),
                    json.string("input_name"), shape(json, "input_shape", 4, batch),
                    json.string("output_name"), shape(json, "output_shape", 2, batch));
            return new Model(
                    matching(json, "id", NAME), matching(json, "sha256", SHA_256), json.longInteger("size_bytes"),
                    new File(folder, matching(json, "input_file", NAME)), matching(json, "input_sha256", SHA_256),
                    spec);
        }

        private Map<String, Object> toJson() {
            Map<String, Object> json = new LinkedHashMap<>();
            json.put("id", id);
            json.put("format", spec.format);
            json.put("file", spec.file.getName());
            json.put("sha256", sha256);
            json.put("size_bytes", sizeBytes);
            json.put("input_file", inputFile.getName());
            json.put("input_sha256", inputSha256);
            json.put("input_name", spec.inputName);
            json.put("input_shape", spec.inputShape);
            json.put("output_name", spec.outputName);
            json.put("output_shape", spec.outputShape);
            return json;
        }
    }

    public final String runId;
    public final int threads;
    public final int batch;
    public final Limits limits;
    public final List<Model> models;

    public Job(String runId, int threads, int batch, Limits limits, List<Model> models) {
        this.runId = runId;
        this.threads = threads;
        this.batch = batch;
        this.limits = limits;
        this.models = Collections.unmodifiableList(new ArrayList<>(models));
    }

    /** Parses a job whose files lie in {@code folder}; another schema version is refused by name. */
    public static Job parse(String text, File folder) throws JsonException {
        JsonObject json = JsonObject.parse(text, FILE_NAME);
        try {
            json.requireVersion(SCHEMA_VERSION, "the job");
            json.requireKeys("schema_version", "run_id", "threads", "batch", "limits", "models");
            int batch = json.integer("batch", 1);
            List<Model> models = new ArrayList<>();
            for (JsonObject model : json.objects("models")) {
                models.add(Model.parse(model, folder, batch));
            }
            if (models.isEmpty()) {
                throw new JsonException("models: must name at least one");
            }
            return new Job(
                    matching(json, "run_id", RUN_ID), json.integer("threads", 1), batch,
                    Limits.parse(json.object("limits")), models);
        } catch (JsonException error) {
            throw new JsonException(FILE_NAME + ": " + error.getMessage());
        }
    }

    public String toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        List<Object> modelList = new ArrayList<>();
        for (Model model : models) {
            modelList.add(model.toJson());
        }
        json.put("schema_version", SCHEMA_VERSION);
        json.put("run_id", runId);
        json.put("threads", threads);
        json.put("batch", batch);
        json.put("limits", limits.toJson());
        json.put("models", modelList);
        return JsonText.of(json);
    }

    private static String matching(JsonObject json, String key, Pattern pattern) throws JsonException {
        String value = json.string(key);
        if (!pattern.matcher(value).matches()) {
            throw new JsonException(key + ": must match " + pattern + ", found " + value);
        }
        return value;
    }

    private static long[] shape(JsonObject json, String key, int rank, int batch) throws JsonException {
        long[] shape = json.longIntegers(key);
        boolean fits = shape.length == rank && shape[0] == batch;
        long length = 1;
        for (int i = 0; fits && i < rank; i++) {
            length *= shape[i];
            fits = shape[i] >= 1 && shape[i] <= Integer.MAX_VALUE && length <= Integer.MAX_VALUE / 4;
        }
        if (!fits) {
            throw new JsonException(key + ": must be " + rank + " sides from 1, the first of them the batch "
                    + batch + ", found " + Arrays.toString(shape));
        }
        return shape;
    }
}
