package org.pocketdistill.demo.engine;

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
final class TorchScriptEngine extends BufferedEngine {
    private final Module module;
    private final IValue argument;
    private IValue result;

    TorchScriptEngine(ModelSpec spec, int threads, String version) throws EngineException {
        super("libtorch", version, threads, DirectBuffer.ofFloats(spec.inputLength()));
        argument = IValue.from(Tensor.fromBlob(input, spec.inputShape));
        try {
            LitePyTorchAndroid.setNumThreads(threads);
            module = LiteModuleLoader.load(spec.file.getPath());
        } catch (RuntimeException error) {
            throw new EngineException("TorchScript cannot open the model", error);
        }
    }

    @Override
    public String accelerator() {
        return null;
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
        copyLogits(result.toTensor().getDataAsFloatArray(), logits);
    }

    @Override
    public void close() {
        module.destroy();
    }
}
