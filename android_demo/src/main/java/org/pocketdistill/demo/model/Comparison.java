package org.pocketdistill.demo.model;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

import org.pocketdistill.demo.task.Measure;

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
     * @param models manifest hash of each model.
     * @param measures what each is judged by; models are compared with those that are judged alike.
     * @param scores how good each is by its measure, the more the better, or NaN.
     * @param figures what is known; of several with the same model and place the last one counts. Places that come
     *     first win ties, so put this phone's figures first.
     */
    public Comparison(List<String> models, List<Measure> measures, double[] scores, List<Figure> figures) {
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
        best = new boolean[medians.length];
        for (Measure measure : new LinkedHashSet<>(measures)) {
            markBest(measure, measures, medians, scores);
        }
    }

    private void markBest(Measure measure, List<Measure> measures, double[] medians, double[] scores) {
        double[] alike = new double[medians.length];
        int known = 0;
        for (int i = 0; i < alike.length; i++) {
            alike[i] = measures.get(i) == measure ? medians[i] : Double.NaN;
            known += Double.isNaN(alike[i]) ? 0 : 1;
        }
        boolean[] members = ParetoFront.members(alike, scores);
        for (int i = 0; i < alike.length; i++) {
            // A single model beats nobody.
            best[i] |= known > 1 && members[i];
        }
    }

    /** Whether the model with this index is on the Pareto front of latency and quality. */
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
