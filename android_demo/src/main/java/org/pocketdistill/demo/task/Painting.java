package org.pocketdistill.demo.task;

import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.image.Preprocess;

/** The colours of an answer, to be laid over the picture it was given for, as {@code distill.vision.painting.over}. */
public final class Painting {
    private static final int WHOLE = 20;

    private static final int UNSEEN = -1;

    private final Preprocess preprocess;
    /** {@code 0xffRRGGBB} of each pixel that the network saw, row by row. */
    private final int[] cells;
    private final int twentieths;

    Painting(Preprocess preprocess, int[] cells, int twentieths) {
        this.preprocess = preprocess;
        this.cells = cells;
        this.twentieths = twentieths;
    }

    /**
     * A new picture: what of it the network saw is painted, each pixel with the colour of the cell that its middle lies
     * in; what it did not see is as it was.
     */
    public Picture over(Picture picture) {
        int width = picture.widthPx;
        int height = picture.heightPx;
        int[] columns = cells(width, height);
        int[] rows = cells(height, width);
        int[] painted = picture.pixels().clone();
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                if (rows[y] != UNSEEN && columns[x] != UNSEEN) {
                    int colour = cells[rows[y] * preprocess.sizePx + columns[x]];
                    painted[y * width + x] = mixed(painted[y * width + x], colour);
                }
            }
        }
        return new Picture(width, height, painted);
    }

    /** Of each pixel along one side the cell that its middle lies in. */
    private int[] cells(int side, int otherSide) {
        double[] seen = preprocess.seen(side, otherSide);
        int[] cell = new int[side];
        for (int i = 0; i < side; i++) {
            double middle = i + 0.5;
            boolean isSeen = middle >= seen[0] && middle < seen[1];
            cell[i] = isSeen ? (int) ((middle - seen[0]) * preprocess.sizePx / (seen[1] - seen[0])) : UNSEEN;
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
