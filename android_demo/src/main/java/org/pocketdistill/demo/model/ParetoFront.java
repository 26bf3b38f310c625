package org.pocketdistill.demo.model;

/** Which of several models are worth having: no other is both at least as fast and at least as good. */
public final class ParetoFront {
    private ParetoFront() {
    }

    /**
     * @param medianMs latency of each model, NaN if unknown.
     * @param scores how good each is, the more the better; NaN if unknown.
     * @return per model whether it is on the front; never for one with an unknown figure.
     */
    public static boolean[] members(double[] medianMs, double[] scores) {
        boolean[] members = new boolean[medianMs.length];
        for (int i = 0; i < members.length; i++) {
            members[i] = !Double.isNaN(medianMs[i]) && !Double.isNaN(scores[i]);
            for (int j = 0; members[i] && j < members.length; j++) {
                members[i] = !isBetter(medianMs[j], scores[j], medianMs[i], scores[i]);
            }
        }
        return members;
    }

    private static boolean isBetter(double msA, double scoreA, double msB, double scoreB) {
        return msA <= msB && scoreA >= scoreB && (msA < msB || scoreA > scoreB);
    }
}
