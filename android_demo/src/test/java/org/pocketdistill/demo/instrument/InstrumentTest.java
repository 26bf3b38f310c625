package org.pocketdistill.demo.instrument;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import org.pocketdistill.demo.engine.Engine;
import org.pocketdistill.demo.engine.EngineException;
import org.pocketdistill.demo.engine.EngineFactory;
import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.image.PictureDecoder;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.json.JsonObject;
import org.pocketdistill.demo.model.ModelSpec;
import org.pocketdistill.demo.model.WholeFile;

/** The whole launch, with an engine that sums its input. */
public final class InstrumentTest {
    private static final String RUN_ID = "0123456789abcdef0123456789abcdef";
    private static final Limits SHORT = new Limits(1, 0, 1, 3, 0, 3, 1);

    @Rule
    public final TemporaryFolder temporary = new TemporaryFolder();
    private File folder;
    private File second;
    private int closed;
    private int runs;
    private int wrongEvery;

    @Before
    public void makeFolders() throws IOException {
        folder = temporary.newFolder();
        second = temporary.newFolder();
        WholeFile.write(new File(folder, "good"), "a model");
        WholeFile.write(new File(folder, "input"), new byte[] {0, 0, (byte) 0x80, 0x3f, 0, 0, 0, 0x40});
    }

    private final class SumEngine implements Engine {
        private float sum;

        @Override
        public String runtime() {
            return "sum";
        }

        @Override
        public String runtimeVersion() {
            return "1.2";
        }

        @Override
        public int threads() {
            return 3;
        }

        @Override
        public String accelerator() {
            return null;
        }

        @Override
        public void setInput(FloatBuffer values) {
            sum = 0;
            for (int i = 0; i < values.capacity(); i++) {
                sum += values.get(i);
            }
        }

        @Override
        public void run() {
            runs++;
        }

        @Override
        public void readOutput(float[] logits) {
            logits[0] = sum + (wrongEvery > 0 && runs % wrongEvery == 0 ? 0.5f : 0f);
            logits[1] = Float.NaN;
        }

        @Override
        public void close() {
            closed++;
        }
    }

    private final EngineFactory engines = new EngineFactory() {
        @Override
        public Engine open(ModelSpec spec, int threads) throws EngineException {
            switch (spec.format) {
                case "litert":
                    throw new EngineException("no such operator");
                case "onnx":
                    throw new UnsatisfiedLinkError("libsomething.so");
                case "torchscript":
                    throw new IllegalStateException("runtime is confused");
                default:
                    return new SumEngine();
            }
        }
    };

    /** One grey pixel, of a file's first byte. */
    private final PictureDecoder decoder = new PictureDecoder() {
        @Override
        public Picture decode(byte[] file) throws IOException {
            if (file.length == 0) {
                throw new IOException("an empty file");
            }
            return new Picture(1, 1, new int[] {0xff000000 | (file[0] & 0xff) * 0x10101});
        }
    };

    private final Surroundings device = new Surroundings() {
        @Override
        public long sinceBootNanos() {
            return 42;
        }

        @Override
        public int processId() {
            return 7;
        }

        @Override
        public String abi() {
            return "arm64-v8a";
        }

        @Override
        public Integer thermalStatus() {
            return 1;
        }

        @Override
        public Double thermalHeadroom() {
            return null;
        }
    };

    private final Clock clock = new Clock() {
        @Override
        public long nanos() {
            return System.nanoTime();
        }
    };

    private Job.Model model(String id, String format, String file) throws IOException {
        File path = new File(folder, file);
        String sha256 = WholeFile.sha256(new File(folder, "good"));
        File input = new File(folder, "input");
        ModelSpec spec = new ModelSpec(format, path, "x", new long[] {1, 1, 1, 2}, "y", new long[] {1, 2});
        return new Job.Model(id, sha256, 7, input, WholeFile.sha256(input), spec);
    }

    private JsonObject run(Job.Model... models) throws IOException, JsonException {
        Job job = new Job(RUN_ID, 2, 1, SHORT, Arrays.asList(models));
        return runText(job.toJson());
    }

    private JsonObject runText(String jobText) throws IOException, JsonException {
        File jobFile = new File(folder, Job.FILE_NAME);
        WholeFile.write(jobFile, jobText);
        instrument().run(jobFile, RUN_ID, Arrays.asList(folder, second));
        byte[] result = WholeFile.read(new File(folder, RUN_ID + ".result.json"));
        assertArrayEquals(result, WholeFile.read(new File(second, RUN_ID + ".result.json")));
        return JsonObject.parse(WholeFile.text(result), "result");
    }

    private Instrument instrument() {
        return new Instrument(engines, decoder, device, clock, "0.1.0");
    }

    private List<String> stages() throws IOException, JsonException {
        List<String> stages = new ArrayList<>();
        String journal = WholeFile.text(WholeFile.read(new File(second, RUN_ID + ".progress.jsonl")));
        for (String line : journal.split("\n")) {
            stages.add(JsonObject.parse(line, "progress").string("stage"));
        }
        return stages;
    }

