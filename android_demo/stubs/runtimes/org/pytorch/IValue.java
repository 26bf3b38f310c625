package org.pytorch;

public class IValue {
    private IValue() {
        throw new UnsupportedOperationException();
    }

    public static native IValue from(Tensor tensor);

    public native Tensor toTensor();
}
