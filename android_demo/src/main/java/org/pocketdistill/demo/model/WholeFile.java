package org.pocketdistill.demo.model;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.Charset;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Files that are read, hashed or written as a whole; what is written appears whole or not at all. */
public final class WholeFile {
    private static final Charset UTF_8 = Charset.forName("UTF-8");
    private static final int BLOCK_BYTES = 1 << 16;

    private WholeFile() {
    }

    /** Receives the blocks of a stream in order. */
    private interface Sink {
        void take(byte[] block, int sizeBytes) throws IOException;
    }

    public static byte[] read(File file) throws IOException {
        try (InputStream stream = new FileInputStream(file)) {
            return read(stream);
        }
    }

    public static byte[] read(InputStream stream) throws IOException {
        final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        pump(stream, new Sink() {
            @Override
            public void take(byte[] block, int sizeBytes) {
                bytes.write(block, 0, sizeBytes);
            }
        });
        return bytes.toByteArray();
    }

    public static String text(byte[] bytes) {
        return new String(bytes, UTF_8);
    }

    /** SHA-256 of a file as 64 lower-case hex digits; the file is never held in memory. */
    public static String sha256(File file) throws IOException {
        final MessageDigest digest = sha256Digest();
        try (InputStream stream = new FileInputStream(file)) {
            pump(stream, new Sink() {
                @Override
                public void take(byte[] block, int sizeBytes) {
                    digest.update(block, 0, sizeBytes);
                }
            });
        }
        return hex(digest.digest());
    }

    public static String sha256(byte[] bytes) {
        return hex(sha256Digest().digest(bytes));
    }

    /** Writes {@code bytes} beside {@code file}, syncs, renames; {@code file} is the old or the new one, never half. */
    public static void write(File file, byte[] bytes) throws IOException {
        File temporary = new File(file.getPath() + ".tmp");
        try {
            try (FileOutputStream stream = new FileOutputStream(temporary)) {
                stream.write(bytes);
                stream.getFD().sync();
            }
            rename(temporary, file);
        } finally {
            temporary.delete();
        }
    }

    public static void write(File file, String text) throws IOException {
        write(file, text.getBytes(UTF_8));
    }

    /** Copies a stream to a file that appears whole or not at all. */
    public static void copy(InputStream source, File file) throws IOException {
        File temporary = new File(file.getPath() + ".tmp");
        try {
            try (final FileOutputStream stream = new FileOutputStream(temporary)) {
                pump(source, new Sink() {
                    @Override
                    public void take(byte[] block, int sizeBytes) throws IOException {
                        stream.write(block, 0, sizeBytes);
                    }
                });
                stream.getFD().sync();
            }
            rename(temporary, file);
        } finally {
            temporary.delete();
        }
    }

    /** Adds one line to a journal and syncs it. */
    public static void appendLine(File file, String line) throws IOException {
        try (FileOutputStream stream = new FileOutputStream(file, true)) {
            stream.write((line + "\n").getBytes(UTF_8));
            stream.getFD().sync();
        }
    }

    private static void rename(File temporary, File file) throws IOException {
        if (!temporary.renameTo(file)) {
            throw new IOException("cannot rename " + temporary.getName() + " to " + file.getPath());
        }
    }

    private static void pump(InputStream source, Sink sink) throws IOException {
        byte[] block = new byte[BLOCK_BYTES];
        for (int sizeBytes = source.read(block); sizeBytes >= 0; sizeBytes = source.read(block)) {
            sink.take(block, sizeBytes);
        }
    }

    private static MessageDigest sha256Digest() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new AssertionError("every Java platform has SHA-256", error);
        }
    }

    private static String hex(byte[] bytes) {
        StringBuilder digits = new StringBuilder();
        for (byte value : bytes) {
            digits.append(Character.forDigit(value >> 4 & 15, 16)).append(Character.forDigit(value & 15, 16));
        }
        return digits.toString();
    }
}
