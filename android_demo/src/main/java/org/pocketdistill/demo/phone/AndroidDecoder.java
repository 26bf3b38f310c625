package org.pocketdistill.demo.phone;

import java.io.ByteArrayInputStream;
import java.io.IOException;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;

import org.pocketdistill.demo.image.Exif;
import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.image.PictureDecoder;

/**
 * Android's own decoder: a picture as a viewer shows it and as the toolkit reads it, upright, in sRGB, on white where it
 * is transparent; at full size up to 16 megapixels, larger ones halved by the decoder until they fit.
 */
public final class AndroidDecoder implements PictureDecoder {
    /** Above this, a picture and its copy in Java would not fit into the memory of a small phone. */
    private static final long MOST_PIXELS = 16_000_000L;

    @Override
    public Picture decode(byte[] file) throws IOException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        BitmapFactory.decodeByteArray(file, 0, file.length, options);
        options.inJustDecodeBounds = false;
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        // Straight colours, to be laid on white here; multiplied with alpha they would be rounded twice.
        options.inPremultiplied = false;
        options.inScaled = false;
        options.inSampleSize = 1;
        long pixels = (long) options.outWidth * options.outHeight;
        while (pixels > MOST_PIXELS * options.inSampleSize * options.inSampleSize) {
            options.inSampleSize *= 2;
        }
        Bitmap bitmap = BitmapFactory.decodeByteArray(file, 0, file.length, options);
        if (bitmap == null) {
            throw new IOException("its format is not known here");
        }
        int width = bitmap.getWidth();
        int height = bitmap.getHeight();
        int[] argb = new int[width * height];
        bitmap.getPixels(argb, 0, width, 0, 0, width, height);
        bitmap.recycle();
        return Picture.asSeen(width, height, argb, Exif.orientation(new ByteArrayInputStream(file)));
    }
}
