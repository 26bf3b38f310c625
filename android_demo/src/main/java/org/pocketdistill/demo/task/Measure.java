package org.pocketdistill.demo.task;

/** What models of a task are judged by, on held-out images. */
public enum Measure {
    /** Share of correct predictions. */
    ACCURACY("accuracy", true, true),
    /** Mean intersection over union of the classes. */
    MIOU("quality", true, true),
    /** Root of the mean squared error, in metres. */
    RMSE_M("quality", false, false);

    /** Where a manifest's {@code parity} has it. */
    public final String parityKey;
    private final boolean isShare;
    private final boolean isHigherBetter;

    Measure(String parityKey, boolean isShare, boolean isHigherBetter) {
        this.parityKey = parityKey;
        this.isShare = isShare;
        this.isHigherBetter = isHigherBetter;
    }

    /** Whether it is a share in [0, 1], and no length. */
    public boolean isShare() {
        return isShare;
    }

    /** A number that is the larger the better; NaN if {@code quality} is null, which is not known. */
    public double score(Double quality) {
        if (quality == null) {
            return Double.NaN;
        }
        return isHigherBetter ? quality : -quality;
    }
}
