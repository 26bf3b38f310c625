package org.pocketdistill.demo.task;

import java.util.List;

import org.pocketdistill.demo.image.Preprocess;
import org.pocketdistill.demo.json.JsonException;

/** What a network answers: one object per task, one line in {@link #TABLE}. */
public abstract class Task {
    private static final Task[] TABLE = {new Classification(), new Segmentation(), new Depth()};

    /** As manifests have it. */
    public final String name;
    public final Measure measure;
    /** Of the output: NC, or NCHW where every pixel has an answer. */
    public final String layout;

    Task(String name, Measure measure, String layout) {
        this.name = name;
        this.measure = measure;
        this.layout = layout;
    }

    /** The task of that name; {@link JsonException} if there is none. */
    public static Task named(String name) throws JsonException {
        StringBuilder known = new StringBuilder();
        for (Task task : TABLE) {
            if (task.name.equals(name)) {
                return task;
            }
            known.append(known.length() == 0 ? "" : ", ").append(task.name);
        }
        throw new JsonException("task: this app knows " + known + ", found " + name);
    }

    /** Sides of one picture's output, without the batch. */
    public final int[] outputSides(int classCount, int sizePx) {
        return layout.equals("NC") ? new int[] {classCount} : new int[] {classCount, sizePx, sizePx};
    }

    /** How many colours the bundle must give to paint with, for a model of so many outputs. */
    abstract int leastColours(int classCount);

    abstract Reader reader(List<String> classNames, int[] colours, Preprocess preprocess);

    /**
     * What makes answers of a model's outputs; a new one for each thread that needs it.
     *
     * @param colours {@code 0xffRRGGBB}, as the bundle has them.
     * @throws JsonException the bundle gives too few.
     */
    public final Reader reader(Preprocess preprocess, List<String> classNames, int[] colours) throws JsonException {
        requireColours(classNames.size(), colours);
        return reader(classNames, colours, preprocess);
    }

    /** Throws unless there are colours enough. */
    public final void requireColours(int classCount, int[] colours) throws JsonException {
        if (colours.length < leastColours(classCount)) {
            throw new JsonException("colours: " + name + " is painted with " + leastColours(classCount)
                    + ", the bundle gives " + colours.length + "; make it again with python -m export bundle");
        }
    }
}
