package org.pocketdistill.demo.ui;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

import android.app.Activity;
import android.text.TextUtils;
import android.view.View;
import android.view.ViewGroup;
import android.widget.BaseAdapter;
import android.widget.TextView;

import org.pocketdistill.demo.R;
import org.pocketdistill.demo.engine.Runtimes;
import org.pocketdistill.demo.model.Artifact;
import org.pocketdistill.demo.model.Comparison;
import org.pocketdistill.demo.model.Manifest;

/** The rows of the Models screen: what each model is, and what it costs where. */
final class ModelAdapter extends BaseAdapter {
    private final Activity activity;
    private List<Artifact> artifacts = new ArrayList<>();
    private Comparison comparison;
    private Map<String, String> complaints = Collections.emptyMap();
    private Runtimes runtimes;

    ModelAdapter(Activity activity) {
        this.activity = activity;
    }

    /** Shows these models; {@code failures} says by manifest hash what went wrong on this phone. */
    void show(List<Artifact> models, Comparison compared, Map<String, String> failures, Runtimes packed) {
        artifacts = models;
        comparison = compared;
        complaints = failures;
        runtimes = packed;
        notifyDataSetChanged();
    }

    @Override
    public int getCount() {
        return artifacts.size();
    }

    @Override
    public Artifact getItem(int position) {
        return artifacts.get(position);
    }

    @Override
    public long getItemId(int position) {
        return position;
    }

    @Override
    public View getView(int position, View old, ViewGroup parent) {
        View row = old != null ? old : activity.getLayoutInflater().inflate(R.layout.model_row, parent, false);
        Artifact artifact = artifacts.get(position);
        ((TextView) row.findViewById(R.id.model_title)).setText(artifact.title());
        ((TextView) row.findViewById(R.id.model_facts)).setText(facts(artifact.manifest));
        ((TextView) row.findViewById(R.id.model_measured)).setText(measured(artifact));
        boolean isBest = comparison.isBestTrade(position);
        row.findViewById(R.id.model_best).setVisibility(isBest ? View.VISIBLE : View.GONE);
        return row;
    }

    private String facts(Manifest manifest) {
        return activity.getString(
                R.string.model_facts, manifest.modelSizeBytes() / 1e6, manifest.parameterCount / 1e6,
                QualityWords.of(manifest, activity.getResources()));
    }

    private String measured(Artifact artifact) {
        List<String> lines = new ArrayList<>();
        if (complaints.containsKey(artifact.manifestSha256)) {
            lines.add(complaints.get(artifact.manifestSha256));
        }
        for (String place : comparison.places()) {
            double medianMs = comparison.medianMs(artifact.manifestSha256, place);
            if (!Double.isNaN(medianMs)) {
                lines.add(activity.getString(R.string.measured_on, place, medianMs));
            }
        }
        if (!runtimes.has(artifact.manifest.format)) {
            lines.add(activity.getString(R.string.no_runtime));
        } else if (lines.isEmpty()) {
            lines.add(activity.getString(R.string.not_measured));
        }
        return TextUtils.join("\n", lines);
    }
}
