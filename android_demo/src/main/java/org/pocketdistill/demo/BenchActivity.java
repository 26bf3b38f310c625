package org.pocketdistill.demo;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

import android.app.Activity;
import android.content.Intent;
import android.content.pm.PackageManager;
import android.os.Bundle;
import android.os.Process;
import android.util.Log;
import android.view.WindowManager;
import android.widget.TextView;

import org.pocketdistill.demo.engine.Engines;
import org.pocketdistill.demo.instrument.Clock;
import org.pocketdistill.demo.instrument.Instrument;
import org.pocketdistill.demo.phone.AndroidDecoder;
import org.pocketdistill.demo.phone.AndroidDevice;
import org.pocketdistill.demo.phone.PackedModels;
import org.pocketdistill.demo.ui.EdgeToEdge;

/**
 * The benchmark instrument's screen. One job, one process: when the job is done the process ends, so that the next one
 * starts with a fresh runtime.
 *
 * <p>Extras: {@code run_id} and {@code job}, the path of a job file; see {@code bench/protocol/README.md}.
 */
public final class BenchActivity extends Activity {
    public static final String EXTRA_RUN_ID = "run_id";
    public static final String EXTRA_JOB = "job";
    private static final String LOG_TAG = "PocketDistillBench";

    private boolean isRunning;
    private boolean isDone;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        getWindow().addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
        setContentView(R.layout.bench);
        EdgeToEdge.keepClearOfBars(this);
        String runId = getIntent().getStringExtra(EXTRA_RUN_ID);
        String job = getIntent().getStringExtra(EXTRA_JOB);
        if (runId == null || job == null) {
            show(getString(R.string.bench_no_job));
            return;
        }
        start(runId, new File(job));
    }

    /** A second job while the first is running; hosts restart the app instead. */
    @Override
    protected void onNewIntent(Intent intent) {
        String runId = intent.getStringExtra(EXTRA_RUN_ID);
        try {
            if (runId != null && !runId.equals(getIntent().getStringExtra(EXTRA_RUN_ID))) {
                instrument().refuse(runId, getString(R.string.bench_busy), folders());
            }
        } catch (IOException error) {
            Log.e(LOG_TAG, "cannot refuse " + runId, error);
        }
    }

    /** A run that is left would go on unseen, beside the next one. */
    @Override
    public void onBackPressed() {
        if (!isRunning) {
            super.onBackPressed();
        }
    }

    @Override
    protected void onDestroy() {
        super.onDestroy();
        if (isDone) {
            Process.killProcess(Process.myPid());
        }
    }

    private void start(final String runId, final File job) {
        isRunning = true;
        new Thread("instrument") {
            @Override
            public void run() {
                end(measure(runId, job));
            }
        }.start();
    }

    /** Returns why nothing was measured, or null. */
    private String measure(String runId, File job) {
        try {
            return instrument().run(job, runId, folders());
        } catch (IOException error) {
            Log.e(LOG_TAG, "no result for " + runId, error);
            return error.getMessage();
        }
    }

    private Instrument instrument() throws IOException {
        Clock clock = new Clock() {
            @Override
            public long nanos() {
                return System.nanoTime();
            }
        };
        return new Instrument(
                new Engines(PackedModels.runtimes(this)), new AndroidDecoder(), new AndroidDevice(this), clock,
                version());
    }

    private String version() throws IOException {
        try {
            return getPackageManager().getPackageInfo(getPackageName(), 0).versionName;
        } catch (PackageManager.NameNotFoundException error) {
            throw new IOException(error);
        }
    }

    /** Where the host looks: the app's own folder (run-as) and the one that adb can read. */
    private List<File> folders() {
        List<File> folders = new ArrayList<>();
        folders.add(getFilesDir());
        File external = getExternalFilesDir(null);
        if (external != null) {
            folders.add(external);
        }
        return folders;
    }

    private void end(final String failure) {
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                isRunning = false;
                isDone = true;
                if (isDestroyed()) {
                    Process.killProcess(Process.myPid());
                }
                if (failure == null) {
                    finish();
                } else {
                    show(getString(R.string.bench_failed, failure));
                }
            }
        });
    }

    private void show(String text) {
        ((TextView) findViewById(R.id.bench_text)).setText(text);
    }
}
