package org.pocketdistill.demo.engine;

import java.nio.FloatBuffer;
import java.util.List;

import com.google.ai.edge.litert.Accelerator;
import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.LiteRtException;
import com.google.ai.edge.litert.TensorBuffer;
import org.pocketdistill.demo.model.ModelSpec;

/**
 * LiteRT's compiled model on the CPU, which means XNNPACK, or on the GPU where that is asked for.
 *
 * <p>On a GPU its Java interface does not tell which operations went there; its log does, and the host reads it.
 */
final class LiteRtEngine extends BufferedEngine {
    private final CompiledModel model;
    private final List<TensorBuffer> inputs;
    private final List<TensorBuffer> outputs;
    private final boolean isOnGpu;

    LiteRtEngine(ModelSpec spec, int threads, String version) throws EngineException {
        super("litert", version, threads, FloatBuffer.wrap(new float[spec.inputLength()]));
        isOnGpu = "gpu".equals(spec.accelerator);
        CompiledModel.Options options = new CompiledModel.Options(isOnGpu ? Accelerator.GPU : Accelerator.CPU);
        if (!isOnGpu) {
            options.setCpuOptions(new CompiledModel.CpuOptions(threads, null, null));
        }
        try {
            model = CompiledModel.create(spec.file.getPath(), options);
            inputs = model.createInputBuffers();
            outputs = model.createOutputBuffers();
        } catch (LiteRtException error) {
            throw new EngineException("LiteRT cannot open the model" + (isOnGpu ? " on the GPU" : ""), error);
        }
    }

    @Override
    public String accelerator() {
        return isOnGpu ? null : "xnnpack";
    }

    @Override
    public void setInput(FloatBuffer values) throws EngineException {
        super.setInput(values);
        try {
            inputs.get(0).writeFloat(input.array());
        } catch (LiteRtException error) {
            throw new EngineException("LiteRT does not take the input", error);
        }
    }

    @Override
    public void run() throws EngineException {
        try {
            model.run(inputs, outputs);
        } catch (LiteRtException error) {
            throw new EngineException("LiteRT cannot run the model", error);
        }
    }

    @Override
    public void readOutput(float[] logits) throws EngineException {
        try {
            copyLogits(outputs.get(0).readFloat(), logits);
        } catch (LiteRtException error) {
            throw new EngineException("LiteRT does not give the output", error);
        }
    }

    @Override
    public void close() {
        for (TensorBuffer buffer : inputs) {
            buffer.close();
        }
        for (TensorBuffer buffer : outputs) {
            buffer.close();
        }
        model.close();
    }
}
