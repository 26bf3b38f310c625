package org.pocketdistill.demo.model;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.IOException;
import java.nio.charset.StandardCharsets;

import org.junit.Test;
import org.pocketdistill.demo.json.JsonException;

public final class BundleTest {
    private static final String ITEM = "{\"folder\": \"student\", \"manifest_sha256\": \"ab\", \"files\": [\"manifest.json\"], \"colours\": [\"#0102ff\"]}";
    /** As version 1 has it. */
    private static final String OLD = ITEM.replace(", \"colours\": [\"#0102ff\"]", "");
    private static final String ROW =
            "{\"manifest_sha256\": \"ab\", \"device\": \"Pixel 8\", \"threads\": 1, \"median_ms\": 2.5, \"utc_time\": \"t\"}";

    private static Bundle parse(int version, String items, String rows) throws IOException, JsonException {
        String text = "{\"schema_version\": " + version + ", \"artifacts\": [" + items + "], \"measurements\": [" + rows + "]}";
        return Bundle.parse(text.getBytes(StandardCharsets.UTF_8));
    }

    @Test
    public void artifactsAndMeasurementsAreRead() throws IOException, JsonException {
        Bundle bundle = parse(2, ITEM, ROW);
        assertEquals("student", bundle.items.get(0).folder);
        assertEquals("manifest.json", bundle.items.get(0).files.get(0));
        assertArrayEquals(new int[] {0xff0102ff}, bundle.items.get(0).colours());
        assertEquals(2.5, bundle.measurements.get(0).medianMs, 0);
    }

    @Test
    public void theVersionBeforeIsReadAsWell() throws IOException, JsonException {
        assertEquals(0, parse(1, OLD, ROW).items.get(0).colours().length);
    }

    @Test
    public void anotherVersionAndUnsafePathsAreRefused() throws IOException {
        String[][] bundles = {
            {"3", ITEM}, {"1", ITEM}, {"2", OLD}, {"2", ITEM.replace("#0102ff", "red")}, {"2", ITEM.replace("student", "../student")}, {"2", ITEM.replace("manifest.json", "/etc/passwd")},
            {"2", ITEM.replace("\"files\"", "\"file\"")}, {"2", ITEM + "," + ITEM},
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
