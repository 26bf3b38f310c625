package org.pocketdistill.demo.instrument;

import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import org.pocketdistill.demo.engine.Engine;
import org.pocketdistill.demo.engine.EngineException;
import org.pocketdistill.demo.engine.EngineFactory;
import org.pocketdistill.demo.image.PictureDecoder;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.model.WholeFile;

/**
 * The instrument behind {@code python -m bench --device android}: does a job and writes its result, following
 * {@code bench/protocol/README.md}.
 *
 * <p>Knows nothing of Android, so that the same code runs and is tested on any JVM.
 */
public final class Instrument {
    private static final TimedLoop.Observer NO_OBSERVER = new TimedLoop.Observer() {
        @Override
        public void between(int sampleCount) {
        }
    };

    private final EngineFactory engines;
    private final PictureDecoder decoder;
    private final Surroundings device;
    private final Clock clock;
    private final String version;

    /** {@code version} is that of the app. */
    public Instrument(
            EngineFactory engines, PictureDecoder decoder, Surroundings device, Clock clock, String version) {
        this.engines = engines;
        this.decoder = decoder;
        this.device = device;
        this.clock = clock;
        this.version = version;
    }

    /**
     * Does a job. A broken job or model ends up as an error in the result, never as an exception.
     *
     * @param jobFile models and inputs lie beside it.
     * @param fallbackRunId names the result if the job cannot be read; must itself be a run id.
     * @param folders get progress and result, all the same.
     * @return the result's text for people: why it failed, or null.
     * @throws IOException the result cannot be written, so there is no other way to tell.
     */
    public String run(File jobFile, String fallbackRunId, List<File> folders) throws IOException {
        String runId = fallbackRunId;
        String jobSha256 = null;
        String error = null;
        List<Object> models = new ArrayList<>();
        try {
            byte[] bytes = WholeFile.read(jobFile);
            jobSha256 = WholeFile.sha256(bytes);
            Job job = Job.parse(WholeFile.text(bytes), jobFile.getAbsoluteFile().getParentFile());
            runId = job.runId;
            LaunchFiles files = new LaunchFiles(runId, folders, device);
            try (Pictures pictures = new Pictures(job.pictures)) {
                for (Job.Model model : job.models) {
                    models.add(measure(job, model, pictures, files).toJson());
                }
            }
        } catch (IOException | JsonException fault) {
            error = fault.getMessage();
        }
        if (!Job.RUN_ID.matcher(runId).matches()) {
            throw new IOException("neither the job nor its starter gives a run id: " + error);
        }
        LaunchFiles files = new LaunchFiles(runId, folders, device);
        files.result(result(runId, jobSha256, error, models));
        files.progress(error == null ? "done" : "failed", null);
        return error;
    }

    /** Gives a job that cannot be done now an error result at once. */
    public void refuse(String runId, String reason, List<File> folders) throws IOException {
        LaunchFiles files = new LaunchFiles(runId, folders, device);
        files.result(result(runId, null, reason, new ArrayList<>()));
        files.progress("failed", null);
    }

    private ModelReport measure(Job job, Job.Model model, Pictures pictures, LaunchFiles files) throws IOException {
        ModelReport report = new ModelReport(model.id);
        files.progress("loading", model.id);
        try {
            String sha256 = WholeFile.sha256(model.spec.file);
            report.hashed(sha256);
            FloatBuffer input = verifiedInput(model, sha256);
            long began = clock.nanos();
            Engine engine = engines.open(model.spec, job.threads);
            report.opened(engine, clock.nanos() - began);
            try {
                if (job.task == Job.Task.ANSWER) {
                    answer(job, model, engine, pictures, report, files);
                } else {
                    measure(job, model, engine, input, pictures, report, files);
                }
            } finally {
                engine.close();
            }
        } catch (IOException | EngineException fault) {
            report.failed(fault.getMessage());
        } catch (RuntimeException | LinkageError | OutOfMemoryError fault) {
            report.failed("the runtime failed in an unexpected way: " + fault);
        }
        return report;
    }

    private void answer(
            Job job, Job.Model model, Engine engine, Pictures pictures, ModelReport report, LaunchFiles files)
            throws IOException, EngineException {
        Answering answering = new Answering(model, job.batch, decoder, clock);
        byte[] logits = answering.answerAll(engine, pictures, files);
        report.answered(answering, files.logits(logits));
    }

    private void measure(
            Job job, Job.Model model, Engine engine, FloatBuffer input, Pictures pictures, final ModelReport report,
            LaunchFiles files) throws IOException, EngineException {
        engine.setInput(input);
        files.progress("measuring", model.id);
        report.read(device, 0);
        TimedLoop.Timing timing = new TimedLoop(clock, job.limits).measure(calls(engine), new TimedLoop.Observer() {
            @Override
            public void between(int sampleCount) {
                report.read(device, sampleCount);
            }
        });
        report.measured(timing);
        if (pictures.count() > 0 && job.batch == 1) {
            PathStages path = new PathStages(model, engine, decoder, pictures, clock, job.limits.maxCount);
            if (path.hasPictures()) {
                report.timedPath(path, new TimedLoop(clock, job.limits).measure(path, NO_OBSERVER));
                engine.setInput(input);
            }
        }
        report.read(device, timing.samplesNanos.length);
        files.progress("checking", model.id);
        report.checked(new Repeats(engine, model.spec.outputLength(), job.repeats));
    }

    private static TimedLoop.Call calls(final Engine engine) {
        return new TimedLoop.Call() {
            @Override
            public void run() throws EngineException {
                engine.run();
            }
        };
    }

    private static FloatBuffer verifiedInput(Job.Model model, String sha256) throws IOException {
        if (model.spec.file.length() != model.sizeBytes || !sha256.equals(model.sha256)) {
            throw new IOException(model.spec.file.getName() + " is not the file that the job names");
        }
        byte[] bytes = WholeFile.read(model.inputFile);
        if (!WholeFile.sha256(bytes).equals(model.inputSha256)) {
            throw new IOException(model.inputFile.getName() + " is not the file that the job names");
        }
        if (bytes.length != 4 * model.spec.inputLength()) {
            throw new IOException(model.inputFile.getName() + " holds " + bytes.length
                    + " bytes, the input shape needs " + 4 * model.spec.inputLength());
        }
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    }

    private Map<String, Object> result(String runId, String jobSha256, String error, List<Object> models) {
        long now = device.sinceBootNanos();
        Long began = Proc.startNanos();
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("schema_version", Job.SCHEMA_VERSION);
        json.put("run_id", runId);
        json.put("instrument", "app");
        json.put("instrument_version", version);
        json.put("error", error);
        json.put("job_sha256", jobSha256);
        json.put("boot_id", Proc.bootId());
        json.put("abi", device.abi());
        json.put("began_ns", began == null ? now : began);
        json.put("ended_ns", now);
        json.put("models", models);
        return json;
    }
}
