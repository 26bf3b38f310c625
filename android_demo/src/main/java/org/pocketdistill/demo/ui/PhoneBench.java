package org.pocketdistill.demo.ui;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.UUID;

import android.content.Context;
import android.content.Intent;

import org.pocketdistill.demo.BenchActivity;
import org.pocketdistill.demo.instrument.Job;
import org.pocketdistill.demo.instrument.Limits;
import org.pocketdistill.demo.instrument.Outcome;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.model.Artifact;
import org.pocketdistill.demo.model.Manifest;
import org.pocketdistill.demo.model.WholeFile;
import org.pocketdistill.demo.phone.AndroidDevice;

/**
 * Measures a packed model on this phone with the very instrument that {@code bench --device android} uses, and keeps
 * the latest result of each model.
 */
final class PhoneBench {
    private static final String INPUT_FILE = "input.bin";

    private final Context context;
    private final File kept;

    PhoneBench(Context context) {
        this.context = context;
        this.kept = new File(context.getFilesDir(), "measured");
    }

    /** Writes a job for one artifact and returns the intent that starts the instrument on it. */
    Intent job(Artifact artifact, String runId) throws IOException, JsonException {
        Manifest.Entry model = artifact.manifest.file("model");
        byte[] input = artifact.goldenInput();
        File inputFile = new File(artifact.folder, INPUT_FILE);
        WholeFile.write(inputFile, input);
        Job.Model entry = new Job.Model(
                "model_0", model.sha256, model.sizeBytes, inputFile, WholeFile.sha256(input),
                artifact.manifest.spec(artifact.folder));
        Job job = new Job(
                runId, AndroidDevice.defaultThreads(), 1, Limits.DEFAULT, Collections.singletonList(entry));
        File jobFile = new File(artifact.folder, Job.FILE_NAME);
        WholeFile.write(jobFile, job.toJson());
        return new Intent(context, BenchActivity.class)
                .putExtra(BenchActivity.EXTRA_RUN_ID, runId)
                .putExtra(BenchActivity.EXTRA_JOB, jobFile.getPath());
    }

    static String newRunId() {
        return UUID.randomUUID().toString().replace("-", "").toLowerCase(Locale.ROOT);
    }

    /** Takes over a finished run's result as the latest of this artifact; false if there is none yet. */
    boolean collect(Artifact artifact, String runId) throws IOException {
        File found = Outcome.file(context.getFilesDir(), runId);
        if (!found.isFile()) {
            return false;
        }
        if (!kept.isDirectory() && !kept.mkdirs()) {
            throw new IOException("cannot make the folder " + kept);
        }
        WholeFile.write(result(artifact), WholeFile.read(found));
        for (File folder : folders()) {
            for (File file : folder.listFiles()) {
                if (file.getName().startsWith(runId) && !file.delete()) {
                    throw new IOException("cannot remove " + file);
                }
            }
        }
        return true;
    }

    /** Where the latest result of an artifact lies, if there is one. */
    File result(Artifact artifact) {
        return new File(kept, artifact.manifestSha256 + ".result.json");
    }

    private List<File> folders() {
        List<File> folders = new ArrayList<>();
        folders.add(context.getFilesDir());
        if (context.getExternalFilesDir(null) != null) {
            folders.add(context.getExternalFilesDir(null));
        }
        return folders;
    }
}
