package org.pocketdistill.demo.phone;

import java.util.Arrays;

import android.content.Context;
import android.graphics.ImageFormat;
import android.graphics.Matrix;
import android.graphics.RectF;
import android.graphics.SurfaceTexture;
import android.hardware.camera2.CameraAccessException;
import android.hardware.camera2.CameraCaptureSession;
import android.hardware.camera2.CameraCharacteristics;
import android.hardware.camera2.CameraDevice;
import android.hardware.camera2.CameraManager;
import android.hardware.camera2.CaptureRequest;
import android.media.Image;
import android.media.ImageReader;
import android.os.Handler;
import android.os.HandlerThread;
import android.view.Surface;
import android.view.TextureView;

import org.pocketdistill.demo.image.CameraFrame;
import org.pocketdistill.demo.image.Picture;

/**
 * The back camera: shows its picture in a view and hands over upright frames.
 *
 * <p>The camera belongs to a thread of the stream's own, which also delivers the frames; while one is being looked at,
 * newer ones are dropped. The permission must have been granted.
 */
public final class CameraStream {
    /** Every phone with Camera2 has this size; networks see far less. */
    private static final int WIDTH_PX = 640;
    private static final int HEIGHT_PX = 480;

    /** Gets what the camera gives, on the stream's thread. */
    public interface Listener {
        /** A frame; its pixels are valid until the method returns. */
        void onFrame(Picture frame);

        /** The camera is gone; nothing more will come. */
        void onFailure(String reason);
    }

    private final Context context;
    private final TextureView view;
    private final Listener listener;
    private final CameraFrame converter = new CameraFrame();
    private final HandlerThread thread = new HandlerThread("camera");
    private final Handler handler;

    private volatile boolean isWanted;
    private volatile int sensorDegrees;
    /** How far the screen is turned from the phone's natural position. */
    private volatile int displayDegrees;

    // Touched by the stream's thread only.
    private boolean isOpening;
    private CameraDevice device;
    private ImageReader reader;

    public CameraStream(Context context, TextureView view, Listener listener) {
        this.context = context;
        this.view = view;
        this.listener = listener;
        thread.start();
        handler = new Handler(thread.getLooper());
        view.setSurfaceTextureListener(new TextureView.SurfaceTextureListener() {
            @Override
            public void onSurfaceTextureAvailable(SurfaceTexture surface, int width, int height) {
                openIfPossible();
            }

            @Override
            public void onSurfaceTextureSizeChanged(SurfaceTexture surface, int width, int height) {
                turnPreview();
            }

            @Override
            public boolean onSurfaceTextureDestroyed(SurfaceTexture surface) {
                return true;
            }

            @Override
            public void onSurfaceTextureUpdated(SurfaceTexture surface) {
            }
        });
    }

    /** Opens the camera as soon as the view has a surface. From the main thread; a second call changes nothing. */
    public void start() {
        isWanted = true;
        openIfPossible();
    }

    /** Frees the camera soon; {@link #start} takes it again. */
    public void stop() {
        isWanted = false;
        handler.post(new Runnable() {
            @Override
            public void run() {
                if (!isWanted) {
                    close();
                }
            }
        });
    }

    /** Frees the camera and ends the thread, for good. */
    public void release() {
        stop();
        thread.quitSafely();
    }

    private void openIfPossible() {
        if (!isWanted || !view.isAvailable()) {
            return;
        }
        turnPreview();
        handler.post(new Runnable() {
            @Override
            public void run() {
                if (isWanted && !isOpening && device == null) {
                    open();
                }
            }
        });
    }

    private void open() {
        CameraManager cameras = context.getSystemService(CameraManager.class);
        try {
            String id = backCamera(cameras);
            if (id == null) {
                listener.onFailure("there is none");
                return;
            }
            sensorDegrees = cameras.getCameraCharacteristics(id).get(CameraCharacteristics.SENSOR_ORIENTATION);
            view.post(new Runnable() {
                @Override
                public void run() {
                    turnPreview();
                }
            });
            isOpening = true;
            cameras.openCamera(id, new Opened(), handler);
        } catch (CameraAccessException | SecurityException error) {
            isOpening = false;
            listener.onFailure(error.getMessage());
        }
    }

    private static String backCamera(CameraManager cameras) throws CameraAccessException {
        for (String id : cameras.getCameraIdList()) {
            Integer facing = cameras.getCameraCharacteristics(id).get(CameraCharacteristics.LENS_FACING);
            if (facing != null && facing == CameraCharacteristics.LENS_FACING_BACK) {
                return id;
            }
        }
        return null;
    }

