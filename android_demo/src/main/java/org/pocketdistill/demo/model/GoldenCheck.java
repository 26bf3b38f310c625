package org.pocketdistill.demo.model;

/** Whether a model computes here what it computed where it was exported. A fast wrong model must not look good. */
public final class GoldenCheck {
    private GoldenCheck() {
    }

    /**
     * Largest difference of a logit, as a share of the largest golden logit (of 1 if that is smaller).
     *
     * @return a share of at least 0; infinity for another number of logits or one that is not finite.
     */
    public static double difference(float[] found, float[] golden) {
        if (found.length != golden.length) {
            return Double.POSITIVE_INFINITY;
        }
        double scale = 1;
        double worst = 0;
        for (int i = 0; i < golden.length; i++) {
            double distance = Math.abs((double) found[i] - golden[i]);
            worst = Double.isNaN(distance) ? Double.POSITIVE_INFINITY : Math.max(worst, distance);
            scale = Math.max(scale, Math.abs(golden[i]));
        }
        return worst / scale;
    }

    /** How large a difference may be: integer kernels round differently from one processor to the next. */
    public static double allowed(String precision) {
        return precision.equals("fp32") ? 1e-3 : 5e-2;
    }
}
