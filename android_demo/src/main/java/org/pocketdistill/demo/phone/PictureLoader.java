package org.pocketdistill.demo.phone;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;

import android.content.ContentResolver;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.net.Uri;

import org.pocketdistill.demo.image.Exif;
import org.pocketdistill.demo.image.Picture;

/** Decodes a chosen picture. Decoding is the platform's; everything after it is ours. */
public final class PictureLoader {
    /** Above this, a picture and its copy in Java would not fit into the memory of a small phone. */
    private static final long MOST_PIXELS = 16_000_000L;

    private PictureLoader() {
    }

    /**
     * The picture as a viewer shows it and as the toolkit reads it: upright, in sRGB, on white where it is transparent;
     * at full size up to 16 megapixels, larger ones halved by the decoder until they fit. Takes a moment; not for the
     * main thread.
     *
     * @throws IOException it cannot be opened or is no picture that this phone knows.
     */
    public static Picture load(ContentResolver resolver, Uri picture) throws IOException {
        BitmapFactory.Options bounds = new BitmapFactory.Options();
        bounds.inJustDecodeBounds = true;
        decode(resolver, picture, bounds);
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        // Straight colours, to be laid on white here; multiplied with alpha they would be rounded twice.
        options.inPremultiplied = false;
        options.inScaled = false;
        options.inSampleSize = 1;
        while ((long) bounds.outWidth * bounds.outHeight > MOST_PIXELS * options.inSampleSize * options.inSampleSize) {
            options.inSampleSize *= 2;
        }
        Bitmap bitmap = decode(resolver, picture, options);
        if (bitmap == null) {
            throw new IOException("its format is not known here");
        }
        int width = bitmap.getWidth();
        int height = bitmap.getHeight();
        int[] argb = new int[width * height];
        bitmap.getPixels(argb, 0, width, 0, 0, width, height);
        bitmap.recycle();
        return Picture.asSeen(width, height, argb, orientation(resolver, picture));
    }

    /** A picture in the form that a view draws. */
    public static Bitmap bitmap(Picture picture) {
        return Bitmap.createBitmap(picture.pixels(), picture.widthPx, picture.heightPx, Bitmap.Config.ARGB_8888);
    }

    private static Bitmap decode(ContentResolver resolver, Uri picture, BitmapFactory.Options options)
            throws IOException {
        try (InputStream stream = open(resolver, picture)) {
            return BitmapFactory.decodeStream(stream, null, options);
        }
    }

    private static int orientation(ContentResolver resolver, Uri picture) throws IOException {
        try (InputStream stream = open(resolver, picture)) {
            return Exif.orientation(stream);
        }
    }

    private static InputStream open(ContentResolver resolver, Uri picture) throws IOException {
        try {
            InputStream stream = resolver.openInputStream(picture);
            if (stream == null) {
                throw new IOException("its owner does not hand it over");
            }
            return new BufferedInputStream(stream);
        } catch (SecurityException error) {
            throw new IOException(error.getMessage(), error);
        }
    }
}
