package org.pocketdistill.demo.phone;

import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

import android.content.Context;
import android.content.res.AssetManager;

import org.pocketdistill.demo.R;
import org.pocketdistill.demo.engine.Runtimes;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.model.Artifact;
import org.pocketdistill.demo.model.Bundle;
import org.pocketdistill.demo.model.WholeFile;

/**
 * The models packed with the app, copied once from its assets to its own files: runtimes map files, not assets.
 */
public final class PackedModels {
    private static final String ASSET_FOLDER = "bundle";

    public final List<Artifact> artifacts;
    public final List<Bundle.Measured> measurements;

    private PackedModels(List<Artifact> artifacts, List<Bundle.Measured> measurements) {
        this.artifacts = Collections.unmodifiableList(artifacts);
        this.measurements = measurements;
    }

    /**
     * Opens the bundle, copying and verifying every model whose files are not in place. Takes a moment; not for the
     * main thread; two threads that call it take turns.
     *
     * @throws IOException there is no bundle, no space, or a file of it is damaged.
     * @throws JsonException the bundle or a manifest is of a version or form that this app does not know.
     */
    public static synchronized PackedModels open(Context context) throws IOException, JsonException {
        Bundle bundle = Bundle.parse(asset(context, Bundle.FILE_NAME));
        File root = new File(context.getFilesDir(), ASSET_FOLDER);
        List<Artifact> artifacts = new ArrayList<>();
        for (Bundle.Item item : bundle.items) {
            // Named by content: a newer app with another model of the same name cannot meet the older one's files.
            File folder = new File(root, item.manifestSha256);
            if (!folder.isDirectory()) {
                copy(context.getAssets(), item, folder);
            }
            artifacts.add(Artifact.open(folder, item.colours()));
        }
        return new PackedModels(artifacts, bundle.measurements);
    }

    /** The runtimes packed with the app. */
    public static Runtimes runtimes(Context context) throws IOException {
        try (InputStream stream = context.getAssets().open(Runtimes.FILE_NAME)) {
            return Runtimes.read(stream);
        }
    }

    private static byte[] asset(Context context, String name) throws IOException {
        try (InputStream stream = context.getAssets().open(ASSET_FOLDER + "/" + name)) {
            return WholeFile.read(stream);
        } catch (FileNotFoundException error) {
            throw new IOException(context.getString(R.string.no_bundle), error);
        }
    }

    /** Copies an artifact's files; the folder gets its name only when all of them are there. */
    private static void copy(AssetManager assets, Bundle.Item item, File folder) throws IOException {
        File partial = new File(folder.getPath() + ".partial");
        for (String file : item.files) {
            File target = new File(partial, file);
            File parent = target.getParentFile();
            if (!parent.isDirectory() && !parent.mkdirs()) {
                throw new IOException("cannot make the folder " + parent);
            }
            try (InputStream stream = assets.open(ASSET_FOLDER + "/" + item.folder + "/" + file)) {
                WholeFile.copy(stream, target);
            }
        }
        if (!partial.renameTo(folder)) {
            throw new IOException("cannot rename " + partial);
        }
    }
}
