package org.pocketdistill.demo.instrument;

import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;

import org.pocketdistill.demo.image.Preprocess;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.json.JsonObject;
import org.pocketdistill.demo.json.JsonText;
import org.pocketdistill.demo.model.ModelSpec;

/** What the host asks for in one launch: {@code bench/protocol/job.schema.json}. */
public final class Job {
    public static final int SCHEMA_VERSION = 4;
    public static final String FILE_NAME = "job.json";
    /** Beside the job's folder: what all launches read. */
    static final String PICTURES_FOLDER = "pictures";
    static final Pattern RUN_ID = Pattern.compile("[0-9a-f]{32}");
    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}");
    private static final Pattern SHA_256 = Pattern.compile("[0-9a-f]{64}");

    /** What is to be done with each model. */
    public enum Task {
        /** Sample its call, and the whole path if there are pictures. */
        TIME,
        /** Let it answer every picture. */
        ANSWER
    }

    /** Some picture files in one zip file. */
    public static final class Pack {
        final File file;
        final String sha256;
        final int count;

        private Pack(JsonObject json, File folder) throws JsonException {
            json.requireKeys("file", "sha256", "count");
            file = new File(folder, matching(json, "file", NAME));
            sha256 = matching(json, "sha256", SHA_256);
            count = json.integer("count", 1);
        }

        private Map<String, Object> toJson() {
            Map<String, Object> json = new LinkedHashMap<>();
            json.put("file", file.getName());
            json.put("sha256", sha256);
            json.put("count", count);
            return json;
        }
    }

    /** How a picture becomes a model's input. */
    public static final class Rule {
        private final int sizePx;
        private final Preprocess.Resize resize;
        private final Double cropShare;
        private final Preprocess.Interpolation interpolation;
        private final int channels;

        private Rule(JsonObject json, long[] inputShape) throws JsonException {
            json.requireKeys("size_px", "resize", "crop_share", "interpolation", "channels");
            sizePx = json.integer("size_px", 1);
            channels = json.integer("channels", 1);
            String name = json.string("resize");
            if (!name.equals("stretch") && !name.equals("crop")) {
                throw new JsonException("pictures.resize: must be stretch or crop, found " + name);
            }
            resize = name.equals("crop") ? Preprocess.Resize.CROP : Preprocess.Resize.STRETCH;
            cropShare = json.numberOrNull("crop_share");
            interpolation = Preprocess.Interpolation.named(json.string("interpolation"));
            if (interpolation == null) {
                throw new JsonException("pictures.interpolation: must be bilinear or bicubic, found "
                        + json.string("interpolation"));
            }
            if (inputShape[1] != channels || inputShape[2] != sizePx || inputShape[3] != sizePx
                    || (channels != 1 && channels != 3)) {
                throw new JsonException("pictures: " + channels + " channels of " + sizePx + " px are not the input "
                        + Arrays.toString(inputShape));
            }
            try {
                preprocess();
            } catch (IllegalArgumentException error) {
                throw new JsonException("pictures: " + error.getMessage());
            }
        }

        Preprocess preprocess() {
            return new Preprocess(sizePx, resize, cropShare, interpolation, channels);
        }

        private Map<String, Object> toJson() {
            Map<String, Object> json = new LinkedHashMap<>();
            json.put("size_px", sizePx);
            json.put("resize", resize == Preprocess.Resize.CROP ? "crop" : "stretch");
            json.put("crop_share", cropShare);
            json.put("interpolation", interpolation.name().toLowerCase(Locale.ROOT));
            json.put("channels", channels);
            return json;
        }
    }

    /** One model to measure, with its input; files lie beside the job. */
    public static final class Model {
        public final String id;
        public final String sha256;
        public final long sizeBytes;
        public final File inputFile;
        public final String inputSha256;
        public final ModelSpec spec;
        /** Null if no picture is to be read. */
        final Rule rule;

        /** For a job without pictures; {@code spec.file} is the model file. */
        public Model(String id, String sha256, long sizeBytes, File inputFile, String inputSha256, ModelSpec spec) {
            this(id, sha256, sizeBytes, inputFile, inputSha256, spec, null);
        }

        private Model(
                String id, String sha256, long sizeBytes, File inputFile, String inputSha256, ModelSpec spec,
                Rule rule) {
            this.id = id;
            this.sha256 = sha256;
            this.sizeBytes = sizeBytes;
            this.inputFile = inputFile;
            this.inputSha256 = inputSha256;
            this.spec = spec;
            this.rule = rule;
        }

        private static Model parse(JsonObject json, File folder, int batch) throws JsonException {
            json.requireKeys(
                    "id", "format", "file", "sha256", "size_bytes", "accelerator", "input_file", "input_sha256", "input_name",
                    "input_shape", "output_name", "output_shape", "pictures");
            ModelSpec spec = new ModelSpec(
                    json.string("format"), new File(folder, matching(json, "file", NAME)),
                    json.string("input_name"), shape(json, "input_shape", batch, 4),
                    json.string("output_name"), shape(json, "output_shape", batch, 2, 4),
                    json.stringOrNull("accelerator"));
            if (spec.outputShape.length != 2 && !json.isNull("pictures")) {
                throw new JsonException("pictures: only models that answer with classes of the whole picture take them");
            }
            return new Model(
                    matching(json, "id", NAME), matching(json, "sha256", SHA_256), json.longInteger("size_bytes"),
                    new File(folder, matching(json, "input_file", NAME)), matching(json, "input_sha256", SHA_256),
                    spec, json.isNull("pictures") ? null : new Rule(json.object("pictures"), spec.inputShape));
        }

        private Map<String, Object> toJson() {
            Map<String, Object> json = new LinkedHashMap<>();
            json.put("id", id);
            json.put("format", spec.format);
            json.put("file", spec.file.getName());
            json.put("sha256", sha256);
            json.put("size_bytes", sizeBytes);
            json.put("accelerator", spec.accelerator);
            json.put("input_file", inputFile.getName());
            json.put("input_sha256", inputSha256);
            json.put("input_name", spec.inputName);
            json.put("input_shape", spec.inputShape);
            json.put("output_name", spec.outputName);
            json.put("output_shape", spec.outputShape);
            json.put("pictures", rule == null ? null : rule.toJson());
            return json;
        }
    }

    public final String runId;
    final Task task;
    final int repeats;
    final List<Pack> pictures;
    public final int threads;
    public final int batch;
    public final Limits limits;
    public final List<Model> models;

    /** A job that times models without pictures. */
    public Job(String runId, int threads, int batch, Limits limits, List<Model> models) {
        this(runId, Task.TIME, 1, Collections.<Pack>emptyList(), threads, batch, limits, models);
    }

    private Job(
            String runId, Task task, int repeats, List<Pack> pictures, int threads, int batch, Limits limits,
            List<Model> models) {
        this.runId = runId;
        this.task = task;
        this.repeats = repeats;
        this.pictures = Collections.unmodifiableList(new ArrayList<>(pictures));
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
            json.requireKeys(
                    "schema_version", "run_id", "task", "repeats", "pictures", "threads", "batch", "limits", "models");
            int batch = json.integer("batch", 1);
            List<Model> models = new ArrayList<>();
            for (JsonObject model : json.objects("models")) {
                models.add(Model.parse(model, folder, batch));
            }
            if (models.isEmpty()) {
                throw new JsonException("models: must name at least one");
            }
            List<Pack> packs = new ArrayList<>();
            for (JsonObject pack : json.objects("pictures")) {
                packs.add(new Pack(pack, new File(folder.getParentFile(), PICTURES_FOLDER)));
            }
            Task task = task(json.string("task"));
            if (task == Task.ANSWER && packs.isEmpty()) {
                throw new JsonException("pictures: there is none to answer");
            }
            for (Model model : packs.isEmpty() ? Collections.<Model>emptyList() : models) {
                if (model.rule == null) {
                    throw new JsonException("pictures: " + model.id + " says nothing of how it takes them");
                }
            }
            return new Job(
                    matching(json, "run_id", RUN_ID), task, json.integer("repeats", 1), packs,
                    json.integer("threads", 1), batch, Limits.parse(json.object("limits")), models);
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
        List<Object> packs = new ArrayList<>();
        for (Pack pack : pictures) {
            packs.add(pack.toJson());
        }
        json.put("run_id", runId);
        json.put("task", task == Task.ANSWER ? "answer" : "time");
        json.put("repeats", repeats);
        json.put("pictures", packs);
        json.put("threads", threads);
        json.put("batch", batch);
        json.put("limits", limits.toJson());
        json.put("models", modelList);
        return JsonText.of(json);
    }

    private static Task task(String name) throws JsonException {
        switch (name) {
            case "time":
                return Task.TIME;
            case "answer":
                return Task.ANSWER;
            default:
                throw new JsonException("task: must be time or answer, found " + name);
        }
    }

    private static String matching(JsonObject json, String key, Pattern pattern) throws JsonException {
        String value = json.string(key);
        if (!pattern.matcher(value).matches()) {
            throw new JsonException(key + ": must match " + pattern + ", found " + value);
        }
        return value;
    }

    private static long[] shape(JsonObject json, String key, int batch, int... ranks) throws JsonException {
        long[] shape = json.longIntegers(key);
        boolean fits = false;
        for (int rank : ranks) {
            fits |= shape.length == rank && shape[0] == batch;
        }
        long length = 1;
        for (int i = 0; fits && i < shape.length; i++) {
            length *= shape[i];
            fits = shape[i] >= 1 && shape[i] <= Integer.MAX_VALUE && length <= Integer.MAX_VALUE / 4;
        }
        if (!fits) {
            throw new JsonException(key + ": must be " + words(ranks) + " sides from 1, the first of them the batch "
                    + batch + ", found " + Arrays.toString(shape));
        }
        return shape;
    }

    private static String words(int... ranks) {
        StringBuilder words = new StringBuilder();
        for (int rank : ranks) {
            words.append(words.length() == 0 ? "" : " or ").append(rank);
        }
        return words.toString();
    }
}
