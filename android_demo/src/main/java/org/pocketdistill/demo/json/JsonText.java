package org.pocketdistill.demo.json;

import java.util.Map;

/** Writes values as compact JSON text. */
public final class JsonText {
    private JsonText() {
    }

    /**
     * The text of maps with string keys, iterables, {@code long[]}, {@code float[]}, strings, booleans, numbers and
     * null. In a {@code float[]} a value that is not finite becomes null; anywhere else it is an error.
     *
     * @throws IllegalArgumentException for any other type, and for a number that JSON cannot hold.
     */
    public static String of(Object value) {
        StringBuilder text = new StringBuilder();
        append(text, value);
        return text.toString();
    }

    private static void append(StringBuilder text, Object value) {
        if (value == null || value instanceof Boolean || value instanceof Long || value instanceof Integer) {
            text.append(value);
        } else if (value instanceof Double) {
            text.append(finite((Double) value));
        } else if (value instanceof String) {
            appendString(text, (String) value);
        } else if (value instanceof Map) {
            appendObject(text, (Map<?, ?>) value);
        } else if (value instanceof Iterable) {
            appendList(text, (Iterable<?>) value);
        } else if (value instanceof long[]) {
            appendLongs(text, (long[]) value);
        } else if (value instanceof float[]) {
            appendFloats(text, (float[]) value);
        } else {
            throw new IllegalArgumentException("no JSON for " + value.getClass().getName());
        }
    }

    private static Double finite(Double value) {
        if (value.isNaN() || value.isInfinite()) {
            throw new IllegalArgumentException("JSON has no " + value);
        }
        return value;
    }

    private static void appendObject(StringBuilder text, Map<?, ?> entries) {
        String separator = "{";
        for (Map.Entry<?, ?> entry : entries.entrySet()) {
            text.append(separator);
            appendString(text, (String) entry.getKey());
            text.append(':');
            append(text, entry.getValue());
            separator = ",";
        }
        text.append(entries.isEmpty() ? "{}" : "}");
    }

    private static void appendList(StringBuilder text, Iterable<?> items) {
        String separator = "";
        text.append('[');
        for (Object item : items) {
            text.append(separator);
            append(text, item);
            separator = ",";
        }
        text.append(']');
    }

    private static void appendLongs(StringBuilder text, long[] values) {
        text.append('[');
        for (int i = 0; i < values.length; i++) {
            text.append(i == 0 ? "" : ",").append(values[i]);
        }
        text.append(']');
    }

    private static void appendFloats(StringBuilder text, float[] values) {
        text.append('[');
        for (int i = 0; i < values.length; i++) {
            boolean isFinite = !Float.isNaN(values[i]) && !Float.isInfinite(values[i]);
            text.append(i == 0 ? "" : ",").append(isFinite ? Float.toString(values[i]) : "null");
        }
        text.append(']');
    }

    private static void appendString(StringBuilder text, String value) {
        text.append('"');
        for (int i = 0; i < value.length(); i++) {
            char character = value.charAt(i);
            if (character == '"' || character == '\\') {
                text.append('\\').append(character);
            } else if (character < ' ' || Character.isSurrogate(character)) {
                text.append(String.format("\\u%04x", (int) character));
            } else {
                text.append(character);
            }
        }
        text.append('"');
    }
}
