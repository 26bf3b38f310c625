package com.google.ai.edge.litert;

import java.util.List;

public final class CompiledModel implements AutoCloseable {
    private CompiledModel() {
        throw new UnsupportedOperationException();
    }

    public static native CompiledModel create(String filePath, Options options) throws LiteRtException;

    public native List<TensorBuffer> createInputBuffers() throws LiteRtException;

    public native List<TensorBuffer> createOutputBuffers() throws LiteRtException;

    public native void run(List<TensorBuffer> inputs, List<TensorBuffer> outputs) throws LiteRtException;

    @Override
    public native void close();

    public static final class CpuOptions {
        public CpuOptions(Integer numThreads, Integer xnnPackFlags, String xnnPackWeightCachePath) {
            throw new UnsupportedOperationException();
        }
    }

    public static final class Options {
        public Options(Accelerator... accelerators) {
            throw new UnsupportedOperationException();
        }

        public native void setCpuOptions(CpuOptions options);
    }
}
