package org.pocketdistill.demo.engine;

import java.nio.FloatBuffer;

import org.pocketdistill.demo.model.ModelSpec;
import org.pytorch.IValue;
import org.pytorch.LiteModuleLoader;
import org.pytorch.LitePyTorchAndroid;
import org.pytorch.Module;
import org.pytorch.Tensor;

/**
 * TorchScript's lite interpreter.
 *
 * <p>Its thread pool belongs to the process: the last model opened sets it for all.
 */
final class TorchScriptEngine implements Engine {
    private final String version;
    private final int threads;
    private final Module module;
    private final FloatBuffer input;
    private final IValue argument;
    private IValue result;

    TorchScriptEngine(ModelSpec spec, int threads, String version) throws EngineException {
        this.version = version;
        this.threads = threads;
        input = DirectBuffer.ofFloats(spec.inputLength());
        argument = IValue.from(Tensor.fromBlob(input, spec.inputShape));
        try {
            LitePyTorchAndroid.setNumThreads(threads);
            module = LiteModuleLoader.load(spec.file.getPath());
        } catch (RuntimeException error) {
            throw new EngineException("TorchScript cannot open the model", error);
        }
    }

    @Override
    public String runtime() {
        return "libtorch";
    }

    @Override
    public String runtimeVersion() {
        return version;
    }

    @Override
    public int threads() {
        return threads;
    }

    @Override
    public String accelerator() {
        return null;
    }

    @Override
    public void setInput(FloatBuffer values) {
        DirectBuffer.copy(values, input);
    }

    @Override
    public void run() throws EngineException {
        try {
            result = module.forward(argument);
        } catch (RuntimeException error) {
            throw new EngineException("TorchScript cannot run the model", error);
        }
    }

    @Override
    public void readOutput(float[] logits) throws EngineException {
        float[] found = result.toTensor().getDataAsFloatArray();
        if (found.length != logits.length) {
            throw new EngineException("the model gave " + found.length + " logits, not " + logits.length);
        }
        System.arraycopy(found, 0, logits, 0, logits.length);
    }

    @Override
    public void close() {
        module.destroy();
    }
}
