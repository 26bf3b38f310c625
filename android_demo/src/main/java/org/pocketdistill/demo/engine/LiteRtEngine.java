package org.pocketdistill.demo.engine;

import java.nio.FloatBuffer;
import java.util.List;

import com.google.ai.edge.litert.Accelerator;
import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.LiteRtException;
import com.google.ai.edge.litert.TensorBuffer;
import org.pocketdistill.demo.model.ModelSpec;

/** LiteRT's compiled model on the CPU, which means XNNPACK. */
final class LiteRtEngine extends BufferedEngine {
    private final CompiledModel model;
    private final List<TensorBuffer> inputs;
    private final List<TensorBuffer> outputs;

    LiteRtEngine(ModelSpec spec, int threads, String version) throws EngineException {
        super("litert", version, threads, FloatBuffer.wrap(new float[spec.inputLength()]));
        CompiledModel.Options options = new CompiledModel.Options(Accelerator.CPU);
        options.setCpuOptions(new CompiledModel.CpuOptions(threads, null, null));
        try {
            model = CompiledModel.create(spec.file.getPath(), options);
            inputs = model.createInputBuffers();
            outputs = model.createOutputBuffers();
        } catch (LiteRtException error) {
            throw new EngineException("LiteRT cannot open the model", error);
        }
    }

    @Override
    public String accelerator() {
        return "xnnpack";
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
