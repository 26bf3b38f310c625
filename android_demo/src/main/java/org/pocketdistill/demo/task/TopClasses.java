package org.pocketdistill.demo.task;

/** The likeliest classes of one output, likeliest first. */
public final class TopClasses {
    /** Indices into the manifest's class names. */
    public final int[] classes;
    /** Softmax share of each, in [0, 1]. */
    public final float[] shares;

    private TopClasses(int[] classes, float[] shares) {
        this.classes = classes;
        this.shares = shares;
    }

    /** The {@code count} likeliest, fewer if there are fewer logits; ties go to the lower index. */
    public static TopClasses of(float[] logits, int count) {
        int[] classes = new int[Math.min(count, logits.length)];
        float[] shares = new float[classes.length];
        boolean[] taken = new boolean[logits.length];
        double largest = Double.NEGATIVE_INFINITY;
        for (float logit : logits) {
            largest = Math.max(largest, logit);
        }
        double sum = 0;
        for (float logit : logits) {
            sum += Math.exp(logit - largest);
        }
        for (int rank = 0; rank < classes.length; rank++) {
            int best = firstLargest(logits, taken);
            taken[best] = true;
            classes[rank] = best;
            shares[rank] = (float) (Math.exp(logits[best] - largest) / sum);
        }
        return new TopClasses(classes, shares);
    }

    private static int firstLargest(float[] logits, boolean[] taken) {
        int best = -1;
        for (int i = 0; i < logits.length; i++) {
            if (!taken[i] && (best < 0 || logits[i] > logits[best])) {
                best = i;
            }
        }
        return best;
    }
}
