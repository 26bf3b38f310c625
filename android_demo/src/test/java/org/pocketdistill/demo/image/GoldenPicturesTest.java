package org.pocketdistill.demo.image;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.io.BufferedInputStream;
import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

import org.junit.Test;
import org.pocketdistill.demo.jvm.StandInDecoder;

/**
 * Odd picture files that the toolkit's tests read too, and what a viewer shows of each; the system property
 * golden.pictures names their folder. The JVM's decoder stands in for Android's.
 */
public final class GoldenPicturesTest {
    private final List<String> different = new ArrayList<>();
    private final Path folder = Paths.get(System.getProperty("golden.pictures"));

    @Test
    public void everyPictureIsWhatAViewerShows() throws IOException {
        int compared = 0;
        int count;
        try (DataInputStream truth = new DataInputStream(
                new BufferedInputStream(Files.newInputStream(folder.resolve("truth.bin"))))) {
            count = truth.readInt();
            for (int number = 0; number < count; number++) {
                compared += compare(truth) ? 1 : 0;
            }
            assertEquals("the file ends with its last picture", -1, truth.read());
        }
        System.out.println("odd pictures: " + count + " orientations read, " + compared + " pictures compared");
        assertEquals(Collections.emptyList(), different);
        assertTrue("at least 60 pictures: " + compared, compared >= 60);
    }

    /** Whether the stand-in knows the format. */
    private boolean compare(DataInputStream truth) throws IOException {
        byte[] name = new byte[truth.readUnsignedShort()];
        truth.readFully(name);
        int width = truth.readUnsignedShort();
        int height = truth.readUnsignedShort();
        int tolerance = truth.readUnsignedByte();
        int orientation = truth.readUnsignedByte();
        byte[] rgb = new byte[3 * width * height];
        truth.readFully(rgb);

        String title = new String(name, StandardCharsets.UTF_8);
        byte[] file = Files.readAllBytes(folder.resolve(title));
        assertEquals(title, orientation, Exif.orientation(new ByteArrayInputStream(file)));
        Picture seen;
        try {
            seen = new StandInDecoder().decode(file);
        } catch (IOException error) {
            assertEquals(title, StandInDecoder.UNKNOWN, error.getMessage());
            return false;
        }
        assertEquals(title, width, seen.widthPx);
        assertEquals(title, height, seen.heightPx);
        int worst = 0;
        for (int i = 0; i < rgb.length; i++) {
            int level = seen.argb[i / 3] >> 16 - 8 * (i % 3) & 0xff;
            worst = Math.max(worst, Math.abs(level - (rgb[i] & 0xff)));
        }
        if (worst > tolerance) {
            different.add(title + " by " + worst + " levels, allowed " + tolerance);
        }
        return true;
    }

    @Test
    public void aFileThatIsCutOffAnywhereIsUprightOrAsItSays() throws IOException {
        for (String name : new String[] {"turned-6.jpg", "turned-6.png", "turned-6.webp"}) {
            byte[] file = Files.readAllBytes(folder.resolve(name));
            for (int length = 0; length < file.length; length++) {
                int found = Exif.orientation(new ByteArrayInputStream(file, 0, length));
                assertTrue(name + " cut to " + length, found == 1 || found == 6);
            }
        }
    }

    @Test
    public void aStreamThatSkipsNothingIsReadAllTheSame() throws IOException {
        byte[] file = Files.readAllBytes(folder.resolve("behind-the-pixels.png"));
        InputStream slow = new ByteArrayInputStream(file) {
            @Override
            public long skip(long count) {
                return 0;
            }
        };
        assertEquals(8, Exif.orientation(slow));
    }

    @Test(expected = IllegalArgumentException.class)
    public void thereIsNoNinthOrientation() {
        Picture.asSeen(1, 1, new int[1], 9);
    }
}
