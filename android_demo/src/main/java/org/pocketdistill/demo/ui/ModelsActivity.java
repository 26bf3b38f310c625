package org.pocketdistill.demo.ui;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

import android.app.Activity;
import android.content.Intent;
import android.os.Bundle;
import android.os.Handler;
import android.os.HandlerThread;
import android.view.View;
import android.widget.AdapterView;
import android.widget.ListView;
import android.widget.TextView;

import org.pocketdistill.demo.R;
import org.pocketdistill.demo.engine.Runtimes;
import org.pocketdistill.demo.instrument.Outcome;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.model.Artifact;
import org.pocketdistill.demo.model.Comparison;
import org.pocketdistill.demo.model.GoldenCheck;
import org.pocketdistill.demo.model.WholeFile;
import org.pocketdistill.demo.phone.AndroidDevice;
import org.pocketdistill.demo.phone.PackedModels;
import org.pocketdistill.demo.task.Measure;

/** The second screen: every packed model with what it costs and gives; a tap measures it on this phone. */
public final class ModelsActivity extends Activity {
    private static final String STATE_RUN_ID = "run_id";
    private static final String STATE_RUN_MODEL = "run_model";
    private static final String STATE_LAST_RESULT = "last_result";

    private final HandlerThread thread = new HandlerThread("models");
    private Handler handler;
    private PhoneBench bench;
    private ModelAdapter adapter;

    /** The run that was started and whose result was not seen yet, and the manifest hash of its model. */
    private String runId;
    private String runModel;
    /** Path of the result that "share" shares, or null. */
    private String lastResult;

    private Runtimes runtimes;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.models);
        EdgeToEdge.keepClearOfBars(this);
        thread.start();
        handler = new Handler(thread.getLooper());
        bench = new PhoneBench(this);
        adapter = new ModelAdapter(this);
        if (state != null) {
            runId = state.getString(STATE_RUN_ID);
            runModel = state.getString(STATE_RUN_MODEL);
            lastResult = state.getString(STATE_LAST_RESULT);
        }
        ListView list = (ListView) findViewById(R.id.model_list);
        list.setAdapter(adapter);
        list.setOnItemClickListener(new AdapterView.OnItemClickListener() {
            @Override
            public void onItemClick(AdapterView<?> parent, View row, int position, long id) {
                measure(adapter.getItem(position));
            }
        });
        findViewById(R.id.share).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View button) {
                share();
            }
        });
    }

    @Override
    protected void onSaveInstanceState(Bundle state) {
        super.onSaveInstanceState(state);
        state.putString(STATE_RUN_ID, runId);
        state.putString(STATE_RUN_MODEL, runModel);
        state.putString(STATE_LAST_RESULT, lastResult);
    }

    @Override
    protected void onResume() {
        super.onResume();
        final String waitingRun = runId;
        final String waitingModel = runModel;
        handler.post(new Runnable() {
            @Override
            public void run() {
                load(waitingRun, waitingModel);
            }
        });
    }

    @Override
    protected void onDestroy() {
        super.onDestroy();
        thread.quitSafely();
    }

    /** On the thread "models": reads everything that the screen shows. */
    private void load(String waitingRun, String waitingModel) {
        try {
            final Runtimes packed = PackedModels.runtimes(this);
            final PackedModels models = PackedModels.open(this);
            final String collected = collect(models.artifacts, waitingRun, waitingModel);
            final Map<String, String> failures = new HashMap<>();
            final Comparison compared = compare(models, failures);
            runOnUiThread(new Runnable() {
                @Override
                public void run() {
                    runtimes = packed;
                    adapter.show(models.artifacts, compared, failures, packed);
                    show(compared, collected);
                }
            });
        } catch (IOException | JsonException error) {
            note(getString(R.string.no_models, error.getMessage()));
        }
    }

    /** Takes over the result of the run that was waited for; its path, or null. */
    private String collect(List<Artifact> models, String waitingRun, String waitingModel) throws IOException {
        for (Artifact artifact : models) {
            if (artifact.manifestSha256.equals(waitingModel) && bench.collect(artifact, waitingRun)) {
                return bench.result(artifact).getPath();
            }
        }
        return null;
    }

    /** This phone's figures first, then the bundle's; what went wrong on this phone goes into {@code failures}. */
    private Comparison compare(PackedModels models, Map<String, String> failures) throws IOException, JsonException {
        List<Comparison.Figure> figures = new ArrayList<>();
        List<String> hashes = new ArrayList<>();
        List<Measure> measures = new ArrayList<>();
        double[] scores = new double[models.artifacts.size()];
        String here = getString(R.string.this_phone, AndroidDevice.defaultThreads());
        for (Artifact artifact : models.artifacts) {
            Measure measure = artifact.manifest.task.measure;
            scores[hashes.size()] = measure.score(artifact.manifest.quality);
            measures.add(measure);
            hashes.add(artifact.manifestSha256);
            File result = bench.result(artifact);
            if (!result.isFile()) {
                continue;
            }
            Outcome outcome = Outcome.read(result);
            String complaint = complaint(artifact, outcome);
            if (complaint == null) {
                figures.add(new Comparison.Figure(artifact.manifestSha256, here, outcome.medianMs));
            } else {
                failures.put(artifact.manifestSha256, complaint);
            }
        }
        for (org.pocketdistill.demo.model.Bundle.Measured row : models.measurements) {
            String place = getString(R.string.other_device, row.device, row.threads);
            figures.add(new Comparison.Figure(row.manifestSha256, place, row.medianMs));
        }
        return new Comparison(hashes, measures, scores, figures);
    }

    private String complaint(Artifact artifact, Outcome outcome) throws IOException, JsonException {
        if (outcome.error != null) {
            return getString(R.string.measure_failed, outcome.error);
        }
        double difference = GoldenCheck.difference(outcome.goldenOutput, artifact.goldenOutput());
        boolean isRight = difference <= GoldenCheck.allowed(artifact.manifest.precision);
        return isRight ? null : getString(R.string.wrong_output, String.valueOf(difference));
    }

    private void show(Comparison comparison, String collected) {
        if (collected != null) {
            runId = null;
            runModel = null;
            lastResult = collected;
        }
        String tap = getString(R.string.tap_to_measure);
        note(comparison.place == null ? tap : tap + "\n" + getString(R.string.compared_on, comparison.place));
        findViewById(R.id.share).setEnabled(lastResult != null);
    }

    private void measure(final Artifact artifact) {
        if (!runtimes.has(artifact.manifest.format)) {
            note(getString(R.string.no_runtime));
            return;
        }
        final String newRun = PhoneBench.newRunId();
        try {
            Intent job = bench.job(artifact, newRun);
            runId = newRun;
            runModel = artifact.manifestSha256;
            startActivity(job);
        } catch (IOException | JsonException error) {
            note(getString(R.string.measure_failed, error.getMessage()));
        }
    }

    private void share() {
        try {
            String text = WholeFile.text(WholeFile.read(new File(lastResult)));
            Intent send = new Intent(Intent.ACTION_SEND).setType("text/plain")
                    .putExtra(Intent.EXTRA_SUBJECT, getString(R.string.share_title))
                    .putExtra(Intent.EXTRA_TEXT, text);
            startActivity(Intent.createChooser(send, getString(R.string.share_title)));
        } catch (IOException error) {
            note(getString(R.string.measure_failed, error.getMessage()));
        }
    }

    private void note(final String text) {
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                ((TextView) findViewById(R.id.models_note)).setText(text);
            }
        });
    }
}
