package org.pocketdistill.demo.model;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * Several models side by side on one device. Figures of different devices or numbers of threads are never compared.
 */
public final class Comparison {
    /** One median of one model in one place. */
    public static final class Figure {
        public final String manifestSha256;
        /** Device and number of threads, as shown. */
        public final String place;
        public final double medianMs;

        public Figure(String manifestSha256, String place, double medianMs) {
            this.manifestSha256 = manifestSha256;
            this.place = place;
            this.medianMs = medianMs;
        }
    }

    /** The place the models are compared on: the one with most of them measured; null if nothing is measured. */
    public final String place;
    private final List<Figure> figures;
    private final boolean[] best;

    /**
     * @param models manifest hash of each model, and {@code accuracy} its accuracy in [0, 1] or NaN.
     * @param figures what is known; of several with the same model and place the last one counts. Places that come
     *     first win ties, so put this phone's figures first.
     */
    public Comparison(List<String> models, double[] accuracy, List<Figure> figures) {
        this.figures = Collections.unmodifiableList(new ArrayList<>(figures));
        String chosen = null;
        int most = 0;
        for (String candidate : places()) {
            int known = 0;
            for (String model : models) {
                known += Double.isNaN(medianMs(model, candidate)) ? 0 : 1;
            }
            if (known > most) {
                most = known;
                chosen = candidate;
            }
        }
        place = chosen;
        double[] medians = new double[models.size()];
        Arrays.fill(medians, Double.NaN);
        for (int i = 0; i < medians.length && place != null; i++) {
            medians[i] = medianMs(models.get(i), place);
        }
        // A single model beats nobody.
        best = most > 1 ? ParetoFront.members(medians, accuracy) : new boolean[medians.length];
    }

    /** Whether the model with this index is on the Pareto front of latency and accuracy. */
    public boolean isBestTrade(int model) {
        return best[model];
    }

    /** Every place, in the order of the figures. */
    public final Set<String> places() {
        Set<String> places = new LinkedHashSet<>();
        for (Figure figure : figures) {
            places.add(figure.place);
        }
        return places;
    }

    /** Median in milliseconds, NaN if unknown. */
    public final double medianMs(String manifestSha256, String place) {
        double median = Double.NaN;
        for (Figure figure : figures) {
            if (figure.manifestSha256.equals(manifestSha256) && figure.place.equals(place)) {
                median = figure.medianMs;
            }
        }
        return median;
    }
}
