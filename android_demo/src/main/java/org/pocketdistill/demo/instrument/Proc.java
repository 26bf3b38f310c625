package org.pocketdistill.demo.instrument;

import java.io.File;
import java.io.IOException;

import org.pocketdistill.demo.model.WholeFile;

/** What the Linux kernel says of this process and its processor; null where a file may not be read. */
final class Proc {
    /** Clock ticks per second in /proc, the same on every Linux. */
    private static final long NANOS_PER_TICK = 10_000_000L;
    private static final int START_TIME = 22;
    private static final int LAST_CORE = 39;

    private Proc() {
    }

    static String bootId() {
        String text = read("/proc/sys/kernel/random/boot_id");
        return text == null ? null : text.trim();
    }

    /** Highest resident memory of this process in bytes. */
    static Long peakMemoryBytes() {
        String status = read("/proc/self/status");
        int start = status == null ? -1 : status.indexOf("VmHWM:");
        if (start < 0) {
            return null;
        }
        String line = status.substring(start + "VmHWM:".length(), status.indexOf('\n', start));
        return 1024 * Long.parseLong(line.replace("kB", "").trim());
    }

    /** Start of this process in nanoseconds since boot, rounded up to the next tick of 10 ms. */
    static Long startNanos() {
        Long ticks = statField("/proc/self/stat", START_TIME);
        return ticks == null ? null : (ticks + 1) * NANOS_PER_TICK;
    }

    /** Number of the core that the calling thread was on last. */
    static Integer core() {
        Long core = statField("/proc/thread-self/stat", LAST_CORE);
        return core == null ? null : core.intValue();
    }

    static Integer coreKhz(Integer core) {
        String text = core == null ? null : read("/sys/devices/system/cpu/cpu" + core + "/cpufreq/scaling_cur_freq");
        return text == null ? null : Integer.valueOf(text.trim());
    }

    /** Field {@code number}, counted from 1 as in proc(5); the second one, a name, may hold blanks and brackets. */
    private static Long statField(String path, int number) {
        String text = read(path);
        if (text == null) {
            return null;
        }
        String[] afterName = text.substring(text.lastIndexOf(')') + 2).trim().split(" ");
        return Long.valueOf(afterName[number - 3]);
    }

    private static String read(String path) {
        try {
            return WholeFile.text(WholeFile.read(new File(path)));
        } catch (IOException error) {
            // Which of these files an app may read differs from phone to phone; the contract's word for it is null.
            return null;
        }
    }
}
