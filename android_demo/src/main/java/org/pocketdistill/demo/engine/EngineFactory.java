package org.pocketdistill.demo.engine;

import org.pocketdistill.demo.model.ModelSpec;

/** Opens models; which formats it serves is its own matter. */
public interface EngineFactory {
    /**
     * @param threads at least 1.
     * @throws EngineException the format is unknown, its runtime is not part of this build, or it refuses the file.
     */
    Engine open(ModelSpec spec, int threads) throws EngineException;
}
