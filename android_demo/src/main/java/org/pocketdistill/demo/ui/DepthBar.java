package org.pocketdistill.demo.ui;

import java.util.Locale;

import android.app.Activity;
import android.view.View;
import android.widget.ImageView;
import android.widget.TextView;

import org.pocketdistill.demo.R;
import org.pocketdistill.demo.phone.PictureLoader;
import org.pocketdistill.demo.task.DepthScale;

/** What the colours of a depth map stand for, in metres. */
final class DepthBar {
    private final Activity activity;
    private final View whole;
    private final ImageView bar;

    DepthBar(Activity activity) {
        this.activity = activity;
        whole = activity.findViewById(R.id.scale);
        bar = (ImageView) activity.findViewById(R.id.scale_bar);
    }

    /** Nothing is shown for null. */
    void show(DepthScale scale) {
        whole.setVisibility(scale == null ? View.GONE : View.VISIBLE);
        if (scale == null) {
            return;
        }
        bar.setImageBitmap(PictureLoader.bitmap(scale.bar()));
        label(R.id.scale_start, 0);
        label(R.id.scale_middle, scale.endM / 2);
        label(R.id.scale_end, scale.endM);
        String unknown = activity.getString(R.string.unknown);
        String nearest = Double.isNaN(scale.nearestM) ? unknown : metres(scale.nearestM, 2);
        String farthest = Double.isNaN(scale.farthestM) ? unknown : metres(scale.farthestM, 2);
        ((TextView) activity.findViewById(R.id.scale_found)).setText(
                activity.getString(R.string.scale_found, nearest, farthest));
    }

    private void label(int view, double value) {
        boolean isWhole = value == Math.rint(value);
        String shown = metres(value, isWhole ? 0 : value < 1 ? 2 : 1);
        ((TextView) activity.findViewById(view)).setText(activity.getString(R.string.scale_metres, shown));
    }

    private static String metres(double value, int digits) {
        return String.format(Locale.getDefault(), "%." + digits + "f", value);
    }
}
