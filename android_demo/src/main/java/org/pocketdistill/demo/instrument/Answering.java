package org.pocketdistill.demo.instrument;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import org.pocketdistill.demo.engine.DirectBuffer;
import org.pocketdistill.demo.engine.Engine;
import org.pocketdistill.demo.engine.EngineException;
import org.pocketdistill.demo.image.PictureDecoder;
import org.pocketdistill.demo.image.Preprocess;

/** Lets a model answer pictures, each through the platform's decoder and the app's own resizing. */
final class Answering {
    private static final long TELL_EVERY_NANOS = 1_000_000_000L;

    private final String modelId;
    private final Preprocess preprocess;
    private final PictureDecoder decoder;
    private final Clock clock;
    private final int batch;
    private final FloatBuffer input;
    private final float[] output;
    private final List<Object> unreadable = new ArrayList<>();
    private int count;

    Answering(Job.Model model, int batch, PictureDecoder decoder, Clock clock) {
        this.modelId = model.id;
        this.preprocess = model.rule.preprocess();
        this.decoder = decoder;
        this.clock = clock;
        this.batch = batch;
        this.input = DirectBuffer.ofFloats(model.spec.inputLength());
        this.output = new float[model.spec.outputLength()];
    }

    /** Pictures answered, those that could not be decoded included. */
    int count() {
        return count;
    }

    /** Those that could not be decoded, with the reason. */
    List<Object> unreadable() {
        return unreadable;
    }

    /**
     * The logits of every picture in order, float32, little-endian; NaN for one that cannot be decoded. What is left of
     * the last batch is filled with what was there before.
     */
    byte[] answerAll(Engine engine, Pictures pictures, LaunchFiles files) throws IOException, EngineException {
        int total = pictures.count();
        int classes = output.length / batch;
        ByteBuffer logits = ByteBuffer.allocate(4 * total * classes).order(ByteOrder.LITTLE_ENDIAN);
        long told = clock.nanos();
        files.progress("answering", modelId, 0, total);
        while (count < total) {
            int last = Math.min(count + batch, total);
            boolean[] isFilled = new boolean[batch];
            boolean isAnyFilled = false;
            for (int index = count; index < last; index++) {
                isFilled[index - count] = fill(pictures.read(index), index, index - count);
                isAnyFilled |= isFilled[index - count];
            }
            if (isAnyFilled) {
                engine.setInput(input);
                engine.run();
                engine.readOutput(output);
            }
            for (int i = 0; i < (last - count) * classes; i++) {
                logits.putFloat(isFilled[i / classes] ? output[i] : Float.NaN);
            }
            count = last;
            if (clock.nanos() - told >= TELL_EVERY_NANOS) {
                told = clock.nanos();
                files.progress("answering", modelId, count, total);
            }
        }
        return logits.array();
    }

    private boolean fill(byte[] file, int index, int slot) {
        try {
            preprocess.resize(decoder.decode(file));
            preprocess.convert(input, slot * preprocess.inputLength());
            return true;
        } catch (IOException | RuntimeException error) {
            // A decoder raises whatever damaged bytes lead to.
            Map<String, Object> entry = new LinkedHashMap<>();
            entry.put("index", index);
            entry.put("reason", error instanceof IOException ? String.valueOf(error.getMessage()) : error.toString());
            unreadable.add(entry);
            return false;
        }
    }
}
