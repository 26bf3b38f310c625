package org.pocketdistill.demo.image;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;

import org.junit.Test;

/** Golden vectors made by the toolkit's own Preprocess; the system property golden.images names their file. */
public final class PreprocessTest {
    /** How many pictures there were of each orientation under each rule. */
    private final Map<String, Integer> seen = new TreeMap<>();

    @Test
    public void everyPixelEqualsPythons() throws IOException {
        int worst = 0;
        int count;
        String path = System.getProperty("golden.images");
        try (DataInputStream file = new DataInputStream(new BufferedInputStream(new FileInputStream(path)))) {
            count = file.readInt();
            for (int number = 0; number < count; number++) {
                worst = Math.max(worst, worstDifference(file));
            }
            assertEquals("the file ends with its last picture", -1, file.read());
        }
        System.out.println("golden images: " + count + " pictures " + seen + ", largest difference of a pixel " + worst);
        assertTrue("at least 200 pictures", count >= 200);
        assertEquals("every orientation under every rule, in colour and grey: " + seen, 24, seen.size());
        assertTrue("several of each: " + seen, Collections.min(seen.values()) >= 10);
        assertEquals(0, worst);
    }

    private int worstDifference(DataInputStream file) throws IOException {
        int width = file.readUnsignedShort();
        int height = file.readUnsignedShort();
        int size = file.readUnsignedShort();
        Preprocess.Resize resize = file.readUnsignedByte() == 1 ? Preprocess.Resize.CROP : Preprocess.Resize.STRETCH;
        double share = file.readDouble();
        Double cropShare = Double.isNaN(share) ? null : share;
        Preprocess.Interpolation interpolation = Preprocess.Interpolation.values()[file.readUnsignedByte()];
        int channels = file.readUnsignedByte();
        if (width != height) {
            String rule = resize + (cropShare == null ? " " : " share ") + interpolation;
            seen.merge((width > height ? "landscape " : "portrait ") + rule + " " + channels, 1, Integer::sum);
        }
        byte[] rgb = new byte[3 * width * height];
        byte[] expected = new byte[channels * size * size];
        file.readFully(rgb);
        file.readFully(expected);
        FloatBuffer input = FloatBuffer.allocate(expected.length);
        new Preprocess(size, resize, cropShare, interpolation, channels).toInput(new Picture(width, height, argb(rgb)), input);
        int worst = 0;
        for (int i = 0; i < expected.length; i++) {
            float found = input.get(i % channels * size * size + i / channels);
            assertEquals("the division by 255 is a float32 one", Math.round(found * 255f) / 255f, found, 0f);
            worst = Math.max(worst, Math.abs(Math.round(found * 255f) - (expected[i] & 0xff)));
        }
        return worst;
    }

    /** Alpha varies from pixel to pixel and must not matter. */
    private static int[] argb(byte[] rgb) {
        int[] pixels = new int[rgb.length / 3];
        for (int i = 0; i < pixels.length; i++) {
            int red = rgb[3 * i] & 0xff;
            int green = rgb[3 * i + 1] & 0xff;
            int blue = rgb[3 * i + 2] & 0xff;
            pixels[i] = (i & 0xff) << 24 | red << 16 | green << 8 | blue;
        }
        return pixels;
    }

    @Test
    public void buffersKeptFromOnePictureDoNotLeakIntoTheNext() {
        Preprocess reused =
                new Preprocess(8, Preprocess.Resize.STRETCH, null, Preprocess.Interpolation.BILINEAR, 1);
        FloatBuffer first = FloatBuffer.allocate(64);
        FloatBuffer again = FloatBuffer.allocate(64);
        Picture grey = filled(9, 5, 0xff646464);
        reused.toInput(grey, first);
        reused.toInput(filled(31, 17, 0xffffffff), again);
        reused.toInput(grey, again);
        assertEquals(first, again);
        assertEquals(100 / 255f, first.get(63), 0f);
    }

    private static Picture filled(int width, int height, int colour) {
        int[] pixels = new int[width * height];
        Arrays.fill(pixels, colour);
        return new Picture(width, height, pixels);
    }

    @Test(expected = IllegalArgumentException.class)
    public void whatIsStretchedHasNoShare() {
        new Preprocess(8, Preprocess.Resize.STRETCH, 0.9, Preprocess.Interpolation.BICUBIC, 1);
    }

    @Test(expected = IllegalArgumentException.class)
    public void pixelsMustFillThePicture() {
        new Picture(3, 3, new int[8]);
    }
}
