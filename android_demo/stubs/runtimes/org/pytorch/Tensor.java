package org.pytorch;

import java.nio.FloatBuffer;

public abstract class Tensor {
    public static native Tensor fromBlob(FloatBuffer data, long[] shape);

    public native float[] getDataAsFloatArray();
}
