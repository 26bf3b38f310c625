package org.pocketdistill.demo.ui;

import java.util.Locale;

import android.app.Activity;
import android.view.View;
import android.widget.ProgressBar;
import android.widget.TextView;

import org.pocketdistill.demo.R;

/** The part of the Classify screen that shows answers: three classes with bars, and the latency. */
final class AnswerPanel {
    private static final int[] ROWS = {R.id.top1, R.id.top2, R.id.top3};
    private static final int BAR_FULL = 1000;

    private final Activity activity;
    private final TextView message;
    private final TextView latency;

    AnswerPanel(Activity activity) {
        this.activity = activity;
        message = (TextView) activity.findViewById(R.id.message);
        latency = (TextView) activity.findViewById(R.id.latency);
        clear();
    }

    /** Shows a sentence instead of an answer. */
    void say(String text) {
        clear();
        message.setText(text);
        message.setVisibility(View.VISIBLE);
    }

    void show(LiveClassifier.Answer answer) {
        message.setVisibility(View.GONE);
        for (int rank = 0; rank < ROWS.length; rank++) {
            View row = activity.findViewById(ROWS[rank]);
            row.setVisibility(rank < answer.names.length ? View.VISIBLE : View.GONE);
            if (rank < answer.names.length) {
                showClass(row, answer.names[rank], answer.shares[rank]);
            }
        }
        String median = milliseconds(answer.medianMs);
        String p90 = milliseconds(answer.p90Ms);
        latency.setText(activity.getString(R.string.latency, median, p90, answer.threads));
        latency.setContentDescription(activity.getString(R.string.latency_label, median, p90, answer.threads));
    }

    private void showClass(View row, String name, float share) {
        ((TextView) row.findViewById(R.id.class_name)).setText(name);
        String percent = activity.getString(R.string.class_percent, 100 * share);
        ((TextView) row.findViewById(R.id.class_share)).setText(percent);
        ((ProgressBar) row.findViewById(R.id.class_bar)).setProgress(Math.round(BAR_FULL * share));
        row.setContentDescription(activity.getString(R.string.class_label, name, 100 * share));
    }

    private void clear() {
        for (int row : ROWS) {
            activity.findViewById(row).setVisibility(View.GONE);
        }
        latency.setText("");
    }

    private String milliseconds(double value) {
        String unknown = activity.getString(R.string.unknown);
        return Double.isNaN(value) ? unknown : String.format(Locale.getDefault(), "%.1f", value);
    }
}
