package org.pocketdistill.demo.image;

/**
 * A decoded picture: one {@code 0xAARRGGBB} number per pixel, row by row. Alpha is ignored, as the toolkit ignores it.
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
}
