package org.pocketdistill.demo.task;

import java.util.Collections;
import java.util.List;

/** What is shown of one picture; of its parts a task gives those that it has. */
public final class Answer {
    /** A class and its share: of the probability, or of the area; in [0, 1]. */
    public static final class Row {
        public final String name;
        public final double share;
        /** {@code 0xffRRGGBB} that its pixels are painted with; 0 if none are. */
        public final int colour;

        Row(String name, double share, int colour) {
            this.name = name;
            this.share = share;
            this.colour = colour;
        }
    }

    /** Likeliest first; empty where the task is another. */
    public final List<Row> likeliest;
    /** Null where pixels have no classes. */
    public final Areas areas;
    /** Null where pixels have no depth. */
    public final DepthScale scale;
    /** Null where pixels have no answer. */
    public final Painting painting;

    private Answer(List<Row> likeliest, Areas areas, DepthScale scale, Painting painting) {
        this.likeliest = Collections.unmodifiableList(likeliest);
        this.areas = areas;
        this.scale = scale;
        this.painting = painting;
    }

    static Answer ofPicture(List<Row> likeliest) {
        return new Answer(likeliest, null, null, null);
    }

    static Answer ofMask(Areas areas, Painting painting) {
        return new Answer(Collections.<Row>emptyList(), areas, null, painting);
    }

    static Answer ofDepth(DepthScale scale, Painting painting) {
        return new Answer(Collections.<Row>emptyList(), null, scale, painting);
    }
}
