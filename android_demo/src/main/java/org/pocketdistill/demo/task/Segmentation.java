package org.pocketdistill.demo.task;

import java.util.List;

import org.pocketdistill.demo.image.Preprocess;

/** A class for every pixel. */
final class Segmentation extends Task {
    /** How much of a painted pixel is the colour: the picture shows through. */
    private static final int TWENTIETHS = 11;

    Segmentation() {
        super("segmentation", Measure.MIOU, "NCHW");
    }

    @Override
    int leastColours(int classCount) {
        return classCount;
    }

    @Override
    Reader reader(final List<String> classNames, final int[] colours, final Preprocess preprocess) {
        return new Reader() {
            @Override
            public Answer read(float[] output) {
                int[] cells = new int[preprocess.sizePx * preprocess.sizePx];
                long[] pixels = new long[classNames.size()];
                for (int i = 0; i < cells.length; i++) {
                    int label = likeliest(output, i, cells.length);
                    pixels[label]++;
                    cells[i] = colours[label];
                }
                return Answer.ofMask(
                        new Areas(classNames, colours, pixels), new Painting(preprocess, cells, TWENTIETHS));
            }
        };
    }

    /** Class of a pixel: of the largest of its logits, which lie {@code step} apart; ties go to the lower index. */
    private static int likeliest(float[] logits, int pixel, int step) {
        int best = 0;
        for (int label = 1; label * step < logits.length; label++) {
            if (logits[label * step + pixel] > logits[best * step + pixel]) {
                best = label;
            }
        }
        return best;
    }
}
