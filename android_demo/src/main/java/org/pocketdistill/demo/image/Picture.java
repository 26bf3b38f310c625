package org.pocketdistill.demo.image;

/**
 * A decoded picture: one {@code 0xAARRGGBB} number per pixel, row by row. Alpha is ignored from here on.
 *
 * <p>The pixels are the caller's and are not copied.
 */
public final class Picture {
    public final int widthPx;
    public final int heightPx;
    final int[] argb;

    /** Throws {@link IllegalArgumentException} if there are not width x height pixels. */
    public Picture(int widthPx, int heightPx, int[] argb) {
        if (widthPx < 1 || heightPx < 1 || argb.length != widthPx * heightPx) {
            throw new IllegalArgumentException(
                    argb.length + " pixels cannot be " + widthPx + " x " + heightPx);
        }
        this.widthPx = widthPx;
        this.heightPx = heightPx;
        this.argb = argb;
    }

    /**
     * A picture as a viewer shows it, which is what {@code distill.vision.pictures} makes of its file: transparent
     * pixels on white, then turned upright.
     *
     * @param argb as decoded, colours not multiplied with alpha; overwritten.
     * @param orientation as EXIF numbers them, 1 to 8.
     */
    public static Picture asSeen(int widthPx, int heightPx, int[] argb, int orientation) {
        Picture stored = new Picture(widthPx, heightPx, argb);
        for (int i = 0; i < argb.length; i++) {
            argb[i] = onWhite(argb[i]);
        }
        return orientation == Exif.UPRIGHT ? stored : stored.upright(orientation);
    }

    /** This picture, or every second, third, … pixel of it, so that no side is longer than that. */
    public Picture thinned(int mostPx) {
        int step = (Math.max(widthPx, heightPx) + mostPx - 1) / mostPx;
        if (step == 1) {
            return this;
        }
        int width = Math.max(1, widthPx / step);
        int height = Math.max(1, heightPx / step);
        int[] kept = new int[width * height];
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                int across = Math.min(widthPx - 1, x * step + step / 2);
                kept[y * width + x] = argb[Math.min(heightPx - 1, y * step + step / 2) * widthPx + across];
            }
        }
        return new Picture(width, height, kept);
    }

    /** One {@code 0xAARRGGBB} number per pixel, row by row; not a copy. */
    public int[] pixels() {
        return argb;
    }

    private static int onWhite(int pixel) {
        int alpha = pixel >>> 24;
        if (alpha == 255) {
            return pixel;
        }
        int red = mix(pixel >> 16 & 0xff, alpha);
        int green = mix(pixel >> 8 & 0xff, alpha);
        int blue = mix(pixel & 0xff, alpha);
        return 0xff000000 | red << 16 | green << 8 | blue;
    }

    /** Rounded to the nearest level, in Pillow's way of dividing by 255. */
    private static int mix(int level, int alpha) {
        int sum = 255 * (255 - alpha) + level * alpha + 128;
        return (sum >> 8) + sum >> 8;
    }

    private Picture upright(int orientation) {
        boolean isOnItsSide = orientation >= 5;
        int width = isOnItsSide ? heightPx : widthPx;
        int[] turned = new int[argb.length];
        for (int y = 0; y < heightPx; y++) {
            for (int x = 0; x < widthPx; x++) {
                turned[target(x, y, width, orientation)] = argb[y * widthPx + x];
            }
        }
        return new Picture(width, isOnItsSide ? widthPx : heightPx, turned);
    }

    /** Where a stored pixel goes in an upright picture of that width. */
    private int target(int x, int y, int uprightWidth, int orientation) {
        int fromRight = widthPx - 1 - x;
        int fromBottom = heightPx - 1 - y;
        switch (orientation) {
            case 2:
                return y * uprightWidth + fromRight;
            case 3:
                return fromBottom * uprightWidth + fromRight;
            case 4:
                return fromBottom * uprightWidth + x;
            case 5:
                return x * uprightWidth + y;
            case 6:
                return x * uprightWidth + fromBottom;
            case 7:
                return fromRight * uprightWidth + fromBottom;
            case 8:
                return fromRight * uprightWidth + y;
            default:
                throw new IllegalArgumentException("no orientation " + orientation);
        }
    }
}
