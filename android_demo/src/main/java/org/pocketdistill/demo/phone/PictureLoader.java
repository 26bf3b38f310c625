package org.pocketdistill.demo.phone;

import java.io.IOException;
import java.io.InputStream;

import android.content.ContentResolver;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.net.Uri;

import org.pocketdistill.demo.image.Picture;

/** Decodes a chosen picture. Decoding is the platform's; everything after it is ours. */
public final class PictureLoader {
    /** Above this, a picture and its copy in Java would not fit into the memory of a small phone. */
    private static final long MOST_PIXELS = 16_000_000L;

    private PictureLoader() {
    }

    /**
     * The picture as stored, at full size up to 16 megapixels; larger ones are halved by the decoder until they fit,
     * which the toolkit does not do. It is not turned by its EXIF tag: the toolkit turns no picture either, so what a
     * model was trained on and what it is shown here stay the same. Takes a moment; not for the main thread.
     *
     * @throws IOException it cannot be opened or is no picture that this phone knows.
     */
    public static Bitmap load(ContentResolver resolver, Uri picture) throws IOException {
        BitmapFactory.Options bounds = new BitmapFactory.Options();
        bounds.inJustDecodeBounds = true;
        decode(resolver, picture, bounds);
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        // Colours as stored, as the toolkit takes them; multiplied with alpha they would be darker.
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
        return bitmap;
    }

    private static Bitmap decode(ContentResolver resolver, Uri picture, BitmapFactory.Options options)
            throws IOException {
        try (InputStream stream = resolver.openInputStream(picture)) {
            return BitmapFactory.decodeStream(stream, null, options);
        } catch (SecurityException error) {
            throw new IOException(error.getMessage(), error);
        }
    }

    /** The pixels of a bitmap. */
    public static Picture pixels(Bitmap bitmap) {
        int[] argb = new int[bitmap.getWidth() * bitmap.getHeight()];
        bitmap.getPixels(argb, 0, bitmap.getWidth(), 0, 0, bitmap.getWidth(), bitmap.getHeight());
        return new Picture(bitmap.getWidth(), bitmap.getHeight(), argb);
    }
}
