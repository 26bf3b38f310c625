package org.pocketdistill.demo.ui;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;

import android.content.Context;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Handler;
import android.os.HandlerThread;
import android.os.Looper;

import org.pocketdistill.demo.R;
import org.pocketdistill.demo.engine.EngineException;
import org.pocketdistill.demo.engine.Engines;
import org.pocketdistill.demo.engine.Runtimes;
import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.json.JsonException;
import org.pocketdistill.demo.model.Artifact;
import org.pocketdistill.demo.phone.AndroidDevice;
import org.pocketdistill.demo.phone.PackedModels;
import org.pocketdistill.demo.phone.PictureLoader;

/** Opens packed models and answers with one of them, all on a thread of its own: models know only one thread. */
final class ModelThread {
    /** Is told everything on the main thread. */
    interface Listener {
        /** The models that this app has a runtime for; at least one. */
        void onModels(List<Artifact> runnable);

        /** A chosen picture, ready to be shown. */
        void onPicture(Bitmap picture);

        /** {@code painted} is the picture with the answer over it; null where pixels have no answer. */
        void onAnswer(LiveModel.Shown shown, Bitmap painted);

        /** What went wrong, as a sentence for people. */
        void onFailure(String sentence);
    }

    private final Context context;
    private final Listener listener;
    private final HandlerThread thread = new HandlerThread("model");
    private final Handler handler;
    private final Handler mainHandler = new Handler(Looper.getMainLooper());
    private volatile boolean takesFrames = true;

    // Touched by the thread only.
    private Engines engines;
    private LiveModel model;

    ModelThread(Context context, Listener listener) {
        this.context = context;
        this.listener = listener;
        thread.start();
        handler = new Handler(thread.getLooper());
    }

    /** Opens the bundle; the listener gets its models. */
    void loadModels() {
        handler.post(new Runnable() {
            @Override
            public void run() {
                try {
                    Runtimes runtimes = PackedModels.runtimes(context);
                    engines = new Engines(runtimes);
                    offer(withRuntime(PackedModels.open(context).artifacts, runtimes));
                } catch (IOException | JsonException error) {
                    fail(context.getString(R.string.no_models, error.getMessage()));
                }
            }
        });
    }

    /** Answers with this model from now on. */
    void choose(final Artifact artifact) {
        handler.post(new Runnable() {
            @Override
            public void run() {
                close();
                try {
                    model = new LiveModel(artifact, engines, AndroidDevice.defaultThreads());
                } catch (EngineException | JsonException error) {
                    fail(context.getString(R.string.model_failed, error.getMessage()));
                }
            }
        });
    }

    /** Whether frames are looked at; while a chosen picture is shown they are not. */
    void takeFrames(boolean areWanted) {
        takesFrames = areWanted;
    }

    /** Decodes a chosen picture, hands it to the listener and answers it. */
    void answerPicture(final Uri picture) {
        handler.post(new Runnable() {
            @Override
            public void run() {
                try {
                    long began = System.nanoTime();
                    Picture pixels = PictureLoader.load(context.getContentResolver(), picture);
                    long decodeNanos = System.nanoTime() - began;
                    final Bitmap bitmap = PictureLoader.bitmap(pixels);
                    mainHandler.post(new Runnable() {
                        @Override
                        public void run() {
                            listener.onPicture(bitmap);
                        }
                    });
                    answer(pixels, decodeNanos);
                } catch (IOException error) {
                    fail(context.getString(R.string.picture_unreadable, error.getMessage()));
                }
            }
        });
    }

    /** From the camera's thread: returns when the frame's pixels may be reused. */
    void answerFrame(final Picture frame) {
        final CountDownLatch done = new CountDownLatch(1);
        boolean isAccepted = handler.post(new Runnable() {
            @Override
            public void run() {
                try {
                    if (takesFrames) {
                        answer(frame, 0);
                    }
                } finally {
                    done.countDown();
                }
            }
        });
        try {
            if (isAccepted) {
                done.await();
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    /** Closes the model and ends the thread, for good. */
    void release() {
        handler.post(new Runnable() {
            @Override
            public void run() {
                close();
            }
        });
        thread.quitSafely();
    }

    private static List<Artifact> withRuntime(List<Artifact> artifacts, Runtimes runtimes) {
        List<Artifact> chosen = new ArrayList<>();
        for (Artifact artifact : artifacts) {
            if (runtimes.has(artifact.manifest.format)) {
                chosen.add(artifact);
            }
        }
        return chosen;
    }

    private void offer(final List<Artifact> runnable) {
        if (runnable.isEmpty()) {
            fail(context.getString(R.string.no_models, context.getString(R.string.no_runtime)));
            return;
        }
        mainHandler.post(new Runnable() {
            @Override
            public void run() {
                listener.onModels(runnable);
            }
        });
    }

    private void answer(Picture picture, long decodeNanos) {
        if (model == null) {
            return;
        }
        try {
            final LiveModel.Shown shown = model.answer(picture, decodeNanos);
            final Bitmap painted = shown.painted == null ? null : PictureLoader.bitmap(shown.painted);
            mainHandler.post(new Runnable() {
                @Override
                public void run() {
                    listener.onAnswer(shown, painted);
                }
            });
        } catch (EngineException error) {
            close();
            fail(context.getString(R.string.model_failed, error.getMessage()));
        }
    }

    private void close() {
        if (model != null) {
            model.close();
            model = null;
        }
    }

    private void fail(final String sentence) {
        mainHandler.post(new Runnable() {
            @Override
            public void run() {
                listener.onFailure(sentence);
            }
        });
    }
}
