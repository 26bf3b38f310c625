package org.pocketdistill.demo.model;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;

import org.junit.Test;
import org.pocketdistill.demo.task.Measure;
import org.pocketdistill.demo.task.TopClasses;

/** What people are shown: likeliest classes, the check of the output, and who is best. */
public final class NumbersTest {
    private static final List<Measure> ALIKE = Arrays.asList(Measure.ACCURACY, Measure.ACCURACY);

    @Test
    public void likeliestClassesComeFirstAndSharesAreSoftmax() {
        TopClasses top = TopClasses.of(new float[] {1f, 3f, 2f, 1000f}, 3);
        assertArrayEquals(new int[] {3, 1, 2}, top.classes);
        assertEquals(1f, top.shares[0], 1e-6f);
        top = TopClasses.of(new float[] {0f, 0f}, 3);
        assertArrayEquals(new int[] {0, 1}, top.classes);
        assertEquals(0.5f, top.shares[1], 1e-6f);
    }

    @Test
    public void aWrongOutputIsFarFromTheGoldenOne() {
        float[] golden = {10f, -20f};
        assertEquals(0, GoldenCheck.difference(golden, golden), 0);
        assertEquals(0.05, GoldenCheck.difference(new float[] {11f, -20f}, golden), 1e-9);
        assertEquals(0.5, GoldenCheck.difference(new float[] {0.5f}, new float[] {0f}), 1e-9);
        assertEquals(Double.POSITIVE_INFINITY, GoldenCheck.difference(new float[] {Float.NaN, -20f}, golden), 0);
        assertEquals(Double.POSITIVE_INFINITY, GoldenCheck.difference(new float[] {10f}, golden), 0);
        assertTrue(GoldenCheck.allowed("fp32") < GoldenCheck.allowed("int8"));
    }

    @Test
    public void theFrontHasTheModelsThatNoOtherBeats() {
        double[] medianMs = {1, 2, 2, 3, Double.NaN, 1};
        double[] accuracy = {0.7, 0.8, 0.75, 0.8, 0.9, 0.7};
        assertArrayEquals(
                new boolean[] {true, true, false, false, false, true}, ParetoFront.members(medianMs, accuracy));
    }

    @Test
    public void modelsAreComparedInOnePlaceOnly() {
        Comparison.Figure slowHere = new Comparison.Figure("a", "here", 50);
        Comparison.Figure there = new Comparison.Figure("a", "there", 5);
        Comparison.Figure thereToo = new Comparison.Figure("b", "there", 6);
        double[] accuracy = {0.9, 0.8};
        Comparison both = new Comparison(Arrays.asList("a", "b"), ALIKE, accuracy, Arrays.asList(slowHere, there, thereToo));
        assertEquals("there", both.place);
        assertTrue(both.isBestTrade(0));
        assertFalse(both.isBestTrade(1));
        assertEquals(50, both.medianMs("a", "here"), 0);
        assertTrue(Double.isNaN(both.medianMs("b", "here")));
    }

    @Test
    public void aSingleMeasuredModelWinsNothing() {
        Comparison one = new Comparison(
                Arrays.asList("a", "b"), ALIKE, new double[] {0.9, 0.8},
                Collections.singletonList(new Comparison.Figure("a", "here", 1)));
        assertFalse(one.isBestTrade(0));
        assertNull(new Comparison(Collections.singletonList("a"), ALIKE, new double[] {1}, Collections.<Comparison.Figure>emptyList()).place);
    }

    @Test
    public void modelsThatAreJudgedOtherwiseAreNotCompared() {
        Comparison.Figure[] figures = new Comparison.Figure[4];
        for (int i = 0; i < figures.length; i++) {
            figures[i] = new Comparison.Figure("abcd".substring(i, i + 1), "here", 1 + i);
        }
        Measure depth = Measure.RMSE_M;
        double[] scores = {Measure.MIOU.score(0.5), depth.score(0.3), depth.score(0.4), depth.score(0.2)};
        Comparison mixed = new Comparison(
                Arrays.asList("a", "b", "c", "d"), Arrays.asList(Measure.MIOU, depth, depth, depth), scores,
                Arrays.asList(figures));
        assertFalse("alone it beats nobody", mixed.isBestTrade(0));
        assertTrue(mixed.isBestTrade(1));
        assertFalse("slower and with a larger error", mixed.isBestTrade(2));
        assertTrue("the smallest error", mixed.isBestTrade(3));
        assertTrue(Double.isNaN(Measure.ACCURACY.score(null)));
    }
}
