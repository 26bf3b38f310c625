package org.pocketdistill.demo.json;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads JSON as RFC 8259 defines it and nothing more: no comments, no trailing commas, no NaN, no repeated keys.
 *
 * <p>Values become {@code Map<String, Object>}, {@code List<Object>}, {@code String}, {@code Boolean}, {@code Long}
 * (numbers written without fraction and exponent), {@code Double} (all others) and {@code null}.
 */
final class JsonParser {
    /** Our files nest five levels; the limit keeps a hostile one from exhausting the stack. */
    private static final int MAX_DEPTH = 32;

    private final String text;
    private int position;

    private JsonParser(String text) {
        this.text = text;
    }

    /** The value of a whole text; throws {@link JsonException} naming the character position of the first fault. */
    static Object parse(String text) throws JsonException {
        JsonParser parser = new JsonParser(text);
        Object value = parser.value(0);
        parser.skipSpace();
        if (parser.position < text.length()) {
            throw parser.fault("text after the end of the value");
        }
        return value;
    }

    private Object value(int depth) throws JsonException {
        if (depth > MAX_DEPTH) {
            throw fault("more than " + MAX_DEPTH + " levels");
        }
        skipSpace();
        switch (peek()) {
            case '{':
                return object(depth);
            case '[':
                return array(depth);
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Map<String, Object> object(int depth) throws JsonException {
        Map<String, Object> entries = new LinkedHashMap<>();
        expect('{');
        skipSpace();
        if (peek() == '}') {
            position++;
            return entries;
        }
        while (true) {
            skipSpace();
            String key = string();
            if (entries.containsKey(key)) {
                throw fault("key \"" + key + "\" for the second time");
            }
            skipSpace();
            expect(':');
            entries.put(key, value(depth + 1));
            if (endsAfterComma('}')) {
                return entries;
            }
        }
    }

    private List<Object> array(int depth) throws JsonException {
        List<Object> items = new ArrayList<>();
        expect('[');
        skipSpace();
        if (peek() == ']') {
            position++;
            return items;
        }
        while (true) {
            items.add(value(depth + 1));
            if (endsAfterComma(']')) {
                return items;
            }
        }
    }

    /** Steps over a comma (false) or the closing bracket (true). */
    private boolean endsAfterComma(char closing) throws JsonException {
        skipSpace();
        if (peek() == closing) {
            position++;
            return true;
        }
        expect(',');
        return false;
    }

    private String string() throws JsonException {
        expect('"');
        StringBuilder characters = new StringBuilder();
        while (true) {
            char next = peek();
            position++;
            if (next == '"') {
                return characters.toString();
            }
            if (next < ' ') {
                position--;
                throw fault("a control character inside a string");
            }
            characters.append(next == '\\' ? escaped() : next);
        }
    }

    private char escaped() throws JsonException {
        char letter = peek();
        position++;
        switch (letter) {
            case '"':
            case '\\':
            case '/':
                return letter;
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case 'u':
                return unicode();
            default:
                position--;
                throw fault("the unknown escape \\" + letter);
        }
    }

    private char unicode() throws JsonException {
        int code = 0;
        for (int i = 0; i < 4; i++) {
            int digit = Character.digit(peek(), 16);
            if (digit < 0) {
                throw fault("an unfinished \\u escape");
            }
            code = 16 * code + digit;
            position++;
        }
        return (char) code;
    }

    private Object word(String word, Object value) throws JsonException {
        if (!text.startsWith(word, position)) {
            throw fault("an unknown word");
        }
        position += word.length();
        return value;
    }

    private Object number() throws JsonException {
        int start = position;
        skip('-');
        int whole = position;
        digits();
        if (text.charAt(whole) == '0' && position > whole + 1) {
            throw fault("a number with a leading zero");
        }
        boolean isInteger = true;
        if (skip('.')) {
            isInteger = false;
            digits();
        }
        if (skip('e') || skip('E')) {
            isInteger = false;
            if (!skip('+')) {
                skip('-');
            }
            digits();
        }
        return toNumber(text.substring(start, position), isInteger);
    }

    private Object toNumber(String digits, boolean isInteger) throws JsonException {
        try {
            if (isInteger) {
                return Long.valueOf(digits);
            }
        } catch (NumberFormatException error) {
            throw fault("an integer of more than 64 bits, " + digits);
        }
        double value = Double.parseDouble(digits);
        if (Double.isInfinite(value)) {
            throw fault("a number beyond the range of a double, " + digits);
        }
        return value;
    }

    private void digits() throws JsonException {
        int start = position;
        while (position < text.length() && text.charAt(position) >= '0' && text.charAt(position) <= '9') {
            position++;
        }
        if (position == start) {
            throw fault("no value where one is expected");
        }
    }

    private boolean skip(char character) {
        boolean isThere = position < text.length() && text.charAt(position) == character;
        if (isThere) {
            position++;
        }
        return isThere;
    }

    private void skipSpace() {
        while (position < text.length() && " \t\r\n".indexOf(text.charAt(position)) >= 0) {
            position++;
        }
    }

    private void expect(char character) throws JsonException {
        if (peek() != character) {
            throw fault("'" + peek() + "' where '" + character + "' is expected");
        }
        position++;
    }

    private char peek() throws JsonException {
        if (position >= text.length()) {
            throw fault("the end of the text, it may be cut off");
        }
        return text.charAt(position);
    }

    private JsonException fault(String found) {
        return new JsonException("not valid JSON at character " + position + ": found " + found);
    }
}
