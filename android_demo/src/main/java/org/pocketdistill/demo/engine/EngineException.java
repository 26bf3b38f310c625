package org.pocketdistill.demo.engine;

/** A runtime that could not open or run a model; the message is for people and carries the runtime's own words. */
public final class EngineException extends Exception {
    private static final long serialVersionUID = 1L;

    public EngineException(String message) {
        super(message);
    }

    public EngineException(String message, Throwable cause) {
        super(message + ": " + cause, cause);
    }
}
