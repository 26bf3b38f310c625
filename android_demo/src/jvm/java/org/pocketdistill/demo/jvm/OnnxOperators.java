package org.pocketdistill.demo.jvm;

import java.util.Arrays;
import java.util.function.DoubleUnaryOperator;

/** The operators that our exported mobile networks are made of, as the ONNX standard (opset 18) defines them. */
final class OnnxOperators {
    /** A function of two numbers. */
    interface Binary {
        float of(float left, float right);
    }

    private OnnxOperators() {
    }

    static Tensor map(Tensor input, DoubleUnaryOperator function) {
        float[] values = new float[input.values.length];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) function.applyAsDouble(input.values[i]);
        }
        return new Tensor(input.shape, values, input.kind);
    }

    /** Element by element, with NumPy's broadcasting. */
    static Tensor combine(Tensor left, Tensor right, Binary function) {
        int rank = Math.max(left.shape.length, right.shape.length);
        int[] shape = new int[rank];
        for (int axis = 0; axis < rank; axis++) {
            shape[axis] = Math.max(side(left, axis, rank), side(right, axis, rank));
        }
        Tensor output = Tensor.zeros(shape);
        for (int i = 0; i < output.values.length; i++) {
            output.values[i] = function.of(left.values[index(left, shape, i)], right.values[index(right, shape, i)]);
        }
        return output;
    }

    private static int side(Tensor tensor, int axis, int rank) {
        int own = axis - (rank - tensor.shape.length);
        return own < 0 ? 1 : tensor.shape[own];
    }

    /** Where in {@code tensor} the value for position {@code i} of the broadcast shape lies. */
    private static int index(Tensor tensor, int[] shape, int i) {
        int index = 0;
        int stride = 1;
        int rest = i;
        for (int axis = shape.length - 1; axis >= 0; axis--) {
            int side = side(tensor, axis, shape.length);
            if (side > 1) {
                index += rest % shape[axis] * stride;
            }
            stride *= side;
            rest /= shape[axis];
        }
        return index;
    }

    /** 2D convolution of [N, C, H, W] with groups, pads (top, left, bottom, right), strides and dilations. */
    static Tensor convolve(Tensor input, Tensor weights, Tensor bias, OnnxGraph.Node node) {
        int[] pads = node.integers("pads", 0, 0, 0, 0);
        int[] strides = node.integers("strides", 1, 1);
        int[] dilations = node.integers("dilations", 1, 1);
        int groups = node.integer("group", 1);
        int height = (input.shape[2] + pads[0] + pads[2] - dilations[0] * (weights.shape[2] - 1) - 1) / strides[0] + 1;
        int width = (input.shape[3] + pads[1] + pads[3] - dilations[1] * (weights.shape[3] - 1) - 1) / strides[1] + 1;
        int outputs = weights.shape[0];
        Tensor output = Tensor.zeros(input.shape[0], outputs, height, width);
        for (int image = 0; image < input.shape[0]; image++) {
            for (int channel = 0; channel < outputs; channel++) {
                int start = (image * outputs + channel) * height * width;
                if (bias != null) {
                    Arrays.fill(output.values, start, start + height * width, bias.values[channel]);
                }
                int firstInput = channel / (outputs / groups) * weights.shape[1];
                for (int i = 0; i < weights.shape[1]; i++) {
                    int plane = (image * input.shape[1] + firstInput + i) * input.shape[2] * input.shape[3];
                    int kernel = (channel * weights.shape[1] + i) * weights.shape[2] * weights.shape[3];
                    addPlane(input, plane, weights, kernel, output, start, pads, strides, dilations);
                }
            }
        }
        return output;
    }

    private static void addPlane(
            Tensor input, int plane, Tensor weights, int kernel, Tensor output, int start, int[] pads, int[] strides,
            int[] dilations) {
        int inputHeight = input.shape[2];
        int inputWidth = input.shape[3];
        int height = output.shape[2];
        int width = output.shape[3];
        for (int ky = 0; ky < weights.shape[2]; ky++) {
            for (int kx = 0; kx < weights.shape[3]; kx++) {
                float weight = weights.values[kernel + ky * weights.shape[3] + kx];
                int left = kx * dilations[1] - pads[1];
                for (int y = 0; y < height; y++) {
                    int from = y * strides[0] + ky * dilations[0] - pads[0];
                    if (from < 0 || from >= inputHeight) {
                        continue;
                    }
                    for (int x = 0; x < width; x++) {
                        int column = x * strides[1] + left;
                        if (column >= 0 && column < inputWidth) {
                            output.values[start + y * width + x] +=
                                    weight * input.values[plane + from * inputWidth + column];
                        }
                    }
                }
            }
        }
    }

    /** Largest value of each window; pads count as minus infinity. */
    static Tensor maxPool(Tensor input, OnnxGraph.Node node) {
        int[] kernel = node.integers("kernel_shape");
        int[] pads = node.integers("pads", 0, 0, 0, 0);
        int[] strides = node.integers("strides", 1, 1);
        int height = (input.shape[2] + pads[0] + pads[2] - kernel[0]) / strides[0] + 1;
        int width = (input.shape[3] + pads[1] + pads[3] - kernel[1]) / strides[1] + 1;
        Tensor output = Tensor.zeros(input.shape[0], input.shape[1], height, width);
        for (int i = 0; i < output.values.length; i++) {
            int plane = i / (height * width) * input.shape[2] * input.shape[3];
            int top = i / width % height * strides[0] - pads[0];
            int left = i % width * strides[1] - pads[1];
            output.values[i] = largest(input, plane, top, left, kernel);
        }
        return output;
    }

    private static float largest(Tensor input, int plane, int top, int left, int[] kernel) {
        float largest = Float.NEGATIVE_INFINITY;
        for (int y = Math.max(0, top); y < Math.min(input.shape[2], top + kernel[0]); y++) {
            for (int x = Math.max(0, left); x < Math.min(input.shape[3], left + kernel[1]); x++) {
                largest = Math.max(largest, input.values[plane + y * input.shape[3] + x]);
            }
        }
        return largest;
    }

    /** Height and width of [N, C, H, W] anew, linear between the middles of pixels; the edge's values reach beyond it. */
    static Tensor resize(Tensor input, int height, int width) {
        Tensor output = Tensor.zeros(input.shape[0], input.shape[1], height, width);
        int sourceHeight = input.shape[2];
        int sourceWidth = input.shape[3];
        for (int i = 0; i < output.values.length; i++) {
            float y = place(i / width % height, height, sourceHeight);
            float x = place(i % width, width, sourceWidth);
            int plane = i / (height * width) * sourceHeight * sourceWidth;
            int top = plane + (int) y * sourceWidth;
            int bottom = plane + Math.min((int) y + 1, sourceHeight - 1) * sourceWidth;
            int left = (int) x;
            int right = Math.min(left + 1, sourceWidth - 1);
            float across = x - left;
            float upper = (1 - across) * input.values[top + left] + across * input.values[top + right];
            float lower = (1 - across) * input.values[bottom + left] + across * input.values[bottom + right];
            float down = y - (int) y;
            output.values[i] = (1 - down) * upper + down * lower;
        }
        return output;
    }

    /** Where the middle of a pixel lies among the source's, at least 0 and at most its last. */
    private static float place(int pixel, int side, int sourceSide) {
        float scale = (float) side / sourceSide;
        return Math.max(0, Math.min(sourceSide - 1, (pixel + 0.5f) / scale - 0.5f));
    }

    /** alpha * A * B + beta * C for matrices, A and B transposed if the node says so. */
    static Tensor gemm(Tensor a, Tensor b, Tensor c, OnnxGraph.Node node) {
        boolean transA = node.integer("transA", 0) != 0;
        boolean transB = node.integer("transB", 0) != 0;
        int rows = a.shape[transA ? 1 : 0];
        int inner = a.shape[transA ? 0 : 1];
        int columns = b.shape[transB ? 0 : 1];
        float alpha = node.number("alpha", 1);
        Tensor product = Tensor.zeros(rows, columns);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                float sum = 0;
                for (int k = 0; k < inner; k++) {
                    float left = a.values[transA ? k * rows + row : row * inner + k];
                    sum += left * b.values[transB ? column * inner + k : k * columns + column];
                }
                product.values[row * columns + column] = alpha * sum;
            }
        }
        float beta = node.number("beta", 1);
        return c == null ? product : combine(product, c, (left, right) -> left + beta * right);
    }

    /** Mean over the last two axes of [N, C, H, W]. */
    static Tensor spatialMean(Tensor input, boolean keepSides) {
        int area = input.shape[2] * input.shape[3];
        float[] means = new float[input.shape[0] * input.shape[1]];
        for (int i = 0; i < means.length; i++) {
            double sum = 0;
            for (int k = 0; k < area; k++) {
                sum += input.values[i * area + k];
            }
            means[i] = (float) (sum / area);
        }
        Tensor output = new Tensor(new int[] {input.shape[0], input.shape[1]}, means, Tensor.FLOAT);
        return keepSides ? output.withShape(input.shape[0], input.shape[1], 1, 1) : output;
    }

    /** To integers: divided by the scale, rounded half to even, shifted, clipped to the zero point's type. */
    static Tensor quantize(Tensor input, Tensor scale, Tensor zeroPoint, int axis) {
        int low = zeroPoint.kind == Tensor.UINT8 ? 0 : -128;
        int high = zeroPoint.kind == Tensor.UINT8 ? 255 : 127;
        float[] values = new float[input.values.length];
        for (int i = 0; i < values.length; i++) {
            int channel = channel(input, scale, axis, i);
            double shifted = Math.rint(input.values[i] / scale.values[channel]) + zeroPoint.values[channel];
            values[i] = (float) Math.max(low, Math.min(high, shifted));
        }
        return new Tensor(input.shape, values, zeroPoint.kind);
    }

    /** Back from integers; a missing zero point is 0. */
    static Tensor dequantize(Tensor input, Tensor scale, Tensor zeroPoint, int axis) {
        float[] values = new float[input.values.length];
        for (int i = 0; i < values.length; i++) {
            int channel = channel(input, scale, axis, i);
            float zero = zeroPoint == null ? 0 : zeroPoint.values[channel];
            values[i] = (input.values[i] - zero) * scale.values[channel];
        }
        return new Tensor(input.shape, values, Tensor.FLOAT);
    }

    private static int channel(Tensor input, Tensor scale, int axis, int i) {
        if (scale.values.length == 1) {
            return 0;
        }
        int inner = 1;
        for (int later = axis + 1; later < input.shape.length; later++) {
            inner *= input.shape[later];
        }
        return i / inner % input.shape[axis];
    }

    /** The new shape may say 0 for "as before" and -1 for "the rest". */
    static Tensor reshape(Tensor input, int[] wanted) {
        int[] shape = wanted.clone();
        int known = 1;
        int open = -1;
        for (int axis = 0; axis < shape.length; axis++) {
            shape[axis] = shape[axis] == 0 ? input.shape[axis] : shape[axis];
            if (shape[axis] == -1) {
                open = axis;
            } else {
                known *= shape[axis];
            }
        }
        if (open >= 0) {
            shape[open] = input.values.length / known;
        }
        return input.withShape(shape);
    }
}
