package org.pytorch.executorch;

public class MethodMetadata {
    private MethodMetadata() {
        throw new UnsupportedOperationException();
    }

    public native String[] getBackends();
}
