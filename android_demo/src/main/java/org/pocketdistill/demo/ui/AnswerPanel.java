package org.pocketdistill.demo.ui;

import java.util.Locale;

import android.app.Activity;
import android.view.View;
import android.widget.ProgressBar;
import android.widget.TextView;

import org.pocketdistill.demo.R;

/** The part of the Classify screen that shows answers: three classes with bars, and what they took. */
final class AnswerPanel {
    private static final int[] ROWS = {R.id.top1, R.id.top2, R.id.top3};
    private static final int BAR_FULL = 1000;

    private final Activity activity;
    private final TextView message;
    private final TextView latency;
    private final TextView path;

    AnswerPanel(Activity activity) {
        this.activity = activity;
        message = (TextView) activity.findViewById(R.id.message);
        latency = (TextView) activity.findViewById(R.id.latency);
        path = (TextView) activity.findViewById(R.id.path);
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
        String[] stages = new String[answer.stagesMs.length];
        for (int i = 0; i < stages.length; i++) {
            stages[i] = milliseconds(answer.stagesMs[i]);
        }
        path.setText(activity.getString(
                R.string.path, milliseconds(answer.pathMs), stages[0], stages[1], stages[2], stages[3], stages[4]));
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
        path.setText("");
    }

    private String milliseconds(double value) {
        String unknown = activity.getString(R.string.unknown);
        return Double.isNaN(value) ? unknown : String.format(Locale.getDefault(), "%.1f", value);
    }
}
