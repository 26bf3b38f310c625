package org.pocketdistill.demo.json;

/** A text that is not the JSON that was expected; the message names the place and says what was found there. */
public final class JsonException extends Exception {
    private static final long serialVersionUID = 1L;

    public JsonException(String message) {
        super(message);
    }
}
