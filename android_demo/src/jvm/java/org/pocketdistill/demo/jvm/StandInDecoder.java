package org.pocketdistill.demo.jvm;

import java.awt.color.CMMException;
import java.awt.color.ColorSpace;
import java.awt.color.ICC_ColorSpace;
import java.awt.color.ICC_Profile;
import java.awt.image.BufferedImage;
import java.awt.image.IndexColorModel;
import java.awt.image.Raster;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.zip.InflaterInputStream;

import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.metadata.IIOMetadataNode;
import javax.imageio.stream.ImageInputStream;

import org.pocketdistill.demo.image.Exif;
import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.image.PictureDecoder;
import org.w3c.dom.NodeList;

/**
 * Stands in for Android's decoder on this machine's JVM: straight {@code 0xAARRGGBB} colours in sRGB of the first frame,
 * as stored, the upper 8 bits of 16.
 */
public final class StandInDecoder implements PictureDecoder {
    public static final String UNKNOWN = "its format is not known here";

    /** Of the formats that Android decodes, those that {@code javax.imageio} decodes too. */
    private static final List<String> FORMATS = Arrays.asList("jpeg", "png", "gif", "bmp");

    @Override
    public Picture decode(byte[] file) throws IOException {
        try (ImageInputStream stream = ImageIO.createImageInputStream(new ByteArrayInputStream(file))) {
            Iterator<ImageReader> readers = ImageIO.getImageReaders(stream);
            ImageReader reader = readers.hasNext() ? readers.next() : null;
            String format = reader == null ? "" : reader.getFormatName().toLowerCase();
            if (!FORMATS.contains(format)) {
                throw new IOException(UNKNOWN);
            }
            reader.setInput(stream);
            Decoded decoded = new Decoded(reader, format);
            return Picture.asSeen(
                    decoded.widthPx, decoded.heightPx, decoded.argb, Exif.orientation(new ByteArrayInputStream(file)));
        }
    }

    private static final class Decoded {
        final int widthPx;
        final int heightPx;
        final int[] argb;

        private final Raster raster;
        private final BufferedImage image;
        private final IIOMetadataNode png;
        private final ColorSpace profile;

        Decoded(ImageReader reader, String format) throws IOException {
            png = format.equals("png")
                    ? (IIOMetadataNode) reader.getImageMetadata(0).getAsTree("javax_imageio_png_1.0")
                    : new IIOMetadataNode("none");
            image = reader.read(0);
            raster = image.getRaster();
            profile = node("iCCP") == null || raster.getNumBands() < 3 ? null : profile();
            widthPx = raster.getWidth();
            heightPx = raster.getHeight();
            argb = new int[widthPx * heightPx];
            for (int y = 0; y < heightPx; y++) {
                for (int x = 0; x < widthPx; x++) {
                    argb[y * widthPx + x] = pixel(x, y, format);
                }
            }
        }

        private int pixel(int x, int y, String format) {
            int[] samples = raster.getPixel(x, y, (int[]) null);
            boolean isKey = isKey(samples);
            if (image.getColorModel() instanceof IndexColorModel) {
                int colour = image.getRGB(x, y);
                return isKey ? colour & 0xffffff : colour;
            }
            int bands = samples.length;
            if (format.equals("jpeg") && bands >= 3) {
                return bands == 3 ? image.getRGB(x, y) : ink(samples);
            }
            int alpha = isKey ? 0 : bands % 2 == 1 ? 255 : level(samples, bands - 1);
            int red = level(samples, 0);
            int green = bands < 3 ? red : level(samples, 1);
            int blue = bands < 3 ? red : level(samples, 2);
            return alpha << 24 | inSrgb(red, green, blue);
        }

        private int level(int[] samples, int band) {
            int bits = raster.getSampleModel().getSampleSize(band);
            return bits > 8 ? samples[band] >> bits - 8 : samples[band] * 255 / ((1 << bits) - 1);
        }

        private static int ink(int[] samples) {
            int light = 255 - samples[3];
            return 0xff000000
                    | (255 - samples[0]) * light / 255 << 16
                    | (255 - samples[1]) * light / 255 << 8
                    | (255 - samples[2]) * light / 255;
        }

        /** Whether a pixel has the one colour that a PNG declares transparent. */
        private boolean isKey(int[] samples) {
            IIOMetadataNode grey = node("tRNS_Grayscale");
            IIOMetadataNode colour = node("tRNS_RGB");
            if (grey != null) {
                int bits = number(node("IHDR"), "bitDepth");
                return samples[0] == number(grey, "gray") * (bits < 8 ? 255 / ((1 << bits) - 1) : 1);
            }
            return colour != null
                    && samples[0] == number(colour, "red")
                    && samples[1] == number(colour, "green")
                    && samples[2] == number(colour, "blue");
        }

        private int inSrgb(int red, int green, int blue) {
            if (profile != null) {
                float[] colour = profile.toRGB(new float[] {red / 255f, green / 255f, blue / 255f});
                return Math.round(255 * colour[0]) << 16 | Math.round(255 * colour[1]) << 8 | Math.round(255 * colour[2]);
            }
            IIOMetadataNode gamma = node("gAMA");
            if (gamma == null || node("sRGB") != null || node("iCCP") != null || number(gamma, "value") == 0) {
                return red << 16 | green << 8 | blue;
            }
            double exponent = number(gamma, "value") / 100_000.0;
            return encoded(red, exponent) << 16 | encoded(green, exponent) << 8 | encoded(blue, exponent);
        }

        /** A level of a PNG with this gamma as one of sRGB, whose own is 1 / 2.2 as good as. */
        private static int encoded(int level, double exponent) {
            if (Math.abs(exponent * 2.2 - 1) < 0.05) {
                return level;
            }
            double light = Math.pow(level / 255.0, 1 / exponent);
            double curve = light <= 0.0031308 ? 12.92 * light : 1.055 * Math.pow(light, 1 / 2.4) - 0.055;
            return (int) Math.round(255 * curve);
        }

        private ColorSpace profile() throws IOException {
            byte[] packed = (byte[]) node("iCCP").getUserObject();
            try (InflaterInputStream unpacked = new InflaterInputStream(new ByteArrayInputStream(packed))) {
                ICC_ColorSpace space = new ICC_ColorSpace(ICC_Profile.getInstance(unpacked));
                return space.getNumComponents() == 3 ? space : null;
            } catch (CMMException | IllegalArgumentException damaged) {
                return null;
            }
        }

        private IIOMetadataNode node(String name) {
            NodeList nodes = png.getElementsByTagName(name);
            return nodes.getLength() == 0 ? null : (IIOMetadataNode) nodes.item(0);
        }

        private static int number(IIOMetadataNode node, String attribute) {
            return Integer.parseInt(node.getAttribute(attribute));
        }
    }
}
