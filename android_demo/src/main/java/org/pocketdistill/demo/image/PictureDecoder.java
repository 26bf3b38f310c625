package org.pocketdistill.demo.image;

import java.io.IOException;

/** From a picture file to pixels as a viewer shows them: the platform's decoder, and {@link Picture#asSeen}. */
public interface PictureDecoder {
    /**
     * @param file the bytes of a picture file.
     * @throws IOException it is no picture that this platform knows, in words.
     */
    Picture decode(byte[] file) throws IOException;
}
