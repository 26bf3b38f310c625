package org.pocketdistill.demo.instrument;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import org.pocketdistill.demo.engine.Engine;
import org.pocketdistill.demo.engine.EngineException;
import org.pocketdistill.demo.model.WholeFile;

/** Calls an engine several times with the input it has, and tells its outputs apart, bit by bit. */
final class Repeats {
    /** Beyond these every new one counts as the last. */
    private static final int MOST_OUTPUTS = 100;

    private static final class Seen {
        final double difference;
        int calls;

        Seen(double difference) {
            this.difference = difference;
        }
    }

    private final float[] first;
    private final Map<String, Seen> outputs = new LinkedHashMap<>();

    /** @param count at least 1. */
    Repeats(Engine engine, int outputLength, int count) throws EngineException {
        first = new float[outputLength];
        float[] output = first;
        String last = "";
        for (int call = 0; call < count; call++) {
            engine.run();
            engine.readOutput(output);
            String sha256 = sha256(output);
            if (!outputs.containsKey(sha256) && outputs.size() < MOST_OUTPUTS) {
                outputs.put(sha256, new Seen(difference(output)));
                last = sha256;
            }
            outputs.get(outputs.containsKey(sha256) ? sha256 : last).calls++;
            output = output == first ? new float[outputLength] : output;
        }
    }

    /** The output of the first call. */
    float[] first() {
        return first;
    }

    List<Object> toJson() {
        List<Object> list = new ArrayList<>();
        for (Map.Entry<String, Seen> entry : outputs.entrySet()) {
            Seen seen = entry.getValue();
            boolean isFinite = !Double.isNaN(seen.difference) && !Double.isInfinite(seen.difference);
            Map<String, Object> json = new LinkedHashMap<>();
            json.put("sha256", entry.getKey());
            json.put("calls", seen.calls);
            json.put("max_abs_difference", isFinite ? (Double) seen.difference : null);
            list.add(json);
        }
        return list;
    }

    private double difference(float[] output) {
        double largest = 0;
        for (int i = 0; i < output.length; i++) {
            // Math.max keeps what is no number.
            largest = Math.max(largest, Math.abs((double) output[i] - first[i]));
        }
        return largest;
    }

    private static String sha256(float[] output) {
        ByteBuffer bytes = ByteBuffer.allocate(4 * output.length).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asFloatBuffer().put(output);
        return WholeFile.sha256(bytes.array());
    }
}
