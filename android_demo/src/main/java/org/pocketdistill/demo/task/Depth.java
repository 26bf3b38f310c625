package org.pocketdistill.demo.task;

import java.util.List;

import org.pocketdistill.demo.image.Preprocess;

/** Metres for every pixel. */
final class Depth extends Task {
    /** How much of a painted pixel is the colour: all, for with the picture in it it would stand for other metres. */
    private static final int TWENTIETHS = 20;
    private static final int LEAST_COLOURS = 2;

    Depth() {
        super("depth", Measure.RMSE_M, "NCHW");
    }

    @Override
    int leastColours(int classCount) {
        return LEAST_COLOURS;
    }

    @Override
    Reader reader(List<String> classNames, final int[] colours, final Preprocess preprocess) {
        return new Reader() {
            @Override
            public Answer read(float[] output) {
                DepthScale scale = DepthScale.of(output, colours);
                int[] cells = new int[preprocess.sizePx * preprocess.sizePx];
                for (int i = 0; i < cells.length; i++) {
                    cells[i] = scale.colour(output[i]);
                }
                return Answer.ofDepth(scale, new Painting(preprocess, cells, TWENTIETHS));
            }
        };
    }
}
