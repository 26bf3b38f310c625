package org.pocketdistill.demo.engine;

import java.nio.FloatBuffer;
import java.util.Collections;
import java.util.Map;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import org.pocketdistill.demo.model.ModelSpec;

/** ONNX Runtime with its own CPU kernels; input and output memory is bound once. */
final class OnnxRuntimeEngine extends BufferedEngine {
    private final OrtSession session;
    private final FloatBuffer output;
    private final OnnxTensor inputTensor;
    private final OnnxTensor outputTensor;
    private final Map<String, OnnxTensor> inputs;
    private final Map<String, OnnxTensor> outputs;

    OnnxRuntimeEngine(ModelSpec spec, int threads, String version) throws EngineException {
        super("onnxruntime", version, threads, DirectBuffer.ofFloats(spec.inputLength()));
        output = DirectBuffer.ofFloats(spec.outputLength());
        OrtEnvironment environment = OrtEnvironment.getEnvironment();
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setIntraOpNumThreads(threads);
            options.setInterOpNumThreads(1);
            // Threads that spin between calls take the processor from the camera and the screen.
            options.addConfigEntry("session.intra_op.allow_spinning", "0");
            session = environment.createSession(spec.file.getPath(), options);
            inputTensor = OnnxTensor.createTensor(environment, input, spec.inputShape);
            outputTensor = OnnxTensor.createTensor(environment, output, spec.outputShape);
        } catch (OrtException error) {
            throw new EngineException("ONNX Runtime cannot open the model", error);
        }
        inputs = Collections.singletonMap(spec.inputName, inputTensor);
        outputs = Collections.singletonMap(spec.outputName, outputTensor);
    }

    @Override
    public String accelerator() {
        return "cpu";
    }

    @Override
    public void run() throws EngineException {
        try {
            session.run(inputs, outputs).close();
        } catch (OrtException error) {
            throw new EngineException("ONNX Runtime cannot run the model", error);
        }
    }

    @Override
    public void readOutput(float[] logits) {
        DirectBuffer.copy(output, logits);
    }

    @Override
    public void close() {
        inputTensor.close();
        outputTensor.close();
        try {
            session.close();
        } catch (OrtException error) {
            throw new IllegalStateException(error);
        }
    }
}