    @Test
    public void aGoodModelIsMeasuredAndItsOutputReported() throws IOException, JsonException {
        JsonObject result = run(model("m", "executorch", "good"));
        assertNull(result.stringOrNull("error"));
        assertEquals(WholeFile.sha256(new File(folder, Job.FILE_NAME)), result.string("job_sha256"));
        JsonObject model = result.objects("models").get(0);
        assertNull(model.stringOrNull("error"));
        assertEquals("sum", model.string("runtime"));
        assertEquals(3, model.integer("threads_active", 0));
        assertEquals(3, model.longIntegers("samples_ns").length);
        assertEquals(3, model.integer("sample_count", 0));
        assertArrayEquals(new float[] {3f, Float.NaN}, model.floatsOrNaN("golden_output"), 0f);
        assertTrue(model.longInteger("peak_memory_bytes") > 1_000_000);
        assertEquals(0, model.objects("readings").get(0).integer("sample_index", 0));
        assertEquals(3, model.objects("readings").get(1).integer("sample_index", 0));
        assertEquals(Arrays.asList("loading", "measuring", "checking", "done"), stages());
        assertEquals(1, closed);
    }

    /** A job's text for a model of one grey pixel, with pictures of these first bytes; -1 is an empty file. */
    private String jobWithPictures(String task, int batch, int... greys) throws IOException {
        File pictures = new File(folder.getParentFile(), "pictures");
        assertTrue(pictures.isDirectory() || pictures.mkdir());
        File pack = new File(pictures, "pack.zip");
        try (ZipOutputStream zip = new ZipOutputStream(new FileOutputStream(pack))) {
            for (int i = 0; i < greys.length; i++) {
                zip.putNextEntry(new ZipEntry("" + i));
                zip.write(greys[i] < 0 ? new byte[0] : new byte[] {(byte) greys[i]});
            }
        }
        WholeFile.write(new File(folder, "input"), new byte[4 * batch]);
        File input = new File(folder, "input");
        ModelSpec spec = new ModelSpec(
                "executorch", new File(folder, "good"), "x", new long[] {batch, 1, 1, 1}, "y", new long[] {batch, 2});
        String sha256 = WholeFile.sha256(spec.file);
        Job.Model model = new Job.Model("m", sha256, 7, input, WholeFile.sha256(input), spec);
        String text = new Job(RUN_ID, 2, batch, SHORT, Collections.singletonList(model)).toJson();
        String packs = "{\"file\":\"pack.zip\",\"sha256\":\"" + WholeFile.sha256(pack) + "\",\"count\":"
                + greys.length + "}";
        return text.replace("\"time\"", "\"" + task + "\"").replace("\"pictures\":[]", "\"pictures\":[" + packs + "]")
                .replace("\"pictures\":null", "\"pictures\":{\"size_px\":1,\"resize\":\"crop\",\"crop_share\":null,"
                        + "\"interpolation\":\"bilinear\",\"channels\":1}");
    }

    @Test
    public void everyPictureIsAnsweredAndOneThatCannotBeReadIsNamed() throws IOException, JsonException {
        JsonObject model = runText(jobWithPictures("answer", 1, 0, 255, -1, 51)).objects("models").get(0);
        assertNull(model.stringOrNull("error"));
        assertEquals(4, model.integer("answered", 0));
        assertEquals(2, model.objects("unreadable").get(0).integer("index", 0));
        assertEquals("an empty file", model.objects("unreadable").get(0).string("reason"));
        byte[] bytes = WholeFile.read(new File(second, RUN_ID + ".logits.bin"));
        assertEquals(WholeFile.sha256(bytes), model.string("logits_sha256"));
        float[] logits = new float[8];
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(logits);
        float[] firsts = {logits[0], logits[2], logits[4], logits[6]};
        assertArrayEquals(new float[] {0f, 1f, Float.NaN, 0.2f}, firsts, 0f);
        assertEquals(Arrays.asList("loading", "answering", "done"), stages());
        assertEquals(0, model.longIntegers("samples_ns").length);
    }

    @Test
    public void batchesAreFilledAndTheLastOneIsCut() throws IOException, JsonException {
        JsonObject model = runText(jobWithPictures("answer", 2, 255, 255, 255)).objects("models").get(0);
        assertEquals(3, model.integer("answered", 0));
        // The engine sums a whole batch; three pictures have two logits each.
        assertEquals(4 * 2 * 3, new File(folder, RUN_ID + ".logits.bin").length());
    }

    @Test
    public void aPackThatIsAnotherIsRefused() throws IOException, JsonException {
        String text = jobWithPictures("answer", 1, 7).replace("\"count\":1", "\"count\":2");
        String error = runText(text).objects("models").get(0).string("error");
        assertTrue(error, error.contains("holds 1 pictures, the job says 2"));
    }

