package org.pocketdistill.demo.instrument;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Enumeration;
import java.util.List;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

import org.pocketdistill.demo.model.WholeFile;

/** The picture files of a job, in order; their zip files are checked when the first picture is read. */
final class Pictures implements Closeable {
    private final List<Job.Pack> packs;
    private final List<ZipFile> archives = new ArrayList<>();
    private final List<ZipFile> archiveOf = new ArrayList<>();
    private final List<ZipEntry> entries = new ArrayList<>();

    Pictures(List<Job.Pack> packs) {
        this.packs = packs;
    }

    int count() {
        int sum = 0;
        for (Job.Pack pack : packs) {
            sum += pack.count;
        }
        return sum;
    }

    /** The bytes of one file. */
    byte[] read(int index) throws IOException {
        if (archives.isEmpty()) {
            for (Job.Pack pack : packs) {
                open(pack);
            }
        }
        try (InputStream stream = archiveOf.get(index).getInputStream(entries.get(index))) {
            return WholeFile.read(stream);
        }
    }

    private void open(Job.Pack pack) throws IOException {
        if (!WholeFile.sha256(pack.file).equals(pack.sha256)) {
            throw new IOException(pack.file.getName() + " is not the file that the job names");
        }
        ZipFile archive = new ZipFile(pack.file);
        archives.add(archive);
        if (archive.size() != pack.count) {
            throw new IOException(pack.file.getName() + " holds " + archive.size() + " pictures, the job says "
                    + pack.count);
        }
        Enumeration<? extends ZipEntry> inside = archive.entries();
        while (inside.hasMoreElements()) {
            archiveOf.add(archive);
            entries.add(inside.nextElement());
        }
    }

    @Override
    public void close() throws IOException {
        for (ZipFile archive : archives) {
            archive.close();
        }
    }
}
