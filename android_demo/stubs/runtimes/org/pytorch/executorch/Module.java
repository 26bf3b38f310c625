package org.pytorch.executorch;

public class Module implements java.io.Closeable {
    public static final int LOAD_MODE_MMAP = 1;

    private Module() {
        throw new UnsupportedOperationException();
    }

    public static native Module load(String modelPath, int loadMode, int numThreads);

    public native void loadMethod(String methodName);

    public native EValue[] forward(EValue... inputs);

    public native MethodMetadata getMethodMetadata(String name);

    public native void destroy();

    @Override
    public native void close();
}
