package org.pocketdistill.demo.ui;

import android.app.Activity;
import android.graphics.drawable.GradientDrawable;
import android.view.View;
import android.widget.TextView;

import org.pocketdistill.demo.R;
import org.pocketdistill.demo.task.Answer;
import org.pocketdistill.demo.task.Areas;

/** What the colours of a mask stand for, and how much of the picture each has. */
final class Legend {
    private static final int[] ITEMS = {
            R.id.area1, R.id.area2, R.id.area3, R.id.area4, R.id.area5, R.id.area6, R.id.area7, R.id.area8
    };

    private final Activity activity;
    private final View whole;
    private final TextView others;

    Legend(Activity activity) {
        this.activity = activity;
        whole = activity.findViewById(R.id.legend);
        others = (TextView) activity.findViewById(R.id.area_others);
    }

    /** Nothing is shown for null. */
    void show(Areas areas) {
        whole.setVisibility(areas == null ? View.GONE : View.VISIBLE);
        if (areas == null) {
            return;
        }
        for (int i = 0; i < ITEMS.length; i++) {
            View item = activity.findViewById(ITEMS[i]);
            boolean isNeeded = i < areas.rows.size();
            // The other half of a line keeps its width.
            boolean isBesideOne = i % 2 == 1 && i - 1 < areas.rows.size();
            item.setVisibility(isNeeded ? View.VISIBLE : isBesideOne ? View.INVISIBLE : View.GONE);
            if (isNeeded) {
                show(item, areas.rows.get(i));
            }
        }
        others.setVisibility(areas.otherClasses > 0 ? View.VISIBLE : View.GONE);
        others.setText(activity.getString(R.string.area_others, areas.otherClasses, 100 * areas.otherShare));
    }

    private void show(View item, Answer.Row row) {
        View swatch = item.findViewById(R.id.area_colour);
        ((GradientDrawable) swatch.getBackground().mutate()).setColor(row.colour);
        String text = activity.getString(R.string.area, row.name, 100 * row.share);
        ((TextView) item.findViewById(R.id.area_text)).setText(text);
        item.setContentDescription(activity.getString(R.string.area_label, row.name, 100 * row.share));
    }
}
