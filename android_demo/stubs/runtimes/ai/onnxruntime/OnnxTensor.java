package ai.onnxruntime;

import java.nio.FloatBuffer;

public class OnnxTensor extends OnnxTensorLike {
    private OnnxTensor() {
        throw new UnsupportedOperationException();
    }

    public static native OnnxTensor createTensor(OrtEnvironment environment, FloatBuffer data, long[] shape)
            throws OrtException;

    @Override
    public native void close();
}
