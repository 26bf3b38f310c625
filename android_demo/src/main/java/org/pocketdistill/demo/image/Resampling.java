package org.pocketdistill.demo.image;

/**
 * One axis of Pillow's resize of 8-bit values, which widens the filter when it shrinks (antialiasing).
 *
 * <p>Source of the arithmetic: Pillow's {@code libImaging/Resample.c}: the ends of what is resized are single precision,
 * weights are normalised in double precision, then rounded to fixed point with 22 fractional bits; sums are integers,
 * rounded once and clipped to [0, 255].
 */
final class Resampling {
    private static final int FRACTION_BITS = 32 - 8 - 2;
    private static final int HALF = 1 << (FRACTION_BITS - 1);

    /** First source index of each output position. */
    private final int[] first;
    /** Weights of each output position, from {@code first} on. */
    private final int[][] weights;

    /**
     * From the part of {@code inputSize} values between {@code from} and {@code to} to {@code outputSize} values, both
     * sizes at least 1; the filter also sees what lies around that part.
     */
    Resampling(int inputSize, float from, float to, int outputSize, Preprocess.Interpolation filter) {
        first = new int[outputSize];
        weights = new int[outputSize][];
        double scale = (double) (to - from) / outputSize;
        double filterScale = Math.max(scale, 1.0);
        double support = filter.support * filterScale;
        for (int position = 0; position < outputSize; position++) {
            double centre = from + (position + 0.5) * scale;
            first[position] = Math.max(0, (int) (centre - support + 0.5));
            int end = Math.min(inputSize, (int) (centre + support + 0.5));
            weights[position] = fixedPoint(normalised(filter, first[position], end, centre, filterScale));
        }
    }

    private static double[] normalised(
            Preprocess.Interpolation filter, int first, int end, double centre, double filterScale) {
        double[] values = new double[end - first];
        double inverseScale = 1.0 / filterScale;
        double sum = 0;
        for (int i = 0; i < values.length; i++) {
            values[i] = filter.weight(Math.abs((i + first - centre + 0.5) * inverseScale));
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
            rounded[i] = (int) (Math.copySign(0.5, values[i]) + values[i] * (1 << FRACTION_BITS));
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