    /** What the system says of the camera that was asked for. */
    private final class Opened extends CameraDevice.StateCallback {
        @Override
        public void onOpened(CameraDevice opened) {
            isOpening = false;
            device = opened;
            if (isWanted) {
                stream();
            } else {
                close();
            }
        }

        @Override
        public void onDisconnected(CameraDevice lost) {
            fail(lost, "another app took it");
        }

        @Override
        public void onError(CameraDevice lost, int code) {
            fail(lost, "error " + code);
        }

        private void fail(CameraDevice lost, String reason) {
            isOpening = false;
            lost.close();
            close();
            listener.onFailure(reason);
        }
    }

    private void close() {
        if (device != null) {
            device.close();
            device = null;
        }
        if (reader != null) {
            reader.close();
            reader = null;
        }
    }

    private void stream() {
        SurfaceTexture texture = view.getSurfaceTexture();
        if (texture == null) {
            close();
            return;
        }
        texture.setDefaultBufferSize(WIDTH_PX, HEIGHT_PX);
        final Surface preview = new Surface(texture);
        reader = ImageReader.newInstance(WIDTH_PX, HEIGHT_PX, ImageFormat.YUV_420_888, 2);
        reader.setOnImageAvailableListener(new ImageReader.OnImageAvailableListener() {
            @Override
            public void onImageAvailable(ImageReader source) {
                deliver(source);
            }
        }, handler);
        try {
            device.createCaptureSession(
                    Arrays.asList(preview, reader.getSurface()), new CameraCaptureSession.StateCallback() {
                        @Override
                        public void onConfigured(CameraCaptureSession session) {
                            repeat(session, preview);
                        }

                        @Override
                        public void onConfigureFailed(CameraCaptureSession session) {
                            listener.onFailure("it refuses " + WIDTH_PX + " x " + HEIGHT_PX);
                        }
                    }, handler);
        } catch (CameraAccessException error) {
            listener.onFailure(error.getMessage());
        }
    }

    private void repeat(CameraCaptureSession session, Surface preview) {
        if (device == null) {
            return;
        }
        try {
            CaptureRequest.Builder request = device.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW);
            request.addTarget(preview);
            request.addTarget(reader.getSurface());
            session.setRepeatingRequest(request.build(), null, handler);
        } catch (CameraAccessException error) {
            listener.onFailure(error.getMessage());
        }
    }

    private void deliver(ImageReader source) {
        if (source != reader) {
            return;
        }
        Image image = source.acquireLatestImage();
        if (image == null) {
            return;
        }
        try {
            Image.Plane[] planes = image.getPlanes();
            listener.onFrame(converter.upright(
                    image.getWidth(), image.getHeight(), planes[0].getBuffer(), planes[0].getRowStride(),
                    planes[1].getBuffer(), planes[2].getBuffer(), planes[1].getRowStride(),
                    planes[1].getPixelStride(), (sensorDegrees - displayDegrees) / 90));
        } finally {
            image.close();
        }
    }

    /**
     * The platform shows the camera's picture as it is upright in the phone's natural position, stretched to the view.
     * This turns it with the screen and scales it to fill the view without distortion. On the main thread.
     */
    private void turnPreview() {
        displayDegrees = view.getDisplay() == null ? 0 : 90 * view.getDisplay().getRotation();
        RectF whole = new RectF(0, 0, view.getWidth(), view.getHeight());
        boolean isTurned = displayDegrees % 180 != 0;
        boolean isNaturallyTall = sensorDegrees % 180 != 0;
        float naturalWidth = isNaturallyTall ? HEIGHT_PX : WIDTH_PX;
        float naturalHeight = isNaturallyTall ? WIDTH_PX : HEIGHT_PX;
        float fill = Math.max(
                whole.width() / (isTurned ? naturalHeight : naturalWidth),
                whole.height() / (isTurned ? naturalWidth : naturalHeight));
        RectF target = new RectF(0, 0, fill * naturalWidth, fill * naturalHeight);
        target.offset(whole.centerX() - target.centerX(), whole.centerY() - target.centerY());
        Matrix matrix = new Matrix();
        matrix.setRectToRect(whole, target, Matrix.ScaleToFit.FILL);
        matrix.postRotate(-displayDegrees, whole.centerX(), whole.centerY());
        view.setTransform(matrix);
    }
}
