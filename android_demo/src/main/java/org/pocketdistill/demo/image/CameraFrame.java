package org.pocketdistill.demo.image;

import java.nio.ByteBuffer;

/**
 * Turns camera frames (YUV 4:2:0, full range, ITU-R 601, as Android's YUV_420_888 is defined) into upright pictures.
 *
 * <p>Not safe for use by several threads; the picture's memory is reused by the next frame.
 */
public final class CameraFrame {
    private int[] argb = new int[0];

    /**
     * @param luma plane of width x height values.
     * @param blue Cb plane, halved in both directions; {@code red} is Cr, with the same strides.
     * @param chromaStride bytes from one chroma value to the next in a row.
     * @param quarterTurns how often the frame must be turned clockwise by 90 degrees to stand upright.
     */
    public Picture upright(
            int widthPx, int heightPx, ByteBuffer luma, int lumaRowStride, ByteBuffer blue, ByteBuffer red,
            int chromaRowStride, int chromaStride, int quarterTurns) {
        int turns = quarterTurns & 3;
        int uprightWidth = turns % 2 == 0 ? widthPx : heightPx;
        int uprightHeight = turns % 2 == 0 ? heightPx : widthPx;
        if (argb.length != widthPx * heightPx) {
            argb = new int[widthPx * heightPx];
        }
        for (int y = 0; y < heightPx; y++) {
            for (int x = 0; x < widthPx; x++) {
                int chroma = (y / 2) * chromaRowStride + (x / 2) * chromaStride;
                int colour = toRgb(
                        luma.get(y * lumaRowStride + x) & 0xff, blue.get(chroma) & 0xff, red.get(chroma) & 0xff);
                argb[target(x, y, widthPx, heightPx, turns)] = colour;
            }
        }
        return new Picture(uprightWidth, uprightHeight, argb);
    }

    private static int target(int x, int y, int widthPx, int heightPx, int turns) {
        switch (turns) {
            case 0:
                return y * widthPx + x;
            case 1:
                return x * heightPx + heightPx - 1 - y;
            case 2:
                return (heightPx - 1 - y) * widthPx + widthPx - 1 - x;
            default:
                return (widthPx - 1 - x) * heightPx + y;
        }
    }

    /** JFIF's conversion in 16-bit fixed point. */
    private static int toRgb(int luma, int blueDifference, int redDifference) {
        int cb = blueDifference - 128;
        int cr = redDifference - 128;
        int base = (luma << 16) + 0x8000;
        int red = clip((base + 91881 * cr) >> 16);
        int green = clip((base - 22554 * cb - 46802 * cr) >> 16);
        int blue = clip((base + 116130 * cb) >> 16);
        return 0xff000000 | red << 16 | green << 8 | blue;
    }

    private static int clip(int value) {
        return Math.max(0, Math.min(255, value));
    }
}
