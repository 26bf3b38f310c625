package org.pocketdistill.demo.engine;

import java.nio.FloatBuffer;

/** What all engines repeat: what they are called, and one input buffer that is filled again for every call. */
abstract class BufferedEngine implements Engine {
    /** Batch x channels x height x width, from position 0 on. */
    final FloatBuffer input;

    private final String runtime;
    private final String version;
    private final int threads;

    BufferedEngine(String runtime, String version, int threads, FloatBuffer input) {
        this.runtime = runtime;
        this.version = version;
        this.threads = threads;
        this.input = input;
    }

    /** Copies {@code output} into {@code logits} if it is of that length. */
    static void copyLogits(float[] output, float[] logits) throws EngineException {
        requireLength(output.length, logits);
        System.arraycopy(output, 0, logits, 0, logits.length);
    }

    static void requireLength(long length, float[] logits) throws EngineException {
        if (length != logits.length) {
            throw new EngineException("the model gave " + length + " logits, not " + logits.length);
        }
    }

    @Override
    public final String runtime() {
        return runtime;
    }

    @Override
    public final String runtimeVersion() {
        return version;
    }

    @Override
    public final int threads() {
        return threads;
    }

    @Override
    public void setInput(FloatBuffer values) throws EngineException {
        DirectBuffer.copy(values, input);
    }
}
