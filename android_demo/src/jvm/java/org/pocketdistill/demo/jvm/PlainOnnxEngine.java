package org.pocketdistill.demo.jvm;

import java.io.IOException;
import java.nio.FloatBuffer;
import java.util.HashMap;
import java.util.Map;

import org.pocketdistill.demo.engine.Engine;
import org.pocketdistill.demo.engine.EngineException;
import org.pocketdistill.demo.model.ModelSpec;
import org.pocketdistill.demo.model.WholeFile;

/**
 * Runs ONNX files, fp32 and int8 (QDQ), in plain Java on one thread: right, not fast. It stands in for ONNX Runtime on
 * machines that are no phone, where no build of it for Java is to be had; its times say nothing about a phone.
 */
final class PlainOnnxEngine implements Engine {
    private final ModelSpec spec;
    private final OnnxGraph graph;
    private final Map<String, Tensor> constants = new HashMap<>();
    private final float[] input;
    private Tensor output;

    PlainOnnxEngine(ModelSpec spec) throws EngineException {
        this.spec = spec;
        input = new float[spec.inputLength()];
        try {
            graph = OnnxGraph.read(WholeFile.read(spec.file));
        } catch (IOException error) {
            throw new EngineException("cannot open the model", error);
        }
        constants.putAll(graph.constants);
        foldConstants();
    }

    /** What depends on constants alone is computed once: the weights of an int8 model. */
    private void foldConstants() throws EngineException {
        for (OnnxGraph.Node node : graph.nodes) {
            if (constants.keySet().containsAll(node.inputs)) {
                constants.put(node.outputs.get(0), apply(node, constants));
            }
        }
    }

    @Override
    public String runtime() {
        return "plain-java";
    }

    @Override
    public String runtimeVersion() {
        return "1";
    }

    @Override
    public int threads() {
        return 1;
    }

    @Override
    public String accelerator() {
        return null;
    }

    @Override
    public void setInput(FloatBuffer values) {
        for (int i = 0; i < input.length; i++) {
            input[i] = values.get(i);
        }
    }

    @Override
    public void run() throws EngineException {
        int[] shape = new int[spec.inputShape.length];
        for (int axis = 0; axis < shape.length; axis++) {
            shape[axis] = (int) spec.inputShape[axis];
        }
        Map<String, Tensor> values = new HashMap<>(constants);
        values.put(spec.inputName, new Tensor(shape, input, Tensor.FLOAT));
        for (OnnxGraph.Node node : graph.nodes) {
            if (!values.containsKey(node.outputs.get(0))) {
                values.put(node.outputs.get(0), apply(node, values));
            }
        }
        output = values.get(spec.outputName);
        if (output == null) {
            throw new EngineException("the model has no output named " + spec.outputName);
        }
    }

    @Override
    public void readOutput(float[] logits) throws EngineException {
        if (output.values.length != logits.length) {
            throw new EngineException("the model gave " + output.values.length + " logits, not " + logits.length);
        }
        System.arraycopy(output.values, 0, logits, 0, logits.length);
    }

    @Override
    public void close() {
    }

    private static Tensor apply(OnnxGraph.Node node, Map<String, Tensor> values) throws EngineException {
        Tensor first = argument(node, values, 0);
        Tensor second = argument(node, values, 1);
        Tensor third = argument(node, values, 2);
        if (first == null) {
            throw new EngineException("a value is used before it is computed: " + node.inputs);
        }
        switch (node.operator) {
            case "Conv":
                return OnnxOperators.convolve(first, second, third, node);
            case "Gemm":
                return OnnxOperators.gemm(first, second, third, node);
            case "MaxPool":
                return OnnxOperators.maxPool(first, node);
            case "Add":
                return OnnxOperators.combine(first, second, (left, right) -> left + right);
            case "Sub":
                return OnnxOperators.combine(first, second, (left, right) -> left - right);
            case "Mul":
                return OnnxOperators.combine(first, second, (left, right) -> left * right);
            case "Div":
                return OnnxOperators.combine(first, second, (left, right) -> left / right);
            case "Relu":
                return OnnxOperators.map(first, value -> Math.max(0, value));
            case "Sigmoid":
                return OnnxOperators.map(first, value -> 1 / (1 + Math.exp(-value)));
            case "HardSigmoid":
                return hardSigmoid(first, node.number("alpha", 0.2f), node.number("beta", 0.5f));
            case "HardSwish":
                return OnnxOperators.combine(first, hardSigmoid(first, 1 / 6f, 0.5f), (left, right) -> left * right);
            case "Clip":
                return clip(first, second, third);
            case "ReduceMean":
                requireSpatial(second, first.shape.length);
                return OnnxOperators.spatialMean(first, node.integer("keepdims", 1) != 0);
            case "GlobalAveragePool":
                return OnnxOperators.spatialMean(first, true);
            case "Resize":
                return resized(first, argument(node, values, 3), node);
            case "Reshape":
                return OnnxOperators.reshape(first, second.integers());
            case "Flatten":
                return OnnxOperators.reshape(first, new int[] {first.shape[0], -1});
            case "QuantizeLinear":
                return OnnxOperators.quantize(first, second, third, node.integer("axis", 1));
            case "DequantizeLinear":
                return OnnxOperators.dequantize(first, second, third, node.integer("axis", 1));
            default:
                throw new EngineException("this engine has no operator " + node.operator);
        }
    }

    private static Tensor argument(OnnxGraph.Node node, Map<String, Tensor> values, int number) {
        return number < node.inputs.size() ? values.get(node.inputs.get(number)) : null;
    }

    private static Tensor hardSigmoid(Tensor input, float alpha, float beta) {
        return OnnxOperators.map(input, value -> Math.max(0, Math.min(1, alpha * value + beta)));
    }

    private static Tensor clip(Tensor input, Tensor low, Tensor high) {
        double least = low == null ? Double.NEGATIVE_INFINITY : low.values[0];
        double most = high == null ? Double.POSITIVE_INFINITY : high.values[0];
        return OnnxOperators.map(input, value -> Math.max(least, Math.min(most, value)));
    }

    private static Tensor resized(Tensor input, Tensor sizes, OnnxGraph.Node node) throws EngineException {
        String mode = node.text("mode", "nearest");
        String places = node.text("coordinate_transformation_mode", "half_pixel");
        int[] shape = sizes == null ? new int[0] : sizes.integers();
        boolean isKnown = mode.equals("linear") && places.equals("half_pixel") && input.shape.length == 4
                && shape.length == 4 && shape[0] == input.shape[0] && shape[1] == input.shape[1];
        if (!isKnown) {
            throw new EngineException("this engine resizes height and width to given sizes only, linear, by half pixels");
        }
        return OnnxOperators.resize(input, shape[2], shape[3]);
    }

    private static void requireSpatial(Tensor axes, int rank) throws EngineException {
        int[] found = axes == null ? new int[0] : axes.integers();
        boolean isSpatial = rank == 4 && found.length == 2
                && Math.floorMod(found[0], rank) >= 2 && Math.floorMod(found[1], rank) >= 2 && found[0] != found[1];
        if (!isSpatial) {
            throw new EngineException("this engine takes means over height and width only");
        }
    }
}