    @Test
    public void theStagesOfThePathMakeUpItsTime() throws IOException, JsonException {
        JsonObject model = runText(jobWithPictures("time", 1, 7, 9)).objects("models").get(0);
        JsonObject stages = model.object("stages");
        long[] totals = stages.longIntegers("total_ns");
        assertEquals(3, totals.length);
        for (int i = 0; i < totals.length; i++) {
            long sum = 0;
            for (String name : new String[] {"decode_ns", "resize_ns", "convert_ns", "call_ns", "top_k_ns"}) {
                sum += stages.longIntegers(name)[i];
            }
            assertTrue(sum + " of " + totals[i], sum <= totals[i]);
        }
        assertArrayEquals(new float[] {0f, Float.NaN}, model.floatsOrNaN("golden_output"), 0f);
    }

    @Test
    public void anEngineThatIsSometimesWrongIsFound() throws IOException, JsonException {
        wrongEvery = 7;
        String text = jobWithPictures("time", 1, 7).replace("\"repeats\":1", "\"repeats\":100");
        List<JsonObject> outputs = runText(text).objects("models").get(0).objects("outputs");
        assertEquals(2, outputs.size());
        int calls = outputs.get(0).integer("calls", 0) + outputs.get(1).integer("calls", 0);
        assertEquals(100, calls);
        assertTrue(Math.min(outputs.get(0).integer("calls", 0), outputs.get(1).integer("calls", 0)) >= 14);
        // One of the two logits is never a number, so no difference can be told.
        assertTrue(outputs.get(1).isNull("max_abs_difference"));
    }

    @Test
    public void aRightEngineIsNotAccused() throws IOException, JsonException {
        String text = jobWithPictures("time", 1, 7).replace("\"repeats\":1", "\"repeats\":100");
        List<JsonObject> outputs = runText(text).objects("models").get(0).objects("outputs");
        assertEquals(1, outputs.size());
        assertEquals(100, outputs.get(0).integer("calls", 0));
    }

    @Test
    public void brokenModelsFailAloneAndInWords() throws IOException, JsonException {
        WholeFile.write(new File(folder, "changed"), "another");
        List<JsonObject> models = run(
                model("a", "litert", "good"), model("b", "onnx", "good"), model("c", "torchscript", "good"),
                model("d", "executorch", "missing"), model("e", "executorch", "changed"),
                model("f", "executorch", "good")).objects("models");
        String[] reasons = {
            "no such operator", "libsomething.so", "runtime is confused", "missing", "changed is not the file", null};
        for (int i = 0; i < reasons.length; i++) {
            String error = models.get(i).stringOrNull("error");
            assertTrue(error, reasons[i] == null ? error == null : error.contains(reasons[i]));
            assertEquals(reasons[i] == null ? 3 : 0, models.get(i).integer("sample_count", 0));
        }
        assertTrue(models.get(3).isNull("sha256"));
        assertFalse(models.get(4).isNull("sha256"));
    }

    @Test
    public void anInputOfAnotherSizeIsRefused() throws IOException, JsonException {
        WholeFile.write(new File(folder, "input"), new byte[4]);
        String error = run(model("m", "executorch", "good")).objects("models").get(0).string("error");
        assertTrue(error, error.contains("holds 4 bytes, the input shape needs 8"));
    }

    @Test
    public void aBrokenJobGivesAnErrorResult() throws IOException, JsonException {
        for (String text : new String[] {"", "{", "{\"schema_version\": 1}", JobTest.example().replace("\"threads\"", "\"thread\"")}) {
            JsonObject result = runText(text);
            assertFalse(text, result.isNull("error"));
            assertTrue(result.objects("models").isEmpty());
            assertEquals(RUN_ID, result.string("run_id"));
            assertEquals("failed", stages().get(stages().size() - 1));
        }
    }

    @Test
    public void aMissingJobGivesAnErrorResult() throws IOException, JsonException {
        String failure = instrument().run(new File(folder, "no.json"), RUN_ID, Collections.singletonList(folder));
        assertTrue(failure, failure.contains("no.json"));
        assertTrue(new File(folder, RUN_ID + ".result.json").isFile());
    }

    @Test
    public void withoutAnyRunIdThereIsNoResultToWrite() {
        try {
            instrument().run(new File(folder, "no.json"), "../../evil", Collections.singletonList(folder));
            fail();
        } catch (IOException expected) {
            assertFalse(new File(folder, "../../evil.result.json").exists());
        }
    }

    @Test
    public void aSecondJobIsRefusedInItsOwnResult() throws IOException, JsonException {
        instrument().refuse(RUN_ID, "busy", Collections.singletonList(second));
        Outcome outcome = Outcome.read(Outcome.file(second, RUN_ID));
        assertEquals("busy", outcome.error);
        assertEquals(Collections.singletonList("failed"), stages());
    }

    @Test
    public void theAppReadsBackWhatItWrote() throws IOException, JsonException {
        run(model("m", "executorch", "good"));
        Outcome outcome = Outcome.read(Outcome.file(folder, RUN_ID));
        assertNull(outcome.error);
        assertTrue(outcome.medianMs >= 0);
        assertArrayEquals(new float[] {3f, Float.NaN}, outcome.goldenOutput, 0f);
    }
}
