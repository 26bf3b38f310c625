package org.pocketdistill.demo.model;

import java.io.File;

/** What an engine must know to open a model. */
public final class ModelSpec {
    /** The toolkit's name of the format: executorch, onnx, litert or torchscript. */
    public final String format;
    public final File file;
    public final String inputName;
    /** [batch, channels, height, width]. */
    public final long[] inputShape;
    public final String outputName;
    /** [batch, classes], or [batch, classes, height, width]. */
    public final long[] outputShape;
    /** What is asked to run it, e.g. gpu; null for the runtime as it comes. */
    public final String accelerator;

    /** For the runtime as it comes. */
    public ModelSpec(
            String format, File file, String inputName, long[] inputShape, String outputName, long[] outputShape) {
        this(format, file, inputName, inputShape, outputName, outputShape, null);
    }

    public ModelSpec(
            String format, File file, String inputName, long[] inputShape, String outputName, long[] outputShape,
            String accelerator) {
        this.format = format;
        this.file = file;
        this.inputName = inputName;
        this.inputShape = inputShape.clone();
        this.outputName = outputName;
        this.outputShape = outputShape.clone();
        this.accelerator = accelerator;
    }

    /** Number of input values. */
    public int inputLength() {
        return length(inputShape);
    }

    /** Number of output values. */
    public int outputLength() {
        return length(outputShape);
    }

    private static int length(long[] shape) {
        long product = 1;
        for (long side : shape) {
            product *= side;
        }
        return (int) product;
    }
}
