package org.pocketdistill.demo.json;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A JSON object whose values are asked for by name and type.
 *
 * <p>Nothing is converted and nothing has a default: a missing key, another type or an unknown key is a
 * {@link JsonException} that names the dotted path, as the Python side of our contracts does it.
 */
public final class JsonObject {
    private final Map<String, Object> entries;
    private final String path;

    private JsonObject(Map<String, Object> entries, String path) {
        this.entries = entries;
        this.path = path;
    }

    /** Parses a text that is one object; {@code source} is named in errors. */
    public static JsonObject parse(String text, String source) throws JsonException {
        try {
            return from(JsonParser.parse(text), "");
        } catch (JsonException error) {
            throw new JsonException(source + ": " + error.getMessage());
        }
    }

    /** Throws unless the keys are exactly these. */
    public JsonObject requireKeys(String... keys) throws JsonException {
        allowKeys(keys);
        for (String key : keys) {
            if (!entries.containsKey(key)) {
                throw new JsonException(path + key + ": missing key");
            }
        }
        return this;
    }

    /** Throws if there is a key beside these. */
    public JsonObject allowKeys(String... keys) throws JsonException {
        Set<String> unknown = new HashSet<>(entries.keySet());
        unknown.removeAll(Arrays.asList(keys));
        if (!unknown.isEmpty()) {
            throw new JsonException(path + Collections.min(unknown) + ": unknown key");
        }
        return this;
    }

    /** Throws unless {@code schema_version} is the one this program knows; {@code name} says of what. */
    public JsonObject requireVersion(int known, String name) throws JsonException {
        return requireVersion(known, known, name);
    }

    /** As above, for a program that reads records from version {@code oldest} on. */
    public JsonObject requireVersion(int oldest, int known, String name) throws JsonException {
        Object found = entries.get("schema_version");
        if (!(found instanceof Long) || (Long) found < oldest || (Long) found > known) {
            throw new JsonException(
                    name + " has schema version " + found + ", this app reads " + known
                            + ": make it with the toolkit that this app came with");
        }
        return this;
    }

    public boolean has(String key) {
        return entries.containsKey(key);
    }

    public boolean isNull(String key) throws JsonException {
        return value(key) == null;
    }

    public String string(String key) throws JsonException {
        return cast(key, String.class, "a string");
    }

    public String stringOrNull(String key) throws JsonException {
        return isNull(key) ? null : string(key);
    }

    /** An integer, written without fraction, in [{@code least}, 2^31). */
    public int integer(String key, int least) throws JsonException {
        long value = longInteger(key);
        if (value < least || value > Integer.MAX_VALUE) {
            throw new JsonException(path + key + ": must be an integer from " + least + ", found " + value);
        }
        return (int) value;
    }

    public long longInteger(String key) throws JsonException {
        return cast(key, Long.class, "an integer");
    }

    /** Any finite number. */
    public double number(String key) throws JsonException {
        return cast(key, Number.class, "a number").doubleValue();
    }

    public Double numberOrNull(String key) throws JsonException {
        return isNull(key) ? null : Double.valueOf(number(key));
    }

    public JsonObject object(String key) throws JsonException {
        return from(value(key), path + key + ".");
    }

    public JsonObject objectOrNull(String key) throws JsonException {
        return isNull(key) ? null : object(key);
    }

    /** A list of objects. */
    public List<JsonObject> objects(String key) throws JsonException {
        List<JsonObject> objects = new ArrayList<>();
        for (Object item : list(key)) {
            objects.add(from(item, path + key + "." + objects.size() + "."));
        }
        return objects;
    }

    public List<String> strings(String key) throws JsonException {
        List<String> strings = new ArrayList<>();
        for (Object item : list(key)) {
            if (!(item instanceof String)) {
                throw new JsonException(path + key + "." + strings.size() + ": must be a string");
            }
            strings.add((String) item);
        }
        return strings;
    }

    /** A list of integers of 64 bits. */
    public long[] longIntegers(String key) throws JsonException {
        List<?> items = list(key);
        long[] values = new long[items.size()];
        for (int i = 0; i < values.length; i++) {
            if (!(items.get(i) instanceof Long)) {
                throw new JsonException(path + key + "." + i + ": must be an integer, found " + items.get(i));
            }
            values[i] = (Long) items.get(i);
        }
        return values;
    }

    /** A list of numbers; null in the text becomes NaN. */
    public float[] floatsOrNaN(String key) throws JsonException {
        List<?> items = list(key);
        float[] values = new float[items.size()];
        for (int i = 0; i < values.length; i++) {
            Object item = items.get(i);
            if (item != null && !(item instanceof Number)) {
                throw new JsonException(path + key + "." + i + ": must be a number or null, found " + item);
            }
            values[i] = item == null ? Float.NaN : ((Number) item).floatValue();
        }
        return values;
    }

    private List<?> list(String key) throws JsonException {
        return cast(key, List.class, "a list");
    }

    private <T> T cast(String key, Class<T> type, String expected) throws JsonException {
        Object value = value(key);
        if (!type.isInstance(value)) {
            throw new JsonException(path + key + ": must be " + expected + ", found " + value);
        }
        return type.cast(value);
    }

    private Object value(String key) throws JsonException {
        if (!entries.containsKey(key)) {
            throw new JsonException(path + key + ": missing key");
        }
        return entries.get(key);
    }

    @SuppressWarnings("unchecked") // the parser puts only strings into keys
    private static JsonObject from(Object value, String path) throws JsonException {
        if (!(value instanceof Map)) {
            throw new JsonException((path.isEmpty() ? "(top level)" : path) + ": must be an object");
        }
        return new JsonObject((Map<String, Object>) value, path);
    }
}
