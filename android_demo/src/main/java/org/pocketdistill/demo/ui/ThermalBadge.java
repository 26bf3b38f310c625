package org.pocketdistill.demo.ui;

import android.os.Handler;
import android.os.Looper;
import android.widget.TextView;

import org.pocketdistill.demo.R;
import org.pocketdistill.demo.phone.AndroidDevice;

/** Keeps a text up to date with how hot the phone is, while it is shown. */
final class ThermalBadge implements Runnable {
    private static final long PERIOD_MS = 2000;

    private final TextView text;
    private final AndroidDevice device;
    private final Handler handler = new Handler(Looper.getMainLooper());

    ThermalBadge(TextView text) {
        this.text = text;
        this.device = new AndroidDevice(text.getContext());
    }

    void start() {
        run();
    }

    void stop() {
        handler.removeCallbacks(this);
    }

    @Override
    public void run() {
        Integer status = device.thermalStatus();
        String[] words = text.getResources().getStringArray(R.array.thermal);
        boolean isKnown = status != null && status >= 0 && status < words.length;
        String word = isKnown ? words[status] : text.getResources().getString(R.string.thermal_unknown);
        text.setText(word);
        text.setContentDescription(text.getResources().getString(R.string.thermal_label, word));
        text.setBackgroundResource(isKnown && status > 1 ? R.drawable.badge_hot : R.drawable.badge);
        handler.postDelayed(this, PERIOD_MS);
    }
}
