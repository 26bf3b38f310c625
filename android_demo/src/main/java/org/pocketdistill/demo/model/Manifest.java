package org.pocketdistill.demo.model;

import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

import org.pocketdistill.demo.image.Preprocess;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.json.JsonObject;
import org.pocketdistill.demo.task.Reader;
import org.pocketdistill.demo.task.Task;

/**
 * What an artifact says of itself in {@code manifest.json} (contract {@code export.artifact.manifest.Manifest}).
 *
 * <p>As on the Python side, an unknown schema version, an unknown key or a missing one is an error.
 */
public final class Manifest {
    public static final int SCHEMA_VERSION = 7;
    /** Since then numbers have come that the app does not show, with version 6 the task, with 7 how pictures are cut. */
    public static final int OLDEST_VERSION = 4;
    public static final String FILE_NAME = "manifest.json";
    private static final int TASK_VERSION = 6;
    private static final int CROP_SHARE_VERSION = 7;
    private static final String[] KEYS = {
            "schema_version", "inputs_sha256", "format", "precision", "scheme", "recipe", "files", "model",
            "num_parameters", "macs", "checkpoint_sha256", "teacher_sha256", "method", "class_names", "preprocess",
            "temperature", "dataset", "input", "output", "calibration", "delegation", "parity", "allowed_loss",
            "notes", "versions", "minimum_runtime"
    };

    private static final String[] OLD_RULE_KEYS = {"size_px", "resize", "channels", "mean", "std"};
    private static final String[] RULE_KEYS = {
            "size_px", "resize", "crop_share", "interpolation", "channels", "mean", "std"
    };

    /** One file of the artifact; {@code path} stays inside its folder. */
    public static final class Entry {
        public final String path;
        public final String role;
        public final String sha256;
        public final long sizeBytes;

        private Entry(JsonObject json) throws JsonException {
            json.requireKeys("path", "role", "sha256", "size_bytes");
            path = json.string("path");
            role = json.string("role");
            sha256 = json.string("sha256");
            sizeBytes = json.longInteger("size_bytes");
            if (path.isEmpty() || path.startsWith("/") || path.contains("\\") || path.indexOf('\0') >= 0
                    || ("/" + path + "/").contains("/../")) {
                throw new JsonException("files: must be a path inside the artifact, found " + path);
            }
        }
    }

    /** What the model answers. */
    public final Task task;
    public final String format;
    public final String precision;
    public final String model;
    /** Distillation method, or null. */
    public final String method;
    public final long parameterCount;
    public final List<Entry> files;
    public final List<String> classNames;
    /** By the task's measure on held-out images, or null where it was not measured. */
    public final Double quality;
    private final int sizePx;
    private final Preprocess.Resize resize;
    private final Double cropShare;
    private final Preprocess.Interpolation interpolation;
    private final int channels;
    private final String inputName;
    private final String outputName;

    private Manifest(JsonObject json) throws JsonException {
        json.requireVersion(OLDEST_VERSION, SCHEMA_VERSION, "the manifest");
        boolean knowsTask = json.longInteger("schema_version") >= TASK_VERSION;
        json.requireKeys(knowsTask ? keysWith("task") : KEYS);
        task = Task.named(knowsTask ? json.string("task") : "classification");
        format = json.string("format");
        precision = json.string("precision");
        model = json.string("model");
        method = json.stringOrNull("method");
        parameterCount = json.longInteger("num_parameters");
        classNames = Collections.unmodifiableList(json.strings("class_names"));
        files = entries(json);
        quality = json.object("parity").numberOrNull(task.measure.parityKey);
        boolean knowsShare = json.longInteger("schema_version") >= CROP_SHARE_VERSION;
        JsonObject preprocess = json.object("preprocess").requireKeys(knowsShare ? RULE_KEYS : OLD_RULE_KEYS);
        sizePx = preprocess.integer("size_px", 1);
        channels = preprocess.integer("channels", 1);
        resize = resizeRule(preprocess.string("resize"));
        cropShare = knowsShare ? preprocess.numberOrNull("crop_share") : null;
        interpolation = knowsShare ? interpolation(preprocess) : Preprocess.Interpolation.BILINEAR;
        try {
            preprocess();
        } catch (IllegalArgumentException error) {
            throw new JsonException("preprocess: " + error.getMessage());
        }
        JsonObject input = tensor(json, "input", "NCHW", channels, sizePx, sizePx);
        inputName = input.string("name");
        outputName = tensor(json, "output", task.layout, task.outputSides(classNames.size(), sizePx)).string("name");
        requireUnitRange(input);
    }

