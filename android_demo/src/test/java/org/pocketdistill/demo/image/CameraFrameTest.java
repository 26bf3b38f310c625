package org.pocketdistill.demo.image;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;

import java.nio.ByteBuffer;

import org.junit.Test;

public final class CameraFrameTest {
    /** A grey frame of 4 x 2 with a row stride of 5. */
    private static Picture grey(int quarterTurns) {
        byte[] luma = {10, 20, 30, 40, 99, 50, 60, 70, 80, 99};
        byte[] chroma = {(byte) 128, 0, (byte) 128, 0};
        return new CameraFrame().upright(
                4, 2, ByteBuffer.wrap(luma), 5, ByteBuffer.wrap(chroma), ByteBuffer.wrap(chroma), 4, 2, quarterTurns);
    }

    private static int[] levels(Picture picture) {
        int[] levels = new int[picture.argb.length];
        for (int i = 0; i < levels.length; i++) {
            levels[i] = picture.argb[i] & 0xff;
            assertEquals(0xff000000 | levels[i] * 0x010101, picture.argb[i]);
        }
        return levels;
    }

    @Test
    public void framesAreTurnedClockwise() {
        assertArrayEquals(new int[] {10, 20, 30, 40, 50, 60, 70, 80}, levels(grey(0)));
        assertArrayEquals(new int[] {50, 10, 60, 20, 70, 30, 80, 40}, levels(grey(1)));
        assertArrayEquals(new int[] {80, 70, 60, 50, 40, 30, 20, 10}, levels(grey(2)));
        assertArrayEquals(new int[] {40, 80, 30, 70, 20, 60, 10, 50}, levels(grey(3)));
        assertArrayEquals(levels(grey(3)), levels(grey(-1)));
        assertEquals(2, grey(1).widthPx);
        assertEquals(4, grey(1).heightPx);
    }

    @Test
    public void coloursAreJfifs() {
        int[][] cases = { // Y, Cb, Cr, then red, green, blue as libjpeg gives them
            {76, 85, 255, 254, 0, 0}, {150, 44, 21, 0, 255, 1}, {29, 255, 107, 0, 0, 254}, {255, 128, 128, 255, 255, 255},
            {0, 128, 128, 0, 0, 0},
        };
        for (int[] colour : cases) {
            Picture picture = new CameraFrame().upright(
                    1, 1, one(colour[0]), 1, one(colour[1]), one(colour[2]), 1, 1, 0);
            assertEquals(0xff000000 | colour[3] << 16 | colour[4] << 8 | colour[5], picture.argb[0]);
        }
    }

    private static ByteBuffer one(int value) {
        return ByteBuffer.wrap(new byte[] {(byte) value});
    }
}
