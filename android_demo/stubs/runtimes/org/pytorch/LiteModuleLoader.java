package org.pytorch;

public final class LiteModuleLoader {
    private LiteModuleLoader() {
    }

    public static native Module load(String modelPath);
}
