package org.pocketdistill.demo.model;

/** Which of several models are worth having: no other is both at least as fast and at least as accurate. */
public final class ParetoFront {
    private ParetoFront() {
    }

    /**
     * @param medianMs latency of each model, NaN if unknown.
     * @param accuracy share of correct predictions of each, NaN if unknown.
     * @return per model whether it is on the front; never for one with an unknown figure.
     */
    public static boolean[] members(double[] medianMs, double[] accuracy) {
        boolean[] members = new boolean[medianMs.length];
        for (int i = 0; i < members.length; i++) {
            members[i] = !Double.isNaN(medianMs[i]) && !Double.isNaN(accuracy[i]);
            for (int j = 0; members[i] && j < members.length; j++) {
                members[i] = !isBetter(medianMs[j], accuracy[j], medianMs[i], accuracy[i]);
            }
        }
        return members;
    }

    private static boolean isBetter(double msA, double accuracyA, double msB, double accuracyB) {
        return msA <= msB && accuracyA >= accuracyB && (msA < msB || accuracyA > accuracyB);
    }
}
