package org.pocketdistill.demo.phone;

import java.io.IOException;
import java.io.InputStream;

import android.content.ContentResolver;
import android.graphics.Bitmap;
import android.net.Uri;

import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.model.WholeFile;

/** Reads and decodes a chosen picture. */
public final class PictureLoader {
    private PictureLoader() {
    }

    /**
     * The picture as {@link AndroidDecoder} sees it. Takes a moment; not for the main thread.
     *
     * @throws IOException it cannot be opened or is no picture that this phone knows.
     */
    public static Picture load(ContentResolver resolver, Uri picture) throws IOException {
        return new AndroidDecoder().decode(bytes(resolver, picture));
    }

    /** A picture in the form that a view draws. */
    public static Bitmap bitmap(Picture picture) {
        return Bitmap.createBitmap(picture.pixels(), picture.widthPx, picture.heightPx, Bitmap.Config.ARGB_8888);
    }

    private static byte[] bytes(ContentResolver resolver, Uri picture) throws IOException {
        try (InputStream stream = resolver.openInputStream(picture)) {
            if (stream == null) {
                throw new IOException("its owner does not hand it over");
            }
            return WholeFile.read(stream);
        } catch (SecurityException error) {
            throw new IOException(error.getMessage(), error);
        }
    }
}
