package org.pocketdistill.demo.ui;

import java.util.Locale;

import android.app.Activity;
import android.view.View;
import android.widget.ProgressBar;
import android.widget.TextView;

import org.pocketdistill.demo.R;
import org.pocketdistill.demo.task.Answer;

/** The part of the first screen that shows answers, each with what its task has, and what they took. */
final class AnswerPanel {
    private static final int[] ROWS = {R.id.top1, R.id.top2, R.id.top3};
    private static final int BAR_FULL = 1000;

    private final Activity activity;
    private final TextView message;
    private final TextView latency;
    private final TextView path;
    private final Legend legend;
    private final DepthBar scale;

    AnswerPanel(Activity activity) {
        this.activity = activity;
        message = (TextView) activity.findViewById(R.id.message);
        latency = (TextView) activity.findViewById(R.id.latency);
        path = (TextView) activity.findViewById(R.id.path);
        legend = new Legend(activity);
        scale = new DepthBar(activity);
        clear();
    }

    /** Shows a sentence instead of an answer. */
    void say(String text) {
        clear();
        message.setText(text);
        message.setVisibility(View.VISIBLE);
    }

    void show(LiveModel.Shown shown) {
        Answer answer = shown.answer;
        message.setVisibility(View.GONE);
        legend.show(answer.areas);
        scale.show(answer.scale);
        for (int rank = 0; rank < ROWS.length; rank++) {
            View row = activity.findViewById(ROWS[rank]);
            boolean isNeeded = rank < answer.likeliest.size();
            row.setVisibility(isNeeded ? View.VISIBLE : View.GONE);
            if (isNeeded) {
                showClass(row, answer.likeliest.get(rank).name, answer.likeliest.get(rank).share);
            }
        }
        String median = milliseconds(shown.medianMs);
        String p90 = milliseconds(shown.p90Ms);
        latency.setText(activity.getString(R.string.latency, median, p90, shown.threads));
        latency.setContentDescription(activity.getString(R.string.latency_label, median, p90, shown.threads));
        String[] stages = new String[shown.stagesMs.length];
        for (int i = 0; i < stages.length; i++) {
            stages[i] = milliseconds(shown.stagesMs[i]);
        }
        path.setText(activity.getString(
                R.string.path, milliseconds(shown.pathMs), stages[0], stages[1], stages[2], stages[3], stages[4]));
    }

    private void showClass(View row, String name, double share) {
        ((TextView) row.findViewById(R.id.class_name)).setText(name);
        String percent = activity.getString(R.string.class_percent, 100 * share);
        ((TextView) row.findViewById(R.id.class_share)).setText(percent);
        ((ProgressBar) row.findViewById(R.id.class_bar)).setProgress((int) Math.round(BAR_FULL * share));
        row.setContentDescription(activity.getString(R.string.class_label, name, 100 * share));
    }

    private void clear() {
        for (int row : ROWS) {
            activity.findViewById(row).setVisibility(View.GONE);
        }
        legend.show(null);
        scale.show(null);
        latency.setText("");
        path.setText("");
    }

    private String milliseconds(double value) {
        String unknown = activity.getString(R.string.unknown);
        return Double.isNaN(value) ? unknown : String.format(Locale.getDefault(), "%.1f", value);
    }
}
