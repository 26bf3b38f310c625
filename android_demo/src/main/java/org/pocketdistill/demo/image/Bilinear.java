package org.pocketdistill.demo.image;

/**
 * One axis of Pillow's BILINEAR resize for 8-bit values, which widens the triangle when it shrinks (antialiasing).
 *
 * <p>Source of the arithmetic: Pillow's {@code libImaging/Resample.c}: weights are normalised in double precision, then
 * rounded to fixed point with 22 fractional bits; sums are integers, rounded once and clipped to [0, 255].
 */
final class Bilinear {
    private static final int FRACTION_BITS = 32 - 8 - 2;
    private static final int HALF = 1 << (FRACTION_BITS - 1);

    /** First source index of each output position. */
    private final int[] first;
    /** Weights of each output position, from {@code first} on. */
    private final int[][] weights;

    /** From {@code inputSize} to {@code outputSize} values, both at least 1. */
    Bilinear(int inputSize, int outputSize) {
        first = new int[outputSize];
        weights = new int[outputSize][];
        double scale = (double) inputSize / outputSize;
        double support = Math.max(scale, 1.0);
        for (int position = 0; position < outputSize; position++) {
            double centre = (position + 0.5) * scale;
            first[position] = Math.max(0, (int) (centre - support + 0.5));
            int end = Math.min(inputSize, (int) (centre + support + 0.5));
            weights[position] = fixedPoint(triangle(first[position], end, centre, support));
        }
    }

    private static double[] triangle(int first, int end, double centre, double support) {
        double[] values = new double[end - first];
        double inverseSupport = 1.0 / support;
        double sum = 0;
        for (int i = 0; i < values.length; i++) {
            double distance = Math.abs((i + first - centre + 0.5) * inverseSupport);
            values[i] = distance < 1.0 ? 1.0 - distance : 0.0;
            sum += values[i];
        }
        for (int i = 0; i < values.length; i++) {
            values[i] /= sum;
        }
        return values;
    }

    private static int[] fixedPoint(double[] values) {
        int[] rounded = new int[values.length];
        for (int i = 0; i < values.length; i++) {
            rounded[i] = (int) (0.5 + values[i] * (1 << FRACTION_BITS));
        }
        return rounded;
    }

    /**
     * Resizes one line of 8-bit values.
     *
     * @param source values; the line is {@code source[start + i * stride]}, i from 0.
     * @param target receives output i at {@code target[targetStart + i * targetStride]}.
     */
    void resize(byte[] source, int start, int stride, byte[] target, int targetStart, int targetStride) {
        for (int position = 0; position < first.length; position++) {
            int[] weight = weights[position];
            int index = start + first[position] * stride;
            int sum = HALF;
            for (int i = 0; i < weight.length; i++) {
                sum += (source[index] & 0xff) * weight[i];
                index += stride;
            }
            target[targetStart + position * targetStride] = (byte) clip(sum >> FRACTION_BITS);
        }
    }

    private static int clip(int value) {
        return Math.max(0, Math.min(255, value));
    }
}
