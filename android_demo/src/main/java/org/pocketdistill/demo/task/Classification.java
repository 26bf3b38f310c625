package org.pocketdistill.demo.task;

import java.util.ArrayList;
import java.util.List;

import org.pocketdistill.demo.image.Preprocess;

/** One class for the whole picture. */
final class Classification extends Task {
    private static final int SHOWN_CLASSES = 3;

    Classification() {
        super("classification", Measure.ACCURACY, "NC");
    }

    @Override
    int leastColours(int classCount) {
        return 0;
    }

    @Override
    Reader reader(final List<String> classNames, int[] colours, Preprocess preprocess) {
        return new Reader() {
            @Override
            public Answer read(float[] output) {
                TopClasses top = TopClasses.of(output, SHOWN_CLASSES);
                List<Answer.Row> rows = new ArrayList<>();
                for (int rank = 0; rank < top.classes.length; rank++) {
                    rows.add(new Answer.Row(classNames.get(top.classes[rank]), top.shares[rank], 0));
                }
                return Answer.ofPicture(rows);
            }
        };
    }
}
