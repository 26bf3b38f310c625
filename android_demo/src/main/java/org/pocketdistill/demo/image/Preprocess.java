package org.pocketdistill.demo.image;

import java.nio.FloatBuffer;

/**
 * From a decoded picture to a network's input: the rule of {@code distill.vision.preprocess.Preprocess}, bit for bit.
 *
 * <p>Greyscale conversion comes first, then the centre square if the rule is CROP, then the resize in two passes,
 * rounded to 8 bits in between; then a division by 255. Mean and standard deviation are inside the model.
 * Not safe for use by several threads: buffers are kept from picture to picture, so that a camera stream of one
 * resolution allocates nothing.
 */
public final class Preprocess {
    /** How a picture that is not square becomes one. */
    public enum Resize {
        /** Scale both sides. */
        STRETCH,
        /** Cut the centre square, then scale it. */
        CROP
    }

    /** How values between pixels are found: Pillow's filters of these names, with antialiasing. */
    public enum Interpolation {
        /** A triangle. */
        BILINEAR(1.0),
        /** Cubic convolution with a = -0.5. */
        BICUBIC(2.0);

        /** How many pixels the filter reaches to either side. */
        final double support;

        Interpolation(double support) {
            this.support = support;
        }

        /** The one that the toolkit writes by this name, or null. */
        public static Interpolation named(String name) {
            return name.equals("bilinear") ? BILINEAR : name.equals("bicubic") ? BICUBIC : null;
        }

        /** Weight of a pixel at a distance of 0 or more. */
        double weight(double distance) {
            if (distance >= support) {
                return 0.0;
            }
            if (this == BILINEAR) {
                return 1.0 - distance;
            }
            if (distance < 1.0) {
                return ((-0.5 + 2.0) * distance - (-0.5 + 3.0)) * distance * distance + 1;
            }
            return (((distance - 5) * distance + 8) * distance - 4) * -0.5;
        }
    }

    public final int sizePx;
    public final Resize resize;
    /** What CROP keeps of the centre square, scaling first; null cuts all of it, then scales. */
    public final Double cropShare;
    public final Interpolation interpolation;
    public final int channels;

    private Resampling across;
    private Resampling down;
    private int widthPx;
    private int heightPx;
    private byte[] cut = new byte[0];
    private byte[] between = new byte[0];
    private final byte[] pixels;

    /**
     * @param sizePx the network sees sizePx x sizePx.
     * @param cropShare of CROP, above 0 and at most 1, or null.
     * @param channels 1 = greyscale, 3 = RGB.
     */
    public Preprocess(int sizePx, Resize resize, Double cropShare, Interpolation interpolation, int channels) {
        if (sizePx < 1 || (channels != 1 && channels != 3)) {
            throw new IllegalArgumentException("no rule for " + sizePx + " px and " + channels + " channels");
        }
        if (cropShare != null && (resize != Resize.CROP || !(cropShare > 0 && cropShare <= 1))) {
            throw new IllegalArgumentException("no rule for " + resize + " with a share of " + cropShare);
        }
        this.sizePx = sizePx;
        this.resize = resize;
        this.cropShare = cropShare;
        this.interpolation = interpolation;
        this.channels = channels;
        this.pixels = new byte[channels * sizePx * sizePx];
    }

    /** How many values {@link #toInput} writes. */
    public int inputLength() {
        return channels * sizePx * sizePx;
    }

    /**
     * Writes the input of one picture, channels x size x size values in [0, 1], from position 0 of {@code input} on.
     */
    public void toInput(Picture picture, FloatBuffer input) {
        resize(picture);
        convert(input, 0);
    }

    /** The first step: grey if asked, the centre square if asked, resized; kept until the next picture. */
    public void resize(Picture picture) {
        int left = 0;
        int top = 0;
        int width = picture.widthPx;
        int height = picture.heightPx;
        if (resize == Resize.CROP && cropShare == null) {
            int side = Math.min(width, height);
            left = firstOfSquare(width, height);
            top = firstOfSquare(height, width);
            width = side;
            height = side;
        }
        prepare(width, height);
        for (int channel = 0; channel < channels; channel++) {
            cutChannel(picture, left, top, channel);
            resizePlane(channel * sizePx * sizePx);
        }
    }

