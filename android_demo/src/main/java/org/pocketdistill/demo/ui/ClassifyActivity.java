package org.pocketdistill.demo.ui;

import java.util.ArrayList;
import java.util.List;

import android.Manifest;
import android.app.Activity;
import android.content.Intent;
import android.content.pm.PackageManager;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Bundle;
import android.view.TextureView;
import android.view.View;
import android.widget.AdapterView;
import android.widget.ArrayAdapter;
import android.widget.ImageView;
import android.widget.Spinner;
import android.widget.TextView;

import org.pocketdistill.demo.R;
import org.pocketdistill.demo.image.Picture;
import org.pocketdistill.demo.model.Artifact;
import org.pocketdistill.demo.phone.CameraStream;

/** The first screen: what the chosen student sees in the camera's picture or in one from the gallery. */
public final class ClassifyActivity extends Activity implements ModelThread.Listener {
    private static final int REQUEST_PICTURE = 1;
    private static final int REQUEST_CAMERA = 2;
    private static final String STATE_PICTURE = "picture";
    private static final String STATE_MODEL = "model";

    private AnswerPanel panel;
    private ThermalBadge thermal;
    private CameraStream camera;
    private ModelThread thread;
    private List<Artifact> models = new ArrayList<>();
    private int chosenModel;
    /** Null while the camera is what is looked at. */
    private Uri chosenPicture;
    private boolean isVisible;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.classify);
        EdgeToEdge.keepClearOfBars(this);
        if (state != null) {
            chosenPicture = state.getParcelable(STATE_PICTURE);
            chosenModel = state.getInt(STATE_MODEL);
        }
        panel = new AnswerPanel(this);
        thermal = new ThermalBadge((TextView) findViewById(R.id.thermal));
        thread = new ModelThread(this, this);
        camera = new CameraStream(this, (TextureView) findViewById(R.id.preview), new CameraStream.Listener() {
            @Override
            public void onFrame(Picture frame) {
                thread.answerFrame(frame);
            }

            @Override
            public void onFailure(final String reason) {
                runOnUiThread(new Runnable() {
                    @Override
                    public void run() {
                        panel.say(getString(R.string.camera_failed, reason));
                    }
                });
            }
        });
        connectButtons();
        panel.say(getString(R.string.opening));
        thread.loadModels();
        if (!mayUseCamera() && state == null) {
            requestPermissions(new String[] {Manifest.permission.CAMERA}, REQUEST_CAMERA);
        }
    }

    @Override
    protected void onSaveInstanceState(Bundle state) {
        super.onSaveInstanceState(state);
        state.putParcelable(STATE_PICTURE, chosenPicture);
        state.putInt(STATE_MODEL, chosenModel);
    }

    @Override
    protected void onStart() {
        super.onStart();
        isVisible = true;
        thermal.start();
        showSource();
    }

    @Override
    protected void onStop() {
        super.onStop();
        isVisible = false;
        thermal.stop();
        camera.stop();
    }

    @Override
    protected void onDestroy() {
        super.onDestroy();
        camera.release();
        thread.release();
    }

    @Override
    public void onRequestPermissionsResult(int request, String[] permissions, int[] results) {
        if (isVisible) {
            showSource();
        }
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        if (request == REQUEST_PICTURE && result == RESULT_OK && data != null) {
            chosenPicture = data.getData();
            if (isVisible) {
                showSource();
            }
        }
    }

    @Override
    public void onModels(List<Artifact> runnable) {
        models = runnable;
        List<String> titles = new ArrayList<>();
        for (Artifact artifact : models) {
            titles.add(artifact.title());
        }
        ArrayAdapter<String> adapter = new ArrayAdapter<>(this, android.R.layout.simple_spinner_item, titles);
        adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item);
        Spinner picker = (Spinner) findViewById(R.id.picker);
        picker.setAdapter(adapter);
        picker.setSelection(Math.min(chosenModel, titles.size() - 1));
        picker.setOnItemSelectedListener(new AdapterView.OnItemSelectedListener() {
            @Override
            public void onItemSelected(AdapterView<?> parent, View row, int position, long id) {
                chosenModel = position;
                thread.choose(models.get(position));
                if (chosenPicture == null) {
                    // What the model before painted over the preview.
                    findViewById(R.id.picture).setVisibility(View.GONE);
                } else if (isVisible) {
                    showSource();
                }
            }

            @Override
            public void onNothingSelected(AdapterView<?> parent) {
            }
        });
    }

    @Override
    public void onPicture(Bitmap picture) {
        // Meanwhile the camera may have been chosen again.
        if (chosenPicture != null) {
            show(picture, R.string.picture_label);
        }
    }

    @Override
    public void onAnswer(LiveModel.Shown shown, Bitmap painted) {
        panel.show(shown);
        // A painted frame lies over the preview: it is the picture that its answer was given for.
        if (painted != null) {
            show(painted, R.string.painted_label);
        } else if (chosenPicture == null) {
            findViewById(R.id.picture).setVisibility(View.GONE);
        }
    }

    @Override
    public void onFailure(String sentence) {
        panel.say(sentence);
    }

    private void show(Bitmap picture, int label) {
        ImageView view = (ImageView) findViewById(R.id.picture);
        view.setImageBitmap(picture);
        view.setContentDescription(getString(label));
        view.setVisibility(View.VISIBLE);
    }

    private void connectButtons() {
        findViewById(R.id.camera).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View button) {
                chosenPicture = null;
                if (mayUseCamera()) {
                    showSource();
                } else {
                    requestPermissions(new String[] {Manifest.permission.CAMERA}, REQUEST_CAMERA);
                }
            }
        });
        findViewById(R.id.gallery).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View button) {
                Intent choose = new Intent(Intent.ACTION_GET_CONTENT).setType("image/*");
                startActivityForResult(choose.addCategory(Intent.CATEGORY_OPENABLE), REQUEST_PICTURE);
            }
        });
        findViewById(R.id.models).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View button) {
                startActivity(new Intent(ClassifyActivity.this, ModelsActivity.class));
            }
        });
    }

    private boolean mayUseCamera() {
        return checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED;
    }

    /** Camera or chosen picture, whichever is wanted and allowed. */
    private void showSource() {
        thread.takeFrames(chosenPicture == null);
        if (chosenPicture != null) {
            camera.stop();
            thread.answerPicture(chosenPicture);
            return;
        }
        findViewById(R.id.picture).setVisibility(View.GONE);
        if (mayUseCamera()) {
            panel.say(getString(R.string.waiting));
            camera.start();
        } else {
            panel.say(getString(R.string.no_camera_permission));
        }
    }
}
