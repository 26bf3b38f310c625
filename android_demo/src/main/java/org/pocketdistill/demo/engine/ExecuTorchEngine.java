package org.pocketdistill.demo.engine;

import java.nio.Buffer;
import java.nio.FloatBuffer;
import java.util.Locale;

import org.pocketdistill.demo.model.ModelSpec;
import org.pytorch.executorch.EValue;
import org.pytorch.executorch.Module;
import org.pytorch.executorch.Tensor;

/**
 * ExecuTorch with whatever delegate the file was lowered for.
 *
 * <p>Its thread pool belongs to the process: the last model opened sets it for all.
 */
final class ExecuTorchEngine extends BufferedEngine {
    private static final String METHOD = "forward";

    private final Module module;
    private final String backends;
    private final EValue argument;
    private final FloatBuffer output;
    private EValue[] results;

    ExecuTorchEngine(ModelSpec spec, int threads, String version) throws EngineException {
        super("executorch", version, threads, DirectBuffer.ofFloats(spec.inputLength()));
        output = DirectBuffer.ofFloats(spec.outputLength());
        argument = EValue.from(Tensor.fromBlob(input, spec.inputShape));
        try {
            module = Module.load(spec.file.getPath(), Module.LOAD_MODE_MMAP, threads);
            module.loadMethod(METHOD);
            backends = names(module.getMethodMetadata(METHOD).getBackends());
        } catch (RuntimeException error) {
            throw new EngineException("ExecuTorch cannot open the model", error);
        }
    }

    /** Backends in lower case without the word Backend, joined by +; null if there are none. */
    private static String names(String[] backendNames) {
        StringBuilder joined = new StringBuilder();
        for (String name : backendNames) {
            joined.append(joined.length() == 0 ? "" : "+").append(name.replace("Backend", ""));
        }
        return joined.length() == 0 ? null : joined.toString().toLowerCase(Locale.ROOT);
    }

    @Override
    public String accelerator() {
        return backends;
    }

    @Override
    public void run() throws EngineException {
        try {
            results = module.forward(argument);
        } catch (RuntimeException error) {
            throw new EngineException("ExecuTorch cannot run the model", error);
        }
    }

    @Override
    public void readOutput(float[] logits) throws EngineException {
        Tensor tensor = results[0].toTensor();
        requireLength(tensor.numel(), logits);
        // By its base class: FloatBuffer.clear() itself exists only from Android 14 on.
        ((Buffer) output).clear();
        tensor.copyDataInto(output);
        DirectBuffer.copy(output, logits);
    }

    @Override
    public void close() {
        module.destroy();
    }
}
