package org.pocketdistill.demo.model;

import java.io.File;
import java.io.IOException;

import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.task.Reader;

/** An exported model on this phone: its folder and what it says of itself. */
public final class Artifact {
    public final File folder;
    public final Manifest manifest;
    /** Identity of the artifact, the same as in the toolkit's measurements. */
    public final String manifestSha256;
    /** {@code 0xffRRGGBB} that its answers are painted with. */
    private final int[] colours;

    private Artifact(File folder, Manifest manifest, String manifestSha256, int[] colours) {
        this.folder = folder;
        this.manifest = manifest;
        this.manifestSha256 = manifestSha256;
        this.colours = colours;
    }

    /**
     * Reads an artifact and checks every file it names by size and SHA-256.
     *
     * @param colours {@code 0xffRRGGBB} that its answers are painted with, as the bundle has them.
     * @throws IOException a file is missing or was changed.
     * @throws JsonException the manifest is not one that this app knows, or there are too few colours.
     */
    public static Artifact open(File folder, int[] colours) throws IOException, JsonException {
        byte[] bytes = WholeFile.read(new File(folder, Manifest.FILE_NAME));
        Manifest manifest = Manifest.parse(WholeFile.text(bytes), folder.getName() + "/" + Manifest.FILE_NAME);
        manifest.task.requireColours(manifest.classNames.size(), colours);
        for (Manifest.Entry entry : manifest.files) {
            File file = new File(folder, entry.path);
            if (file.length() != entry.sizeBytes || !WholeFile.sha256(file).equals(entry.sha256)) {
                throw new IOException(
                        folder.getName() + "/" + entry.path + " is missing or was changed after it was exported");
            }
        }
        return new Artifact(folder, manifest, WholeFile.sha256(bytes), colours.clone());
    }

    /** What makes answers of its outputs. */
    public Reader reader() throws JsonException {
        return manifest.reader(colours);
    }

    /** Model, format and precision, for people. */
    public String title() {
        return manifest.model + " · " + manifest.format + " " + manifest.precision;
    }

    /** The golden output: what the model gave for its golden input when it was exported. */
    public float[] goldenOutput() throws IOException, JsonException {
        return NumpyArray.floats(new File(folder, manifest.file("golden-output").path));
    }

    /** The golden input as raw little-endian float32 values. */
    public byte[] goldenInput() throws IOException, JsonException {
        return NumpyArray.rawBytes(new File(folder, manifest.file("golden-input").path));
    }
}
