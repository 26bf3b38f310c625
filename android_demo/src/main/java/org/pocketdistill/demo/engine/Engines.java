package org.pocketdistill.demo.engine;

import java.util.Collections;
import java.util.List;

import org.pocketdistill.demo.model.ModelSpec;

/**
 * The one table of engines. A runtime's classes are touched only when one of its models is opened, so that an app
 * without that runtime still starts.
 */
public final class Engines implements EngineFactory {
    /** Format and accelerator: what the runtimes' packages have today. Each is used only where a job asks for it. */
    private static final List<String> ACCELERATED = Collections.singletonList("litert gpu");

    private final Runtimes runtimes;

    public Engines(Runtimes runtimes) {
        this.runtimes = runtimes;
    }

    @Override
    public Engine open(ModelSpec spec, int threads) throws EngineException {
        String version = runtimes.version(spec.format);
        if (spec.accelerator != null && !ACCELERATED.contains(spec.format + " " + spec.accelerator)) {
            throw new EngineException("this app runs " + spec.format + " models on no " + spec.accelerator);
        }
        try {
            switch (spec.format) {
                case "executorch":
                    return new ExecuTorchEngine(spec, threads, version);
                case "onnx":
                    return new OnnxRuntimeEngine(spec, threads, version);
                case "litert":
                    return new LiteRtEngine(spec, threads, version);
                case "torchscript":
                    return new TorchScriptEngine(spec, threads, version);
                default:
                    throw new EngineException("this app has no engine for " + spec.format + " models");
            }
        } catch (LinkageError error) {
            throw new EngineException("the runtime for " + spec.format + " does not load on this phone", error);
        }
    }
}
