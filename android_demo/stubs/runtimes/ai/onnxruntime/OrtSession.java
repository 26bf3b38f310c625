package ai.onnxruntime;

import java.util.Map;

public class OrtSession implements AutoCloseable {
    private OrtSession() {
        throw new UnsupportedOperationException();
    }

    public native Result run(
            Map<String, ? extends OnnxTensorLike> inputs, Map<String, ? extends OnnxValue> pinnedOutputs)
            throws OrtException;

    @Override
    public native void close() throws OrtException;

    public static class SessionOptions implements AutoCloseable {
        public native void setIntraOpNumThreads(int numThreads) throws OrtException;

        public native void setInterOpNumThreads(int numThreads) throws OrtException;

        public native void addConfigEntry(String configKey, String configValue) throws OrtException;

        @Override
        public native void close();
    }

    public static class Result implements AutoCloseable {
        private Result() {
            throw new UnsupportedOperationException();
        }

        @Override
        public native void close();
    }
}
