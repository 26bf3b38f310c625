package org.pocketdistill.demo.instrument;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.File;
import java.io.IOException;

import org.junit.Test;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.model.WholeFile;

/** Against the example of the device protocol itself. */
public final class JobTest {
    private static final File FOLDER = new File("/folder");

    static String example() throws IOException {
        return WholeFile.text(WholeFile.read(new File(System.getProperty("project"), "bench/protocol/job.example.json")));
    }

    @Test
    public void theProtocolsExampleIsUnderstood() throws IOException, JsonException {
        Job job = Job.parse(example(), FOLDER);
        assertEquals("0f3c9b1e6f5a4d0b8f0d1a2b3c4d5e6f", job.runId);
        assertEquals(1, job.threads);
        assertEquals(3000, job.limits.maxCount);
        assertEquals(new File("/folder/model_0.bin"), job.models.get(0).spec.file);
        assertEquals(3 * 96 * 96, job.models.get(0).spec.inputLength());
    }

    @Test
    public void aJobThatIsWrittenIsReadBack() throws IOException, JsonException {
        Job job = Job.parse(example(), FOLDER);
        assertEquals(job.toJson(), Job.parse(job.toJson(), FOLDER).toJson());
    }

    @Test
    public void limitsThatAreLeftOutHaveTheProtocolsDefaults() throws IOException, JsonException {
        String text = example();
        String without = text.replaceAll("(?s)\"limits\": \\{.*?\\}", "\"limits\": {}");
        assertEquals(Job.parse(text, FOLDER).toJson(), Job.parse(without, FOLDER).toJson());
    }

    @Test
    public void aModelThatAnswersEveryPixelIsTimedButTakesNoPictures() throws IOException, JsonException {
        String dense = example().replaceFirst("(?s)(\"output_shape\": \\[[^\\]]*?)(\\s*\\])", "$1, 96, 96$2");
        try {
            Job.parse(dense, FOLDER);
            fail("pictures were accepted");
        } catch (JsonException error) {
            assertTrue(error.getMessage(), error.getMessage().contains("of the whole picture"));
        }
        String timed = dense.replaceAll("(?s)\"pictures\": \\{.*?\\}", "\"pictures\": null")
                .replaceAll("(?s)\"pictures\": \\[.*?\\]", "\"pictures\": []");
        long[] shape = Job.parse(timed, FOLDER).models.get(0).spec.outputShape;
        assertEquals(4, shape.length);
        assertEquals(96, shape[3]);
    }

    @Test
    public void malformedJobsAreRefused() throws IOException {
        String[][] changes = {
            {"\"schema_version\": 4", "\"schema_version\": 3"},
            {"\"schema_version\": 4,", ""},
            {"\"run_id\": \"0f3c", "\"run_id\": \"../0f3c"},
            {"\"threads\": 1", "\"threads\": 0"},
            {"\"threads\": 1", "\"threads\": 1.5"},
            {"\"batch\": 1", "\"batch\": 2"},
            {"\"warmup_s\": 0.5", "\"warmup_s\": 6"},
            {"\"min_count\": 100", "\"min_count\": 4000"},
            {"\"max_s\": 10.0", "\"max_s\": -1"},
            {"\"warmup_count\"", "\"warm_up_count\""},
            {"\"file\": \"model_0.bin\"", "\"file\": \"../model_0.bin\""},
            {"\"id\": \"model_0\"", "\"id\": \"a; rm\""},
            {"\"sha256\": \"aaaa", "\"sha256\": \"AAAA"},
            {"\"size_bytes\": 1730984", "\"size_bytes\": null"},
            {"96\n      ],", "0\n      ],"},
            {"96\n      ],", "96, 1\n      ],"},
            {"96\n      ],", "9999999999\n      ],"},
            {"\"output_name\"", "\"outputs\""},
            {"\"task\": \"time\"", "\"task\": \"sleep\""},
            {"\"repeats\": 3", "\"repeats\": 0"},
            {"\"count\": 8", "\"count\": 0"},
            {"\"resize\": \"stretch\"", "\"resize\": \"fit\""},
            {"\"crop_share\": null", "\"crop_share\": 0.9"},
            {"\"interpolation\": \"bilinear\"", "\"interpolation\": \"nearest\""},
            {"\"size_px\": 96", "\"size_px\": 95"},
        };
        String text = example();
        for (String[] change : changes) {
            String changed = text.replace(change[0], change[1]);
            assertTrue("the change changes something: " + change[0], !changed.equals(text));
            try {
                Job.parse(changed, FOLDER);
                fail("was accepted: " + change[1]);
            } catch (JsonException expected) {
                assertTrue(expected.getMessage(), expected.getMessage().startsWith("job.json: "));
            }
        }
        for (int end = 0; end < text.trim().length(); end += 37) {
            try {
                Job.parse(text.substring(0, end), FOLDER);
                fail("a cut job was accepted");
            } catch (JsonException expected) {
                assertTrue(expected.getMessage().startsWith("job.json: "));
            }
        }
    }
}