    /** Parses a manifest; {@code source} is named in errors. */
    public static Manifest parse(String text, String source) throws JsonException {
        JsonObject json = JsonObject.parse(text, source);
        try {
            return new Manifest(json);
        } catch (JsonException error) {
            throw new JsonException(source + ": " + error.getMessage());
        }
    }

    /** The host's half of the preprocessing; a new one for each thread that needs it. */
    public Preprocess preprocess() {
        return new Preprocess(sizePx, resize, cropShare, interpolation, channels);
    }

    /** What makes answers of this model's outputs, painted with the colours of the bundle. */
    public Reader reader(int[] colours) throws JsonException {
        return task.reader(preprocess(), classNames, colours);
    }

    /** The first file of a role: model, golden-input or golden-output. */
    public Entry file(String role) throws JsonException {
        for (Entry entry : files) {
            if (entry.role.equals(role)) {
                return entry;
            }
        }
        throw new JsonException("files: there is none with the role " + role);
    }

    /** Bytes of the model, without golden input and output. */
    public long modelSizeBytes() {
        long sum = 0;
        for (Entry entry : files) {
            sum += entry.role.equals("model") ? entry.sizeBytes : 0;
        }
        return sum;
    }

    /** How to open this model for one image at a time, if the artifact lies in {@code folder}. */
    public ModelSpec spec(File folder) throws JsonException {
        int[] sides = task.outputSides(classNames.size(), sizePx);
        long[] output = new long[sides.length + 1];
        output[0] = 1;
        for (int i = 0; i < sides.length; i++) {
            output[i + 1] = sides[i];
        }
        return new ModelSpec(
                format, new File(folder, file("model").path), inputName,
                new long[] {1, channels, sizePx, sizePx}, outputName, output);
    }

    private static String[] keysWith(String key) {
        String[] keys = Arrays.copyOf(KEYS, KEYS.length + 1);
        keys[KEYS.length] = key;
        return keys;
    }

    private static List<Entry> entries(JsonObject json) throws JsonException {
        List<Entry> entries = new ArrayList<>();
        for (JsonObject file : json.objects("files")) {
            entries.add(new Entry(file));
        }
        return Collections.unmodifiableList(entries);
    }

    private static Preprocess.Resize resizeRule(String name) throws JsonException {
        switch (name) {
            case "stretch":
                return Preprocess.Resize.STRETCH;
            case "crop":
                return Preprocess.Resize.CROP;
            default:
                throw new JsonException("preprocess.resize: this app knows stretch and crop, found " + name);
        }
    }

    private static Preprocess.Interpolation interpolation(JsonObject preprocess) throws JsonException {
        String name = preprocess.string("interpolation");
        Preprocess.Interpolation found = Preprocess.Interpolation.named(name);
        if (found == null) {
            throw new JsonException("preprocess.interpolation: this app knows bilinear and bicubic, found " + name);
        }
        return found;
    }

    /** Checks a tensor that this app must be able to fill or read; its batch may be 1 or free. */
    private static JsonObject tensor(JsonObject json, String key, String layout, int... sides) throws JsonException {
        JsonObject tensor = json.object(key).requireKeys("name", "shape", "dtype", "layout", "value_range");
        long[] shape = tensor.longIntegers("shape");
        boolean fits = shape.length == sides.length + 1 && (shape[0] == 1 || shape[0] == -1);
        for (int i = 0; fits && i < sides.length; i++) {
            fits = shape[i + 1] == sides[i];
        }
        if (!fits || !tensor.string("dtype").equals("float32") || !tensor.string("layout").equals(layout)) {
            throw new JsonException(key + ": this app serves float32 " + layout + " with a batch of 1, found shape "
                    + Arrays.toString(shape) + " " + tensor.string("dtype") + " " + tensor.string("layout"));
        }
        return tensor;
    }

    private static void requireUnitRange(JsonObject input) throws JsonException {
        float[] range = input.floatsOrNaN("value_range");
        if (range.length != 2 || range[0] != 0f || range[1] != 1f) {
            throw new JsonException("input.value_range: this app gives values in [0, 1]");
        }
    }
}
