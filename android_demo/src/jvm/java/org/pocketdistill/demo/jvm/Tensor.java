package org.pocketdistill.demo.jvm;

import java.util.Arrays;

/** Values in C order with their shape. Integers of a file are held as floats too; `kind` remembers what they were. */
final class Tensor {
    /** ONNX's numbers of the element types we read. */
    static final int FLOAT = 1;
    static final int UINT8 = 2;
    static final int INT8 = 3;
    static final int INT32 = 6;
    static final int INT64 = 7;

    final int[] shape;
    final float[] values;
    final int kind;

    Tensor(int[] shape, float[] values, int kind) {
        if (length(shape) != values.length) {
            throw new IllegalArgumentException(values.length + " values for the shape " + Arrays.toString(shape));
        }
        this.shape = shape;
        this.values = values;
        this.kind = kind;
    }

    static Tensor zeros(int... shape) {
        return new Tensor(shape, new float[length(shape)], FLOAT);
    }

    static int length(int[] shape) {
        int product = 1;
        for (int side : shape) {
            product *= side;
        }
        return product;
    }

    Tensor withShape(int... newShape) {
        return new Tensor(newShape, values, kind);
    }

    /** The values as integers: axes and shapes. */
    int[] integers() {
        int[] integers = new int[values.length];
        for (int i = 0; i < integers.length; i++) {
            integers[i] = (int) values[i];
        }
        return integers;
    }
}
