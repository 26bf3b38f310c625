package org.pytorch.executorch;

public class EValue {
    private EValue() {
        throw new UnsupportedOperationException();
    }

    public static native EValue from(Tensor tensor);

    public native Tensor toTensor();
}
