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

    /** What is shown of one picture. */
    static final class Answer {
        final String[] names;
        final float[] shares;
        /** NaN until enough pictures were seen. */
        final double medianMs;
        final double p90Ms;
        final int threads;

        private Answer(String[] names, float[] shares, Latencies latencies, int threads) {
            this.names = names;
            this.shares = shares;
            this.medianMs = latencies.medianMs();
            this.p90Ms = latencies.p90Ms();
            this.threads = threads;
        }
    }

    private final Manifest manifest;
    private final Engine engine;
    private final Preprocess preprocess;
    private final FloatBuffer input;
    private final float[] logits;
    private final Latencies latencies = new Latencies(LATENCIES_KEPT);

    LiveClassifier(Artifact artifact, EngineFactory engines, int threads) throws EngineException, JsonException {
        manifest = artifact.manifest;
        engine = engines.open(manifest.spec(artifact.folder), threads);
        preprocess = manifest.preprocess();
        input = DirectBuffer.ofFloats(preprocess.inputLength());
        logits = new float[manifest.classNames.size()];
    }

    /** Classifies a picture; only the runtime's call is counted as latency, as in a benchmark. */
    Answer classify(Picture picture) throws EngineException {
        preprocess.toInput(picture, input);
        engine.setInput(input);
        long began = System.nanoTime();
        engine.run();
        latencies.add(System.nanoTime() - began);
        engine.readOutput(logits);
        TopClasses top = TopClasses.of(logits, SHOWN_CLASSES);
        String[] names = new String[top.classes.length];
        for (int rank = 0; rank < names.length; rank++) {
            names[rank] = manifest.classNames.get(top.classes[rank]);
        }
        return new Answer(names, top.shares, latencies, engine.threads());
    }

    void close() {
        engine.close();
    }
}
