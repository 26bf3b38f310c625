package org.pocketdistill.demo.engine;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/** Memory outside the Java heap, in native order: the only kind that runtimes read without copying. */
public final class DirectBuffer {
    private DirectBuffer() {
    }

    public static FloatBuffer ofFloats(int length) {
        return ByteBuffer.allocateDirect(4 * length).order(ByteOrder.nativeOrder()).asFloatBuffer();
    }

    /** Copies {@code target.capacity()} values from index 0 on; no position is used or moved. */
    static void copy(FloatBuffer source, FloatBuffer target) {
        for (int i = 0; i < target.capacity(); i++) {
            target.put(i, source.get(i));
        }
    }

    /** Copies {@code target.length} values from index 0 on; no position is used or moved. */
    static void copy(FloatBuffer source, float[] target) {
        for (int i = 0; i < target.length; i++) {
            target[i] = source.get(i);
        }
    }
}
