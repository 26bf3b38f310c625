package org.pocketdistill.demo.task;

import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.image.Preprocess;

/** The colours of an answer, to be laid over the picture it was given for, as {@code distill.vision.painting.over}. */
public final class Painting {
    private static final int WHOLE = 20;

    private final int sizePx;
    private final Preprocess.Resize resize;
    /** {@code 0xffRRGGBB} of each pixel that the network saw, row by row. */
    private final int[] cells;
    private final int twentieths;

    Painting(int sizePx, Preprocess.Resize resize, int[] cells, int twentieths) {
        this.sizePx = sizePx;
        this.resize = resize;
        this.cells = cells;
        this.twentieths = twentieths;
    }

    /**
     * A new picture: what of it the network saw is painted, each pixel with the colour of the nearest cell; what it did
     * not see is as it was.
     */
    public Picture over(Picture picture) {
        int width = picture.widthPx;
        int height = picture.heightPx;
        boolean isCut = resize == Preprocess.Resize.CROP;
        int across = isCut ? Math.min(width, height) : width;
        int down = isCut ? Math.min(width, height) : height;
        int left = (width - across) / 2;
        int top = (height - down) / 2;
        int[] columns = nearest(across);
        int[] rows = nearest(down);
        int[] painted = picture.pixels().clone();
        for (int y = 0; y < down; y++) {
            int start = (top + y) * width + left;
            for (int x = 0; x < across; x++) {
                painted[start + x] = mixed(painted[start + x], cells[rows[y] * sizePx + columns[x]]);
            }
        }
        return new Picture(width, height, painted);
    }

    /** The cell that is nearest to each of so many pixels along one side. */
    private int[] nearest(int pixels) {
        int[] cell = new int[pixels];
        for (int i = 0; i < pixels; i++) {
            cell[i] = (int) ((2L * i + 1) * sizePx / (2L * pixels));
        }
        return cell;
    }

    private int mixed(int pixel, int colour) {
        int red = mixed(pixel >> 16 & 0xff, colour >> 16 & 0xff, twentieths);
        int green = mixed(pixel >> 8 & 0xff, colour >> 8 & 0xff, twentieths);
        int blue = mixed(pixel & 0xff, colour & 0xff, twentieths);
        return 0xff000000 | red << 16 | green << 8 | blue;
    }

    private static int mixed(int level, int colour, int twentieths) {
        return ((WHOLE - twentieths) * level + twentieths * colour) / WHOLE;
    }
}
