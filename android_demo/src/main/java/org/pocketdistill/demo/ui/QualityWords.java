package org.pocketdistill.demo.ui;

import android.content.res.Resources;

import org.pocketdistill.demo.R;
import org.pocketdistill.demo.model.Manifest;
import org.pocketdistill.demo.task.Measure;

/** How good a model is, in the words and the unit of its task. */
final class QualityWords {
    private QualityWords() {
    }

    static String of(Manifest manifest, Resources resources) {
        Measure measure = manifest.task.measure;
        Double quality = manifest.quality;
        String value = quality == null ? resources.getString(R.string.unknown) : value(measure, quality, resources);
        return resources.getString(title(measure), value);
    }

    private static int title(Measure measure) {
        switch (measure) {
            case ACCURACY:
                return R.string.quality_accuracy;
            case MIOU:
                return R.string.quality_miou;
            default:
                return R.string.quality_rmse;
        }
    }

    private static String value(Measure measure, double quality, Resources resources) {
        return measure.isShare()
                ? resources.getString(R.string.quality_percent, 100 * quality)
                : resources.getString(R.string.quality_metres, quality);
    }
}
