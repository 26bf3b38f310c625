package org.pocketdistill.demo.jvm;

import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import javax.imageio.ImageIO;

import org.pocketdistill.demo.engine.EngineException;
import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.image.Preprocess;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.json.JsonText;
import org.pocketdistill.demo.model.Artifact;
import org.pocketdistill.demo.model.Bundle;
import org.pocketdistill.demo.model.ModelSpec;
import org.pocketdistill.demo.model.WholeFile;
import org.pocketdistill.demo.task.Answer;

/**
 * What the app shows of a picture, without a phone: {@code AnswerMain BUNDLE_FOLDER PICTURE RESULT_FOLDER} lets every
 * ONNX model of a bundle answer it, writes what is painted to {@code FOLDER.png}, each named as in the bundle, and prints
 * one line of JSON for each model.
 */
public final class AnswerMain {
    private AnswerMain() {
    }

    public static void main(String[] arguments) throws IOException, JsonException, EngineException {
        if (arguments.length != 3) {
            System.err.println("usage: AnswerMain BUNDLE_FOLDER PICTURE RESULT_FOLDER");
            System.exit(2);
        }
        File folder = new File(arguments[0]);
        Bundle bundle = Bundle.parse(WholeFile.read(new File(folder, Bundle.FILE_NAME)));
        Picture picture = new StandInDecoder().decode(WholeFile.read(new File(arguments[1])));
        for (Bundle.Item item : bundle.items) {
            Artifact artifact = Artifact.open(new File(folder, item.folder), item.colours());
            Answer answer = answer(artifact, picture);
            if (answer.painting != null) {
                write(answer.painting.over(picture), new File(arguments[2], item.folder + ".png"));
            }
            System.out.println(JsonText.of(json(item.folder, artifact, answer)));
        }
    }

    private static Answer answer(Artifact artifact, Picture picture)
            throws IOException, JsonException, EngineException {
        ModelSpec spec = artifact.manifest.spec(artifact.folder);
        PlainOnnxEngine engine = new PlainOnnxEngine(spec);
        Preprocess preprocess = artifact.manifest.preprocess();
        FloatBuffer input = FloatBuffer.allocate(preprocess.inputLength());
        preprocess.toInput(picture, input);
        float[] output = new float[spec.outputLength()];
        engine.setInput(input);
        engine.run();
        engine.readOutput(output);
        return artifact.reader().read(output);
    }

    private static void write(Picture picture, File file) throws IOException {
        BufferedImage image = new BufferedImage(picture.widthPx, picture.heightPx, BufferedImage.TYPE_INT_RGB);
        image.setRGB(0, 0, picture.widthPx, picture.heightPx, picture.pixels(), 0, picture.widthPx);
        ImageIO.write(image, "png", file);
    }

    private static Map<String, Object> json(String name, Artifact artifact, Answer answer) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("folder", name);
        json.put("task", artifact.manifest.task.name);
        json.put("likeliest", rows(answer.likeliest));
        json.put("areas", answer.areas == null ? null : rows(answer.areas.rows));
        json.put("other_share", answer.areas == null ? null : answer.areas.otherShare);
        json.put("scale_end_m", answer.scale == null ? null : answer.scale.endM);
        return json;
    }

    private static List<Object> rows(List<Answer.Row> rows) {
        List<Object> list = new ArrayList<>();
        for (Answer.Row row : rows) {
            Map<String, Object> json = new LinkedHashMap<>();
            json.put("name", row.name);
            json.put("share", row.share);
            list.add(json);
        }
        return list;
    }
}
