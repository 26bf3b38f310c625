package org.pocketdistill.demo.task;

import org.pocketdistill.demo.image.Picture;

/**
 * Colours of depths from 0 m to a round figure beyond the farthest of a picture, as {@code distill.vision.painting} has
 * them.
 */
public final class DepthScale {
    /** Of a pixel whose depth is not known. */
    private static final int UNKNOWN = 0xff969696;
    private static final double[] ENDS_M = {
            0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000
    };

    /** What the picture has, at least 0; NaN if no depth of it is known. */
    public final double nearestM;
    public final double farthestM;
    /** Where the scale ends. */
    public final double endM;
    private final int[] colours;

    private DepthScale(double nearestM, double farthestM, int[] colours) {
        this.nearestM = nearestM;
        this.farthestM = farthestM;
        this.colours = colours;
        double end = ENDS_M[ENDS_M.length - 1];
        for (int i = ENDS_M.length - 1; i >= 0; i--) {
            end = farthestM > ENDS_M[i] ? end : ENDS_M[i];
        }
        endM = end;
    }

    /** For these metres; values that are not finite count for nothing. {@code colours} begin with the nearest. */
    static DepthScale of(float[] metres, int[] colours) {
        double nearest = Double.NaN;
        double farthest = Double.NaN;
        for (float value : metres) {
            if (isKnown(value)) {
                double inFront = Math.max(0, value);
                nearest = nearest <= inFront ? nearest : inFront;
                farthest = farthest >= inFront ? farthest : inFront;
            }
        }
        return new DepthScale(nearest, farthest, colours);
    }

    /** {@code 0xffRRGGBB} of a depth. */
    int colour(float metres) {
        if (!isKnown(metres)) {
            return UNKNOWN;
        }
        double share = Math.max(0.0, (double) metres) / endM;
        return colours[(int) Math.min(colours.length - 1, share * colours.length)];
    }

    /** All colours in a row, the nearest first. */
    public Picture bar() {
        return new Picture(colours.length, 1, colours.clone());
    }

    private static boolean isKnown(float metres) {
        return !Float.isNaN(metres) && !Float.isInfinite(metres);
    }
}
