package org.pocketdistill.demo.task;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

import org.junit.Test;
import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.image.Preprocess;
import org.pocketdistill.demo.json.JsonException;

/** Answers for every pixel, painted by the toolkit; the system property golden.answers names their file. */
public final class GoldenAnswersTest {
    private static final Preprocess.Interpolation BILINEAR = Preprocess.Interpolation.BILINEAR;

    private final Map<String, Integer> seen = new TreeMap<>();
    private int differentPixels;

    @Test
    public void everyPaintedPixelEqualsPythons() throws IOException, JsonException {
        int count;
        try (DataInputStream file = new DataInputStream(
                new BufferedInputStream(new FileInputStream(System.getProperty("golden.answers"))))) {
            count = file.readInt();
            for (int number = 0; number < count; number++) {
                compare(file);
            }
            assertEquals("the file ends with its last case", -1, file.read());
        }
        System.out.println("golden answers: " + count + " pictures " + seen + ", different pixels " + differentPixels);
        assertEquals("both tasks under every rule: " + seen, 6, seen.size());
        assertEquals(0, differentPixels);
    }

    private void compare(DataInputStream file) throws IOException, JsonException {
        Task task = Task.named(file.readUnsignedByte() == 1 ? "segmentation" : "depth");
        int width = file.readUnsignedShort();
        int height = file.readUnsignedShort();
        int size = file.readUnsignedShort();
        Preprocess.Resize resize = file.readUnsignedByte() == 1 ? Preprocess.Resize.CROP : Preprocess.Resize.STRETCH;
        double share = file.readDouble();
        Double cropShare = Double.isNaN(share) ? null : share;
        int outputs = file.readUnsignedShort();
        int[] colours = pixels(file, file.readUnsignedShort());
        int[] picture = pixels(file, width * height);
        int[] before = picture.clone();
        float[] output = new float[outputs * size * size];
        for (int i = 0; i < output.length; i++) {
            output[i] = file.readFloat();
        }
        seen.merge(task.name + " " + resize + (cropShare == null ? "" : " share"), 1, Integer::sum);
        List<String> names = new ArrayList<>();
        for (int label = 0; label < outputs; label++) {
            names.add("class " + label);
        }
        Preprocess preprocess = new Preprocess(size, resize, cropShare, BILINEAR, 3);
        Answer answer = task.reader(preprocess, names, colours).read(output);
        if (answer.scale == null) {
            compareAreas(file, outputs, size * size, answer.areas);
        } else {
            assertEquals(file.readDouble(), answer.scale.endM, 0);
        }
        int[] expected = pixels(file, width * height);
        int[] painted = answer.painting.over(new Picture(width, height, picture)).pixels();
        for (int i = 0; i < expected.length; i++) {
            differentPixels += painted[i] == expected[i] ? 0 : 1;
        }
        assertArrayEquals("the picture itself is not painted on", before, picture);
    }

    private static void compareAreas(DataInputStream file, int classes, int pixels, Areas areas) throws IOException {
        long[] counts = new long[classes];
        for (int label = 0; label < classes; label++) {
            counts[label] = file.readInt();
        }
        assertEquals(Math.min(classes, Areas.MOST_ROWS), areas.rows.size());
        long shown = 0;
        for (Answer.Row row : areas.rows) {
            long count = counts[Integer.parseInt(row.name.substring("class ".length()))];
            assertEquals((double) count / pixels, row.share, 0);
            shown += count;
        }
        assertEquals(classes - areas.rows.size(), areas.otherClasses);
        assertEquals((double) (pixels - shown) / pixels, areas.otherShare, 0);
    }

    private static int[] pixels(DataInputStream file, int count) throws IOException {
        byte[] rgb = new byte[3 * count];
        file.readFully(rgb);
        int[] pixels = new int[count];
        for (int i = 0; i < count; i++) {
            int red = rgb[3 * i] & 0xff;
            int green = rgb[3 * i + 1] & 0xff;
            int blue = rgb[3 * i + 2] & 0xff;
            pixels[i] = 0xff000000 | red << 16 | green << 8 | blue;
        }
        return pixels;
    }

    @Test
    public void theLargestAreasAreShownInTheOrderOfTheClasses() {
        List<String> names = new ArrayList<>();
        for (int label = 0; label < 10; label++) {
            names.add("class " + label);
        }
        Areas areas = new Areas(names, new int[10], new long[] {5, 1, 5, 5, 5, 5, 5, 5, 1, 13});
        StringBuilder shown = new StringBuilder();
        for (Answer.Row row : areas.rows) {
            shown.append(row.name.substring("class ".length()));
        }
        assertEquals("02345679", shown.toString());
        assertEquals(0.26, areas.rows.get(7).share, 0);
        assertEquals(2, areas.otherClasses);
        assertEquals(0.04, areas.otherShare, 0);
    }

    @Test
    public void aDepthMapSaysWhatItsPictureHas() {
        DepthScale scale = DepthScale.of(new float[] {Float.NaN, 2.5f, -1f, 4.5f}, new int[] {1, 2});
        assertEquals(0, scale.nearestM, 0);
        assertEquals(4.5, scale.farthestM, 0);
        assertEquals(5, scale.endM, 0);
        assertTrue(Double.isNaN(DepthScale.of(new float[] {Float.NaN}, new int[] {1, 2}).farthestM));
    }

    @Test
    public void aClassifierPaintsNothing() throws JsonException {
        List<String> names = new ArrayList<>();
        names.add("a");
        names.add("b");
        Task task = Task.named("classification");
        Answer answer = task.reader(new Preprocess(8, Preprocess.Resize.CROP, null, BILINEAR, 1), names, new int[0])
                .read(new float[] {0f, 3f});
        assertEquals("b", answer.likeliest.get(0).name);
        assertEquals(2, answer.likeliest.size());
        assertTrue(answer.painting == null && answer.areas == null && answer.scale == null);
    }

    @Test
    public void aBundleWithoutColoursSaysWhatToDo() {
        for (String name : new String[] {"segmentation", "depth"}) {
            try {
                Task.named(name).requireColours(3, new int[0]);
                throw new AssertionError(name);
            } catch (JsonException error) {
                assertTrue(error.getMessage(), error.getMessage().contains("make it again with python -m export bundle"));
            }
        }
    }

    @Test
    public void aLargePictureIsThinnedAndASmallOneIsNot() {
        int[] pixels = new int[7 * 5];
        for (int i = 0; i < pixels.length; i++) {
            pixels[i] = i;
        }
        Picture picture = new Picture(7, 5, pixels);
        assertTrue(picture.thinned(7) == picture);
        Picture thin = picture.thinned(4);
        assertEquals(3, thin.widthPx);
        assertEquals(2, thin.heightPx);
        assertArrayEquals(new int[] {8, 10, 12, 22, 24, 26}, thin.pixels());
        assertEquals(1, new Picture(1, 35, pixels).thinned(10).widthPx);
    }
}
