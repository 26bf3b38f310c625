package org.pocketdistill.demo.engine;

import java.io.IOException;
import java.io.InputStream;
import java.util.Collections;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;

/** Which runtimes were packed into this app, from its {@code runtimes.properties}. */
public final class Runtimes {
    public static final String FILE_NAME = "runtimes.properties";

    private final Map<String, String> versions;

    private Runtimes(Map<String, String> versions) {
        this.versions = Collections.unmodifiableMap(versions);
    }

    /** Reads lines {@code format = group:artifact:version}. */
    public static Runtimes read(InputStream stream) throws IOException {
        Properties coordinates = new Properties();
        coordinates.load(stream);
        Map<String, String> versions = new TreeMap<>();
        for (String format : coordinates.stringPropertyNames()) {
            String[] parts = coordinates.getProperty(format).trim().split(":");
            if (parts.length != 3) {
                throw new IOException(FILE_NAME + ": " + format + " must be group:artifact:version");
            }
            versions.put(format, parts[2]);
        }
        return new Runtimes(versions);
    }

    /** Version of the runtime for a format; {@link EngineException} if it was not packed. */
    public String version(String format) throws EngineException {
        String version = versions.get(format);
        if (version == null) {
            throw new EngineException("this app was built without a runtime for " + format + " models; it has "
                    + (versions.isEmpty() ? "none" : versions.toString()));
        }
        return version;
    }

    public boolean has(String format) {
        return versions.containsKey(format);
    }
}
