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
import org.pocketdistill.demo.model.Manifest;
import org.pocketdistill.demo.model.TopClasses;

/** One open model that classifies picture after picture. Used by one thread at a time. */
final class LiveClassifier {
    private static final int SHOWN_CLASSES = 3;
    private static final int LATENCIES_KEPT = 200;
    /** Decode, resize, convert, call, top-k, as a benchmark names them. */
    private static final int STAGES = 5;
    private static final int CALL = 3;

    /** What is shown of one picture. */
    static final class Answer {
        final String[] names;
        final float[] shares;
        /** NaN until enough pictures were seen. */
        final double medianMs;
        final double p90Ms;
        /** Medians of decode, resize, convert, call and top-k; NaN for a stage that was not seen. */
        final double[] stagesMs;
        /** Median from the picture to the answer. */
        final double pathMs;
        final int threads;

        private Answer(String[] names, float[] shares, Latencies[] stages, Latencies path, int threads) {
            this.names = names;
            this.shares = shares;
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

    private final Manifest manifest;
    private final Engine engine;
    private final Preprocess preprocess;
    private final FloatBuffer input;
    private final float[] logits;
    private final Latencies[] stages = new Latencies[STAGES];
    private final Latencies path = new Latencies(LATENCIES_KEPT);

    LiveClassifier(Artifact artifact, EngineFactory engines, int threads) throws EngineException, JsonException {
        manifest = artifact.manifest;
        engine = engines.open(manifest.spec(artifact.folder), threads);
        preprocess = manifest.preprocess();
        input = DirectBuffer.ofFloats(preprocess.inputLength());
        logits = new float[manifest.classNames.size()];
        for (int i = 0; i < STAGES; i++) {
            stages[i] = new Latencies(LATENCIES_KEPT);
        }
    }

    /**
     * Classifies a picture. Only the runtime's call is counted as the model's latency, as in a benchmark; the stages
     * around it are counted apart.
     *
     * @param decodeNanos what decoding took; 0 for a frame of the camera, which comes as pixels.
     */
    Answer classify(Picture picture, long decodeNanos) throws EngineException {
        long began = System.nanoTime();
        preprocess.resize(picture);
        long resized = System.nanoTime();
        preprocess.convert(input, 0);
        engine.setInput(input);
        long converted = System.nanoTime();
        engine.run();
        long called = System.nanoTime();
        engine.readOutput(logits);
        TopClasses top = TopClasses.of(logits, SHOWN_CLASSES);
        long ended = System.nanoTime();
        if (decodeNanos > 0) {
            stages[0].add(decodeNanos);
        }
        stages[1].add(resized - began);
        stages[2].add(converted - resized);
        stages[CALL].add(called - converted);
        stages[CALL + 1].add(ended - called);
        path.add(decodeNanos + ended - began);
        String[] names = new String[top.classes.length];
        for (int rank = 0; rank < names.length; rank++) {
            names[rank] = manifest.classNames.get(top.classes[rank]);
        }
        return new Answer(names, top.shares, stages, path, engine.threads());
    }

    void close() {
        engine.close();
    }
}
