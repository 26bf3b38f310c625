package org.pocketdistill.demo.model;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;

import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public final class WholeFileTest {
    private static final int SIZE_BYTES = 64 << 20;

    @Rule
    public final TemporaryFolder folder = new TemporaryFolder();

    /** Writes large results over one file for ever, each of one repeated byte. */
    public static final class EndlessWriter {
        public static void main(String[] arguments) throws IOException {
            File file = new File(arguments[0]);
            byte[] bytes = new byte[SIZE_BYTES];
            for (byte content = 1;; content++) {
                Arrays.fill(bytes, content);
                WholeFile.write(file, bytes);
                System.out.println("written");
            }
        }
    }

    @Test
    public void aWriterKilledHalfWayLeavesNoHalfResult() throws IOException, InterruptedException {
        File file = new File(folder.getRoot(), "r.result.json");
        boolean wasHalfWay = false;
        for (int attempt = 0; attempt < 10 && !wasHalfWay; attempt++) {
            Process writer = new ProcessBuilder(
                    System.getProperty("java.home") + "/bin/java", "-Xmx128m", "-cp", System.getProperty("tests.classpath"),
                    EndlessWriter.class.getName(), file.getPath()).redirectErrorStream(true).start();
            assertEquals('w', writer.getInputStream().read());
            File temporary = new File(file.getPath() + ".tmp");
            while (temporary.length() == 0 || temporary.length() == SIZE_BYTES) {
                assertTrue(writer.isAlive());
            }
            writer.destroyForcibly();
            assertTrue(writer.waitFor(20, TimeUnit.SECONDS));
            wasHalfWay = temporary.length() > 0 && temporary.length() < SIZE_BYTES;
            byte[] bytes = WholeFile.read(file);
            assertEquals(SIZE_BYTES, bytes.length);
            for (byte value : bytes) {
                assertEquals(bytes[0], value);
            }
        }
        assertTrue("at least one writer died half-way", wasHalfWay);
    }

    @Test
    public void anOlderResultStaysIfTheNewOneCannotBeWritten() throws IOException {
        File file = new File(folder.getRoot(), "result");
        WholeFile.write(file, "old");
        assertTrue(new File(file.getPath() + ".tmp").mkdir());
        try {
            WholeFile.write(file, "new");
            fail();
        } catch (IOException expected) {
            assertEquals("old", WholeFile.text(WholeFile.read(file)));
        }
    }

    @Test
    public void nothingIsLeftBesideAFileThatWasWritten() throws IOException {
        File file = folder.newFile();
        WholeFile.write(file, "text");
        assertFalse(new File(file.getPath() + ".tmp").exists());
        assertEquals("982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1", WholeFile.sha256(file));
    }

    @Test
    public void aNumpyFileIsReadAndAnyOtherRefused() throws IOException {
        String header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
        File file = new File(folder.getRoot(), "a.npy");
        WholeFile.write(file, numpy(header, 0, 0, (byte) 0x80, 0x3f, 0, 0, 0, (byte) 0xc0));
        assertArrayEquals(new float[] {1f, -2f}, NumpyArray.floats(file), 0f);
        byte[][] others = {
            numpy(header.replace("<f4", "<f8"), 0, 0), numpy(header.replace("False", "True"), 0, 0), {1, 2, 3},
            Arrays.copyOf(numpy(header), 20),
        };
        for (byte[] other : others) {
            WholeFile.write(file, other);
            try {
                NumpyArray.floats(file);
                fail(new String(other, StandardCharsets.ISO_8859_1));
            } catch (IOException expected) {
                assertTrue(expected.getMessage().contains("a.npy"));
            }
        }
    }

    private static byte[] numpy(String header, int... values) {
        byte[] bytes = new byte[10 + header.length() + values.length];
        byte[] start = {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (byte) header.length(), 0};
        System.arraycopy(start, 0, bytes, 0, start.length);
        System.arraycopy(header.getBytes(StandardCharsets.US_ASCII), 0, bytes, start.length, header.length());
        for (int i = 0; i < values.length; i++) {
            bytes[10 + header.length() + i] = (byte) values[i];
        }
        return bytes;
    }
}
