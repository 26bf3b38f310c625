package org.pocketdistill.demo.phone;

import android.content.Context;
import android.os.Build;
import android.os.PowerManager;
import android.os.Process;
import android.os.SystemClock;

import org.pocketdistill.demo.instrument.Surroundings;

/** The phone this app runs on. */
public final class AndroidDevice implements Surroundings {
    private static final int ANDROID_10 = 29;
    private static final int ANDROID_11 = 30;
    private static final int MOST_THREADS = 4;

    private final PowerManager power;

    public AndroidDevice(Context context) {
        power = context.getSystemService(PowerManager.class);
    }

    /** Threads used outside of jobs: half the cores, because the small ones slow the large ones down; at most 4. */
    public static int defaultThreads() {
        return Math.max(1, Math.min(MOST_THREADS, Runtime.getRuntime().availableProcessors() / 2));
    }

    @Override
    public long sinceBootNanos() {
        return SystemClock.elapsedRealtimeNanos();
    }

    @Override
    public int processId() {
        return Process.myPid();
    }

    @Override
    public String abi() {
        return (Process.is64Bit() ? Build.SUPPORTED_64_BIT_ABIS : Build.SUPPORTED_32_BIT_ABIS)[0];
    }

    @Override
    public Integer thermalStatus() {
        return Build.VERSION.SDK_INT < ANDROID_10 ? null : Integer.valueOf(power.getCurrentThermalStatus());
    }

    @Override
    public Double thermalHeadroom() {
        if (Build.VERSION.SDK_INT < ANDROID_11) {
            return null;
        }
        // NaN stands for "asked too often" and for phones that do not know.
        float headroom = power.getThermalHeadroom(0);
        return Float.isNaN(headroom) || Float.isInfinite(headroom) ? null : Double.valueOf(headroom);
    }
}
