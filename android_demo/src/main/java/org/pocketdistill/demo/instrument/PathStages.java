package org.pocketdistill.demo.instrument;

import java.io.IOException;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import org.pocketdistill.demo.engine.DirectBuffer;
import org.pocketdistill.demo.engine.Engine;
import org.pocketdistill.demo.engine.EngineException;
import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.image.PictureDecoder;
import org.pocketdistill.demo.image.Preprocess;
import org.pocketdistill.demo.model.ModelSpec;
import org.pocketdistill.demo.task.TopClasses;

/**
 * The whole path of one picture, from the file's bytes in memory to the likeliest classes, as a call to be timed; it
 * notes when each stage ended. Pictures come in turn; those that cannot be decoded
 * are left out.
 */
final class PathStages implements TimedLoop.Call {
    private static final String[] NAMES = {"decode_ns", "resize_ns", "convert_ns", "call_ns", "top_k_ns"};
    private static final int TOP = 5;

    private final Engine engine;
    private final PictureDecoder decoder;
    private final Preprocess preprocess;
    private final Clock clock;
    private final FloatBuffer input;
    private final float[] logits;
    private final byte[][] files;
    /** By stage; a ring of the latest calls. */
    private final long[][] nanos;
    private int calls;

    PathStages(
            Job.Model model, Engine engine, PictureDecoder decoder, Pictures pictures, Clock clock, int mostCalls)
            throws IOException {
        ModelSpec spec = model.spec;
        this.engine = engine;
        this.decoder = decoder;
        this.preprocess = model.rule.preprocess();
        this.clock = clock;
        this.input = DirectBuffer.ofFloats(spec.inputLength());
        this.logits = new float[spec.outputLength()];
        List<byte[]> readable = new ArrayList<>();
        for (int i = 0; i < pictures.count(); i++) {
            byte[] file = pictures.read(i);
            if (isReadable(file)) {
                readable.add(file);
            }
        }
        this.files = readable.toArray(new byte[0][]);
        this.nanos = new long[NAMES.length][mostCalls];
    }

    /** Whether there is a picture that this platform decodes. */
    boolean hasPictures() {
        return files.length > 0;
    }

    private boolean isReadable(byte[] file) {
        try {
            decoder.decode(file);
            return true;
        } catch (IOException | RuntimeException unknownHere) {
            // Which picture that is, an accuracy job tells.
            return false;
        }
    }

    @Override
    public void run() throws EngineException {
        byte[] file = files[calls % files.length];
        int place = calls % nanos[0].length;
        long began = clock.nanos();
        Picture picture = decoded(file);
        long decoded = clock.nanos();
        preprocess.resize(picture);
        long resized = clock.nanos();
        preprocess.convert(input, 0);
        engine.setInput(input);
        long converted = clock.nanos();
        engine.run();
        long called = clock.nanos();
        engine.readOutput(logits);
        TopClasses.of(logits, TOP);
        long ended = clock.nanos();
        nanos[0][place] = decoded - began;
        nanos[1][place] = resized - decoded;
        nanos[2][place] = converted - resized;
        nanos[3][place] = called - converted;
        nanos[4][place] = ended - called;
        calls++;
    }

    private Picture decoded(byte[] file) throws EngineException {
        try {
            return decoder.decode(file);
        } catch (IOException error) {
            throw new EngineException("a picture cannot be decoded here", error);
        }
    }

    /** The stages of the last calls, as many as {@code totals}, which a clock around the whole call gave. */
    Map<String, Object> toJson(long[] totals) {
        Map<String, Object> json = new LinkedHashMap<>();
        for (int stage = 0; stage < NAMES.length; stage++) {
            long[] samples = new long[totals.length];
            for (int i = 0; i < samples.length; i++) {
                samples[i] = nanos[stage][(calls - totals.length + i) % nanos[stage].length];
            }
            json.put(NAMES[stage], samples);
        }
        json.put("total_ns", totals);
        return json;
    }
}
