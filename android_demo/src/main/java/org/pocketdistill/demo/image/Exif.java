package org.pocketdistill.demo.image;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * How a picture is turned, by its EXIF tag: the rule of {@code distill.vision.pictures}. Read from JPEG, PNG and WebP;
 * the platform turns HEIF and AVIF itself. XMP is not asked.
 */
public final class Exif {
    /** Nothing is turned or mirrored. */
    public static final int UPRIGHT = 1;

    private static final int ORIENTATION_TAG = 274;
    private static final int SHORT = 3;
    private static final int LONG = 4;
    private static final byte[] PREFIX = "Exif\0\0".getBytes(StandardCharsets.US_ASCII);
    /** More than any EXIF block has; a larger length is a damaged one. */
    private static final int MOST_BYTES = 1 << 24;

    private Exif() {
    }

    /**
     * The orientation that a picture file states, 1 to 8 as EXIF numbers them; {@link #UPRIGHT} if it states none or a
     * damaged one.
     *
     * @throws IOException the stream cannot be read; that a file is cut off is no such case.
     */
    public static int orientation(InputStream picture) throws IOException {
        DataInputStream stream = new DataInputStream(picture);
        try {
            int start = stream.readInt();
            if (start >>> 16 == 0xffd8) {
                return ofJpeg(stream, start & 0xffff);
            }
            if (start == 0x89504e47) {
                return ofPng(stream);
            }
            return start == 0x52494646 ? ofWebp(stream) : UPRIGHT;
        } catch (EOFException cutOff) {
            return UPRIGHT;
        }
    }

    private static int ofJpeg(DataInputStream stream, int firstMarker) throws IOException {
        int marker = firstMarker;
        while (true) {
            while (marker == 0xffff) {
                marker = 0xff00 | stream.readUnsignedByte();
            }
            boolean isEndOfHead = marker == 0xffda || marker == 0xffd9;
            if (marker >>> 8 != 0xff || isEndOfHead) {
                return UPRIGHT;
            }
            boolean hasNoContent = marker == 0xff01 || (marker >= 0xffd0 && marker <= 0xffd7);
            if (!hasNoContent) {
                int length = stream.readUnsignedShort() - 2;
                if (marker == 0xffe1) {
                    byte[] content = read(stream, length);
                    if (startsWithPrefix(content)) {
                        return ofBlock(content);
                    }
                } else {
                    skip(stream, length);
                }
            }
            marker = stream.readUnsignedShort();
        }
    }

    private static int ofPng(DataInputStream stream) throws IOException {
        skip(stream, 4);
        while (true) {
            int length = stream.readInt();
            int name = stream.readInt();
            if (name == 0x65584966) {
                return ofBlock(read(stream, length));
            }
            skip(stream, length);
            skip(stream, 4);
        }
    }

    private static int ofWebp(DataInputStream stream) throws IOException {
        skip(stream, 4);
        if (stream.readInt() != 0x57454250) {
            return UPRIGHT;
        }
        while (true) {
            int name = stream.readInt();
            int length = Integer.reverseBytes(stream.readInt());
            if (name == 0x45584946) {
                return ofBlock(read(stream, length));
            }
            skip(stream, length);
            skip(stream, length & 1);
        }
    }

    /** A TIFF head and its first directory, behind the prefix or not. */
    private static int ofBlock(byte[] block) {
        int start = startsWithPrefix(block) ? PREFIX.length : 0;
        ByteBuffer tiff = ByteBuffer.wrap(block, start, block.length - start).slice();
        try {
            int order = tiff.getShort();
            if (order != 0x4949 && order != 0x4d4d) {
                return UPRIGHT;
            }
            tiff.order(order == 0x4949 ? ByteOrder.LITTLE_ENDIAN : ByteOrder.BIG_ENDIAN);
            if (tiff.getShort() != 42) {
                return UPRIGHT;
            }
            tiff.position(tiff.getInt());
            int entries = tiff.getShort() & 0xffff;
            for (int entry = 0; entry < entries; entry++) {
                int tag = tiff.getShort() & 0xffff;
                int type = tiff.getShort();
                tiff.getInt();
                int place = tiff.position();
                tiff.getInt();
                if (tag == ORIENTATION_TAG && (type == SHORT || type == LONG)) {
                    int value = type == SHORT ? tiff.getShort(place) & 0xffff : tiff.getInt(place);
                    return value >= 1 && value <= 8 ? value : UPRIGHT;
                }
            }
        } catch (BufferUnderflowException | IllegalArgumentException damaged) {
            return UPRIGHT;
        }
        return UPRIGHT;
    }

    private static boolean startsWithPrefix(byte[] content) {
        if (content.length < PREFIX.length) {
            return false;
        }
        for (int i = 0; i < PREFIX.length; i++) {
            if (content[i] != PREFIX[i]) {
                return false;
            }
        }
        return true;
    }

    private static byte[] read(DataInputStream stream, int length) throws IOException {
        if (length < 0 || length > MOST_BYTES) {
            throw new EOFException();
        }
        byte[] content = new byte[length];
        stream.readFully(content);
        return content;
    }

    private static void skip(DataInputStream stream, int length) throws IOException {
        if (length < 0) {
            throw new EOFException();
        }
        int left = length;
        while (left > 0) {
            int skipped = stream.skipBytes(left);
            if (skipped <= 0) {
                stream.readByte();
                skipped = 1;
            }
            left -= skipped;
        }
    }
}
