package org.pocketdistill.demo.model;

import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.Charset;

/** A NumPy file of float32 values, little-endian, C order: the form of an artifact's golden input and output. */
public final class NumpyArray {
    private static final byte[] MAGIC = {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
    private static final int HEADER_START = MAGIC.length + 2;

    private NumpyArray() {
    }

    /** The values' bytes as they lie in the file. */
    public static byte[] rawBytes(File file) throws IOException {
        byte[] content = WholeFile.read(file);
        for (int i = 0; i < MAGIC.length; i++) {
            if (content.length < HEADER_START || content[i] != MAGIC[i]) {
                throw new IOException(file.getName() + " is not a NumPy file of format 1.0");
            }
        }
        int headerLength = content[MAGIC.length] & 0xff | (content[MAGIC.length + 1] & 0xff) << 8;
        int start = HEADER_START + headerLength;
        if (start > content.length) {
            throw new IOException(file.getName() + " is cut off");
        }
        String header = new String(content, HEADER_START, headerLength, Charset.forName("US-ASCII"));
        if (!header.contains("'descr': '<f4'") || !header.contains("'fortran_order': False")) {
            throw new IOException(file.getName() + " does not hold float32 in C order: " + header.trim());
        }
        byte[] values = new byte[content.length - start];
        System.arraycopy(content, start, values, 0, values.length);
        return values;
    }

    public static float[] floats(File file) throws IOException {
        byte[] bytes = rawBytes(file);
        float[] values = new float[bytes.length / 4];
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values);
        return values;
    }
}
