package org.pocketdistill.demo.engine;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

import org.junit.Test;

public final class RuntimesTest {
    private static Runtimes read(String text) throws IOException {
        return Runtimes.read(new ByteArrayInputStream(text.getBytes(StandardCharsets.ISO_8859_1)));
    }

    @Test
    public void theProjectsOwnListIsUnderstood() throws IOException, EngineException {
        File file = new File(System.getProperty("project"), "android_demo/" + Runtimes.FILE_NAME);
        try (FileInputStream stream = new FileInputStream(file)) {
            Runtimes runtimes = Runtimes.read(stream);
            for (String format : new String[] {"executorch", "onnx", "litert", "torchscript"}) {
                assertTrue(runtimes.version(format), runtimes.version(format).matches("[0-9.]+"));
            }
        }
    }

    @Test
    public void aRuntimeThatWasNotPackedIsNamedAsSuch() throws IOException {
        Runtimes runtimes = read("onnx = g:a:1.2\n");
        assertFalse(runtimes.has("litert"));
        try {
            runtimes.version("litert");
            fail();
        } catch (EngineException error) {
            assertEquals("this app was built without a runtime for litert models; it has {onnx=1.2}", error.getMessage());
        }
    }

    @Test(expected = IOException.class)
    public void coordinatesMustBeComplete() throws IOException {
        read("onnx = 1.2\n");
    }
}
