package org.pocketdistill.demo.jvm;

import java.io.File;
import java.io.IOException;
import java.util.Collections;

import org.pocketdistill.demo.engine.Engine;
import org.pocketdistill.demo.engine.EngineException;
import org.pocketdistill.demo.engine.EngineFactory;
import org.pocketdistill.demo.instrument.Instrument;
import org.pocketdistill.demo.model.ModelSpec;

/**
 * The app's instrument on a machine that is no phone: {@code InstrumentMain JOB.json RESULT_FOLDER}.
 *
 * <p>Exit status 0 if every model could be tried (its own error, if any, is in the result), 1 if the job failed as a
 * whole (so says the result too), 2 for wrong arguments.
 */
public final class InstrumentMain {
    private InstrumentMain() {
    }

    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 2) {
            System.err.println("usage: InstrumentMain JOB.json RESULT_FOLDER");
            System.exit(2);
        }
        File job = new File(arguments[0]).getAbsoluteFile();
        EngineFactory engines = InstrumentMain::open;
        String version = InstrumentMain.class.getPackage().getImplementationVersion();
        Instrument instrument = new Instrument(
                engines, new StandInDecoder(), new JvmSurroundings(), System::nanoTime, version);
        String failure = instrument.run(
                job, job.getParentFile().getName(), Collections.singletonList(new File(arguments[1])));
        if (failure != null) {
            System.err.println(failure);
            System.exit(1);
        }
    }

    private static Engine open(ModelSpec spec, int threads) throws EngineException {
        if (spec.accelerator != null) {
            throw new EngineException("off the phone models run on the processor only, not on " + spec.accelerator);
        }
        if (!spec.format.equals("onnx")) {
            throw new EngineException("off the phone there is an engine for onnx models only, not for " + spec.format);
        }
        return new PlainOnnxEngine(spec);
    }
}
