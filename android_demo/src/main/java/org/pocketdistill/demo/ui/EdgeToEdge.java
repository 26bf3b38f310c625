package org.pocketdistill.demo.ui;

import android.app.Activity;

/** Apps made for Android 15 and newer draw below the system's bars; ours keeps clear of them. */
public final class EdgeToEdge {
    private EdgeToEdge() {}

    /** Pads the content by what the bars and the camera cover; on older phones that is nothing. */
    public static void keepClearOfBars(Activity activity) {
        activity.findViewById(android.R.id.content).setFitsSystemWindows(true);
    }
}
