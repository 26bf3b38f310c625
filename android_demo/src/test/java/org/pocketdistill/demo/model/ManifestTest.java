package org.pocketdistill.demo.model;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.File;
import java.io.IOException;

import org.junit.Test;
import org.pocketdistill.demo.image.Preprocess;
import org.pocketdistill.demo.json.JsonException;

/** Against the golden file of the toolkit's own contract. */
public final class ManifestTest {
    private static String golden() throws IOException {
        return WholeFile.text(WholeFile.read(new File(System.getProperty("project"), "tests/export/golden/manifest.json")));
    }

    @Test
    public void theGoldenManifestIsUnderstood() throws IOException, JsonException {
        Manifest manifest = Manifest.parse(golden(), "golden");
        assertEquals("onnx", manifest.format);
        assertEquals("int8", manifest.precision);
        assertEquals(1528106, manifest.parameterCount);
        assertEquals(1802291, manifest.modelSizeBytes());
        assertEquals(10, manifest.classNames.size());
        assertEquals(0.802, manifest.quality, 0);
        ModelSpec spec = manifest.spec(new File("folder"));
        assertArrayEquals(new long[] {1, 1, 64, 64}, spec.inputShape);
        assertEquals(new File("folder/model.onnx"), spec.file);
        Preprocess preprocess = manifest.preprocess();
        assertEquals(64, preprocess.sizePx);
        assertEquals(Preprocess.Resize.STRETCH, preprocess.resize);
        assertEquals(1, preprocess.channels);
    }

    @Test
    public void whatTheAppDoesNotKnowIsRefused() throws IOException {
        String[][] changes = {
            {"\"schema_version\": 7", "\"schema_version\": 8"},
            {"\"schema_version\": 7", "\"schema_version\": 3"},
            {"\"schema_version\": 7", "\"schema_version\": \"7\""},
            {"\"schema_version\": 7,", ""},
            {"\"scheme\":", "\"sceme\":"},
            {"\"method\": \"scratch\",", ""},
            {"\"num_parameters\": 1528106", "\"num_parameters\": \"many\""},
            {"\"path\": \"model.onnx\"", "\"path\": \"../model.onnx\""},
            {"\"path\": \"model.onnx\"", "\"path\": \"/model.onnx\""},
            {"\"resize\": \"stretch\"", "\"resize\": \"letterbox\""},
            {"\"crop_share\": null", "\"crop_share\": 0.9"},
            {"\"interpolation\": \"bilinear\"", "\"interpolation\": \"nearest\""},
            {"\"interpolation\": \"bilinear\",", ""},
            {"\"channels\": 1", "\"channels\": 3"},
            {"\"layout\": \"NCHW\"", "\"layout\": \"NHWC\""},
            {"1.0\n    ]", "255.0\n    ]"},
            {"\"a2c\",", ""},
            {"\"accuracy\": 0.802", "\"accuracy\": true"},
        };
        String text = golden();
        for (String[] change : changes) {
            String changed = text.replace(change[0], change[1]);
            assertTrue("the change changes something: " + change[0], !changed.equals(text));
            try {
                Manifest.parse(changed, "changed");
                fail("was accepted: " + change[1]);
            } catch (JsonException expected) {
                assertTrue(expected.getMessage(), expected.getMessage().startsWith("changed: "));
            }
        }
    }

    @Test
    public void theVersionBeforeIsReadAsWell() throws IOException, JsonException {
        String[] rule = {"\"crop_share\": null,", "\"interpolation\": \"bilinear\","};
        String old = golden().replace(rule[0], "").replace(rule[1], "");
        for (int version = 4; version <= 6; version++) {
            String text = old.replace("\"schema_version\": 7", "\"schema_version\": " + version);
            text = version == 6 ? text : text.replace("\"task\": \"classification\",", "");
            Manifest read = Manifest.parse(text, "m");
            assertEquals("onnx", read.format);
            assertEquals("classification", read.task.name);
            assertNull(read.preprocess().cropShare);
            assertEquals(Preprocess.Interpolation.BILINEAR, read.preprocess().interpolation);
        }
    }

    @Test
    public void anAnswerForEveryPixelIsKnownByItsTask() throws IOException, JsonException {
        String mask = golden().replace("\"classification\"", "\"segmentation\"").replace("\"NC\"", "\"NCHW\"")
                .replaceFirst("(?s)(\"output\".*?\"shape\": \\[[^\\]]*10)", "$1, 64, 64");
        Manifest manifest = Manifest.parse(mask, "m");
        assertArrayEquals(new long[] {1, 10, 64, 64}, manifest.spec(new File("folder")).outputShape);
        try {
            Manifest.parse(mask.replace("segmentation", "classification"), "m");
            fail("was accepted as a classifier");
        } catch (JsonException error) {
            assertTrue(error.getMessage(), error.getMessage().contains("output: this app serves float32 NC "));
        }
    }

    @Test
    public void aNetworkThatIsPublishedWithAShareSeesThatShare() throws IOException, JsonException {
        String text = golden().replace("\"resize\": \"stretch\"", "\"resize\": \"crop\"")
                .replace("\"crop_share\": null", "\"crop_share\": 0.875")
                .replace("\"bilinear\"", "\"bicubic\"");
        Preprocess preprocess = Manifest.parse(text, "m").preprocess();
        assertEquals(Preprocess.Resize.CROP, preprocess.resize);
        assertEquals(0.875, preprocess.cropShare, 0);
        assertEquals(Preprocess.Interpolation.BICUBIC, preprocess.interpolation);
    }

    @Test
    public void aTaskThatTheAppDoesNotKnowIsNamed() throws IOException {
        try {
            Manifest.parse(golden().replace("\"classification\"", "\"weather\""), "m");
            fail();
        } catch (JsonException error) {
            assertTrue(error.getMessage(), error.getMessage().contains("found weather"));
        }
    }

    @Test
    public void anotherVersionIsNamed() throws IOException {
        try {
            Manifest.parse(golden().replace("\"schema_version\": 7", "\"schema_version\": 9"), "m");
            fail();
        } catch (JsonException error) {
            assertTrue(error.getMessage(), error.getMessage().contains("schema version 9, this app reads 7"));
        }
    }
}
