package org.pocketdistill.demo.model;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.IOException;
import java.nio.charset.StandardCharsets;

import org.junit.Test;
import org.pocketdistill.demo.json.JsonException;

public final class BundleTest {
    private static final String ITEM = "{\"folder\": \"student\", \"manifest_sha256\": \"ab\", \"files\": [\"manifest.json\"]}";
    private static final String ROW =
            "{\"manifest_sha256\": \"ab\", \"device\": \"Pixel 8\", \"threads\": 1, \"median_ms\": 2.5, \"utc_time\": \"t\"}";

    private static Bundle parse(int version, String items, String rows) throws IOException, JsonException {
        String text = "{\"schema_version\": " + version + ", \"artifacts\": [" + items + "], \"measurements\": [" + rows + "]}";
        return Bundle.parse(text.getBytes(StandardCharsets.UTF_8));
    }

    @Test
    public void artifactsAndMeasurementsAreRead() throws IOException, JsonException {
        Bundle bundle = parse(1, ITEM, ROW);
        assertEquals("student", bundle.items.get(0).folder);
        assertEquals("manifest.json", bundle.items.get(0).files.get(0));
        assertEquals(2.5, bundle.measurements.get(0).medianMs, 0);
    }

    @Test
    public void anotherVersionAndUnsafePathsAreRefused() throws IOException {
        String[][] bundles = {
            {"2", ITEM}, {"1", ITEM.replace("student", "../student")}, {"1", ITEM.replace("manifest.json", "/etc/passwd")},
            {"1", ITEM.replace("\"files\"", "\"file\"")}, {"1", ITEM + "," + ITEM},
        };
        for (String[] bundle : bundles) {
            try {
                parse(Integer.parseInt(bundle[0]), bundle[1], ROW);
                fail("was accepted: " + bundle[1]);
            } catch (JsonException expected) {
                assertTrue(expected.getMessage().length() > 0);
            }
        }
    }
}