    /** The second step: the resized picture as values in [0, 1], from position {@code start} of {@code input} on. */
    public void convert(FloatBuffer input, int start) {
        for (int i = 0; i < pixels.length; i++) {
            input.put(start + i, (pixels[i] & 0xff) / 255f);
        }
    }

    /**
     * Ends of what the network sees of a picture's side, in pixels or parts of them.
     *
     * @param otherSide how long the picture's other side is.
     */
    public double[] seen(int side, int otherSide) {
        if (resize == Resize.STRETCH) {
            return new double[] {0, side};
        }
        if (cropShare == null) {
            int first = firstOfSquare(side, otherSide);
            return new double[] {first, first + Math.min(side, otherSide)};
        }
        long shorter = (long) Math.floor(sizePx / cropShare);
        long scaled = side <= otherSide ? shorter : shorter * side / otherSide;
        long first = (long) Math.rint((scaled - sizePx) / 2.0);
        double from = (double) (first * side) / scaled;
        return new double[] {from, Math.min(side, (double) ((first + sizePx) * side) / scaled)};
    }

    /** Where the centre square begins; of an odd pixel too many the one at the far end is left out. */
    private static int firstOfSquare(int side, int otherSide) {
        return (side - Math.min(side, otherSide)) / 2;
    }

    private void prepare(int width, int height) {
        if (across != null && width == widthPx && height == heightPx) {
            return;
        }
        widthPx = width;
        heightPx = height;
        across = axis(width, height);
        down = axis(height, width);
        cut = new byte[width * height];
        between = new byte[sizePx * (isDownFirst() ? width : height)];
    }

    /** The filter along one side; under a share it takes the centre of the side as if all of that were scaled. */
    private Resampling axis(int side, int otherSide) {
        if (cropShare == null) {
            return new Resampling(side, 0, side, sizePx, interpolation);
        }
        double[] ends = seen(side, otherSide);
        return new Resampling(side, (float) ends[0], (float) ends[1], sizePx, interpolation);
    }

    private void cutChannel(Picture picture, int left, int top, int channel) {
        int shift = 16 - 8 * channel;
        for (int y = 0; y < heightPx; y++) {
            int from = (top + y) * picture.widthPx + left;
            for (int x = 0; x < widthPx; x++) {
                int pixel = picture.argb[from + x];
                cut[y * widthPx + x] = (byte) (channels == 1 ? luminance(pixel) : pixel >> shift);
            }
        }
    }

    /** ITU-R 601 luma in 16-bit fixed point, as Pillow's conversion to "L". */
    private static int luminance(int pixel) {
        int red = pixel >> 16 & 0xff;
        int green = pixel >> 8 & 0xff;
        int blue = pixel & 0xff;
        return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    }

    /**
     * Pillow's order of the passes, from version 13 on: across, then down, unless the height loses more than twice the
     * pixels that the width loses. The rounding in between makes a difference of one level here and there.
     */
    private boolean isDownFirst() {
        return heightPx > sizePx && heightPx - sizePx > 2 * (widthPx - sizePx);
    }

    private void resizePlane(int start) {
        if (isDownFirst()) {
            for (int x = 0; x < widthPx; x++) {
                down.resize(cut, x, widthPx, between, x, widthPx);
            }
            for (int y = 0; y < sizePx; y++) {
                across.resize(between, y * widthPx, 1, pixels, start + y * sizePx, 1);
            }
            return;
        }
        for (int y = 0; y < heightPx; y++) {
            across.resize(cut, y * widthPx, 1, between, y * sizePx, 1);
        }
        for (int x = 0; x < sizePx; x++) {
            down.resize(between, x, sizePx, pixels, start + x, sizePx);
        }
    }
}
