package com.google.ai.edge.litert;

public final class TensorBuffer implements AutoCloseable {
    private TensorBuffer() {
        throw new UnsupportedOperationException();
    }

    public native void writeFloat(float[] data) throws LiteRtException;

    public native float[] readFloat() throws LiteRtException;

    @Override
    public native void close();
}
