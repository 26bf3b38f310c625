package org.pocketdistill.demo.model;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.json.JsonObject;

/**
 * The index of the models packed with the app, {@code bundle.json} as {@code python -m export bundle} writes it.
 *
 * <p>Beside it lies one folder per artifact, as exported.
 */
public final class Bundle {
    public static final int SCHEMA_VERSION = 2;
    /** It has no colours, which only answers for every pixel need. */
    public static final int OLDEST_VERSION = 1;
    public static final String FILE_NAME = "bundle.json";
    private static final Pattern COLOUR = Pattern.compile("#[0-9a-f]{6}");

    /** One artifact of the bundle. */
    public static final class Item {
        public final String folder;
        public final String manifestSha256;
        /** Paths of all its files, {@code manifest.json} among them. */
        public final List<String> files;
        private final int[] colours;

        private Item(JsonObject json, boolean hasColours) throws JsonException {
            String[] keys = {"folder", "manifest_sha256", "files", "colours"};
            json.requireKeys(hasColours ? keys : Arrays.copyOf(keys, keys.length - 1));
            List<String> written = hasColours ? json.strings("colours") : Collections.<String>emptyList();
            colours = new int[written.size()];
            for (int i = 0; i < colours.length; i++) {
                colours[i] = colour(written.get(i));
            }
            folder = json.string("folder");
            manifestSha256 = json.string("manifest_sha256");
            files = Collections.unmodifiableList(json.strings("files"));
            requireInside(folder);
            for (String file : files) {
                requireInside(file);
            }
        }

        /** {@code 0xffRRGGBB} that its answers are painted with: of its classes, or of depths from near to far. */
        public int[] colours() {
            return colours.clone();
        }

        private static int colour(String written) throws JsonException {
            if (!COLOUR.matcher(written).matches()) {
                throw new JsonException("colours: must be like #a0b1c2, found " + written);
            }
            return 0xff000000 | Integer.parseInt(written.substring(1), 16);
        }

        private static void requireInside(String path) throws JsonException {
            if (path.isEmpty() || path.startsWith("/") || ("/" + path + "/").contains("/../")) {
                throw new JsonException("must be a path inside the bundle, found " + path);
            }
        }
    }

    /** Median latency of one artifact on one device, from the toolkit's journal. */
    public static final class Measured {
        public final String manifestSha256;
        public final String device;
        public final int threads;
        public final double medianMs;

        private Measured(JsonObject json) throws JsonException {
            json.requireKeys("manifest_sha256", "device", "threads", "median_ms", "utc_time");
            manifestSha256 = json.string("manifest_sha256");
            device = json.string("device");
            threads = json.integer("threads", 1);
            medianMs = json.number("median_ms");
        }
    }

    public final List<Item> items;
    public final List<Measured> measurements;

    private Bundle(JsonObject json) throws JsonException {
        json.requireVersion(OLDEST_VERSION, SCHEMA_VERSION, "the bundle");
        boolean hasColours = json.longInteger("schema_version") > OLDEST_VERSION;
        json.requireKeys("schema_version", "artifacts", "measurements");
        List<Item> itemList = new ArrayList<>();
        Set<String> folders = new HashSet<>();
        for (JsonObject item : json.objects("artifacts")) {
            itemList.add(new Item(item, hasColours));
            if (!folders.add(item.string("folder"))) {
                throw new JsonException("artifacts: " + item.string("folder") + " is there twice");
            }
        }
        List<Measured> measuredList = new ArrayList<>();
        for (JsonObject row : json.objects("measurements")) {
            measuredList.add(new Measured(row));
        }
        items = Collections.unmodifiableList(itemList);
        measurements = Collections.unmodifiableList(measuredList);
    }

    /** Parses an index; {@link JsonException} if it is of a version or a form that this app does not know. */
    public static Bundle parse(byte[] bytes) throws JsonException, IOException {
        return new Bundle(JsonObject.parse(WholeFile.text(bytes), FILE_NAME));
    }
}
