package org.pocketdistill.demo.task;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * How much of the picture each class has. Of many classes those with the largest areas have a row, the others one sum.
 */
public final class Areas {
    /** Rows there are at most. */
    public static final int MOST_ROWS = 8;

    /** In the order of the model's classes, so that they stay in their places from picture to picture. */
    public final List<Answer.Row> rows;
    /** Classes without a row. */
    public final int otherClasses;
    /** Their area, in [0, 1]. */
    public final double otherShare;

    /** {@code pixels} has the pixels of each class. */
    Areas(List<String> names, int[] colours, long[] pixels) {
        long total = 0;
        for (long count : pixels) {
            total += count;
        }
        List<Answer.Row> shown = new ArrayList<>();
        long unshown = total;
        for (int label = 0; label < pixels.length; label++) {
            if (larger(pixels, label) < MOST_ROWS) {
                shown.add(new Answer.Row(names.get(label), (double) pixels[label] / total, colours[label]));
                unshown -= pixels[label];
            }
        }
        rows = Collections.unmodifiableList(shown);
        otherClasses = pixels.length - shown.size();
        otherShare = (double) unshown / total;
    }

    /** How many classes come before this one by area; ties go to the lower index. */
    private static int larger(long[] pixels, int label) {
        int larger = 0;
        for (int other = 0; other < pixels.length; other++) {
            larger += pixels[other] > pixels[label] || pixels[other] == pixels[label] && other < label ? 1 : 0;
        }
        return larger;
    }
}
