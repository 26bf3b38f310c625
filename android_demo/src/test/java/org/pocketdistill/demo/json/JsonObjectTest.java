package org.pocketdistill.demo.json;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.util.Collections;

import org.junit.Test;

public final class JsonObjectTest {
    @Test
    public void everyTypeIsReadAsWritten() throws JsonException {
        JsonObject json = JsonObject.parse(
                " {\"s\": \"a\\u00e9\\n\\\"\\\\\", \"i\": -7, \"n\": 2.5e-1, \"l\": [1, 2], \"x\": null, \"o\": {\"k\": []}} ", "t");
        assertEquals("a\u00e9\n\"\\", json.string("s"));
        assertEquals(-7L, json.longInteger("i"));
        assertEquals(0.25, json.number("n"), 0);
        assertEquals(-7.0, json.number("i"), 0);
        assertArrayEquals(new long[] {1, 2}, json.longIntegers("l"));
        assertNull(json.stringOrNull("x"));
        assertTrue(json.object("o").strings("k").isEmpty());
    }

    @Test
    public void malformedTextsAreRefused() {
        String[] texts = {
            "", "{", "}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1}x", "{a:1}", "{'a':1}", "{\"a\":01}",
            "{\"a\":1.}", "{\"a\":.5}", "{\"a\":+1}", "{\"a\":1e}", "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":1e999}",
            "{\"a\":99999999999999999999}", "{\"a\":tru}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":\"b", "{\"a\":\"\n\"}",
            "{\"a\":1,\"a\":2}", "{\"a\":1 /* c */}", "[1,2", "{\"a\":[1,]}", "{\"a\":-}", "nul",
            "{\"a\":" + new String(new char[100]).replace("\0", "[") };
        for (String text : texts) {
            try {
                JsonObject.parse(text, "t");
                fail("was accepted: " + text);
            } catch (JsonException expected) {
                assertTrue(text, expected.getMessage().startsWith("t: "));
            }
        }
    }

    @Test
    public void errorsNameTheDottedPath() throws JsonException {
        JsonObject json = JsonObject.parse("{\"a\": {\"b\": [{\"c\": \"x\"}]}}", "t");
        try {
            json.object("a").objects("b").get(0).integer("c", 0);
            fail();
        } catch (JsonException error) {
            assertEquals("a.b.0.c: must be an integer, found x", error.getMessage());
        }
    }

    @Test
    public void integersAreNotTakenFromFractionsOrBooleans() throws JsonException {
        JsonObject json = JsonObject.parse("{\"a\": 1.0, \"b\": true, \"c\": 0, \"d\": 3000000000}", "t");
        for (String key : new String[] {"a", "b", "c", "d"}) {
            try {
                json.integer(key, 1);
                fail(key);
            } catch (JsonException expected) {
                assertTrue(expected.getMessage().startsWith(key));
            }
        }
    }

    @Test
    public void whatIsWrittenIsReadBack() throws JsonException {
        String hostile = "\"\\\n\u0001\ud83d\ude00/\u2028";
        String text = JsonText.of(Collections.singletonMap(hostile, new float[] {1.5f, Float.NaN, 1e-30f}));
        JsonObject json = JsonObject.parse(text, "t");
        assertArrayEquals(new float[] {1.5f, Float.NaN, 1e-30f}, json.floatsOrNaN(hostile), 0f);
    }

    @Test(expected = IllegalArgumentException.class)
    public void aNumberThatJsonCannotHoldIsNotWritten() {
        JsonText.of(Double.NaN);
    }
}
