package org.pocketdistill.demo.ui;

import java.nio.FloatBuffer;

import org.pocketdistill.demo.engine.DirectBuffer;
import org.pocketdistill.demo.engine.Engine;
import org.pocketdistill.demo.engine.EngineException;
import org.pocketdistill.demo.engine.EngineFactory;
import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.image.Preprocess;
import org.pocketdistill.demo.instrument.Latencies;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.model.Artifact;
import org.pocketdistill.demo.model.ModelSpec;
import org.pocketdistill.demo.task.Answer;
import org.pocketdistill.demo.task.Reader;

/** One open model that answers picture after picture. Used by one thread at a time. */
final class LiveModel {
    private static final int LATENCIES_KEPT = 200;
    /** Decode, resize, convert, call, answer. */
    private static final int STAGES = 5;
    private static final int CALL = 3;
    /** More than that no screen shows. */
    private static final int MOST_PAINTED_PX = 1280;

    /** What is shown of one picture. */
    static final class Shown {
        final Answer answer;
        /** The picture with the answer painted over it; null where pixels have no answer. */
        final Picture painted;
        /** NaN until enough pictures were seen. */
        final double medianMs;
        final double p90Ms;
        /** Medians of decode, resize, convert, call and answer; NaN for a stage that was not seen. */
        final double[] stagesMs;
        /** Median from the picture to the answer. */
        final double pathMs;
        final int threads;

        private Shown(Answer answer, Picture painted, Latencies[] stages, Latencies path, int threads) {
            this.answer = answer;
            this.painted = painted;
            this.medianMs = stages[CALL].medianMs();
            this.p90Ms = stages[CALL].p90Ms();
            this.stagesMs = new double[stages.length];
            for (int i = 0; i < stages.length; i++) {
                stagesMs[i] = stages[i].medianMs();
            }
            this.pathMs = path.medianMs();
            this.threads = threads;
        }
    }

    private final Engine engine;
    private final Reader reader;
    private final Preprocess preprocess;
    private final FloatBuffer input;
    private final float[] output;
    private final Latencies[] stages = new Latencies[STAGES];
    private final Latencies path = new Latencies(LATENCIES_KEPT);

    LiveModel(Artifact artifact, EngineFactory engines, int threads) throws EngineException, JsonException {
        ModelSpec spec = artifact.manifest.spec(artifact.folder);
        reader = artifact.reader();
        engine = engines.open(spec, threads);
        preprocess = artifact.manifest.preprocess();
        input = DirectBuffer.ofFloats(preprocess.inputLength());
        output = new float[spec.outputLength()];
        for (int i = 0; i < STAGES; i++) {
            stages[i] = new Latencies(LATENCIES_KEPT);
        }
    }

    /**
     * Answers a picture. Only the runtime's call is counted as the model's latency, as in a benchmark; the stages
     * around it are counted apart. Painting belongs to none of them: it is for the screen.
     *
     * @param decodeNanos what decoding took; 0 for a frame of the camera, which comes as pixels.
     */
    Shown answer(Picture picture, long decodeNanos) throws EngineException {
        long began = System.nanoTime();
        preprocess.resize(picture);
        long resized = System.nanoTime();
        preprocess.convert(input, 0);
        engine.setInput(input);
        long converted = System.nanoTime();
        engine.run();
        long called = System.nanoTime();
        engine.readOutput(output);
        Answer answer = reader.read(output);
        long ended = System.nanoTime();
        if (decodeNanos > 0) {
            stages[0].add(decodeNanos);
        }
        stages[1].add(resized - began);
        stages[2].add(converted - resized);
        stages[CALL].add(called - converted);
        stages[CALL + 1].add(ended - called);
        path.add(decodeNanos + ended - began);
        Picture painted = answer.painting == null ? null : answer.painting.over(picture.thinned(MOST_PAINTED_PX));
        return new Shown(answer, painted, stages, path, engine.threads());
    }

    void close() {
        engine.close();
    }
}
