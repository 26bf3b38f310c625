package org.pytorch;

public class Module {
    private Module() {
        throw new UnsupportedOperationException();
    }

    public native IValue forward(IValue... inputs);

    public native void destroy();
}
