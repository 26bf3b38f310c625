package org.pytorch;

public final class LitePyTorchAndroid {
    private LitePyTorchAndroid() {
    }

    public static native void setNumThreads(int numThreads);
}
