package org.pytorch.executorch;

import java.nio.FloatBuffer;

public abstract class Tensor {
    public static native Tensor fromBlob(FloatBuffer data, long[] shape);

    public native void copyDataInto(FloatBuffer target);

    public native long numel();
}
