package org.pocketdistill.demo.jvm;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The nodes and constants of an ONNX file (protocol buffers; field numbers as in onnx.proto). */
final class OnnxGraph {
    /** One operation. */
    static final class Node {
        String operator = "";
        final List<String> inputs = new ArrayList<>();
        final List<String> outputs = new ArrayList<>();
        final Map<String, Float> floats = new HashMap<>();
        final Map<String, int[]> integers = new HashMap<>();
        final Map<String, String> texts = new HashMap<>();

        float number(String name, float otherwise) {
            return floats.getOrDefault(name, otherwise);
        }

        int integer(String name, int otherwise) {
            return integers.containsKey(name) ? integers.get(name)[0] : otherwise;
        }

        String text(String name, String otherwise) {
            return texts.getOrDefault(name, otherwise);
        }

        int[] integers(String name, int... otherwise) {
            return integers.getOrDefault(name, otherwise);
        }
    }

    final List<Node> nodes = new ArrayList<>();
    final Map<String, Tensor> constants = new HashMap<>();

    private OnnxGraph() {
    }

    /** Reads a model; {@link IOException} if it is cut off or holds what we cannot read. */
    static OnnxGraph read(byte[] bytes) throws IOException {
        OnnxGraph graph = new OnnxGraph();
        try {
            Message model = new Message(ByteBuffer.wrap(bytes));
            while (model.next()) {
                if (model.field == 7) {
                    graph.readGraph(new Message(model.bytes));
                }
            }
        } catch (RuntimeException error) {
            throw new IOException("not a readable ONNX file: " + error.getMessage(), error);
        }
        if (graph.nodes.isEmpty()) {
            throw new IOException("not a readable ONNX file: it has no nodes");
        }
        return graph;
    }

    /** A message's fields, one after the other. */
    private static final class Message {
        private final ByteBuffer data;
        int field;
        /** Value of a number field. */
        long number;
        /** Content of any other field. */
        ByteBuffer bytes;

        Message(ByteBuffer data) {
            this.data = data.slice().order(ByteOrder.LITTLE_ENDIAN);
        }

        boolean next() {
            if (!data.hasRemaining()) {
                return false;
            }
            long key = varint(data);
            field = (int) (key >>> 3);
            switch ((int) (key & 7)) {
                case 0:
                    number = varint(data);
                    bytes = null;
                    return true;
                case 1:
                    bytes = take(8);
                    return true;
                case 2:
                    bytes = take((int) varint(data));
                    return true;
                case 5:
                    bytes = take(4);
                    return true;
                default:
                    throw new IllegalArgumentException("wire type " + (key & 7));
            }
        }

        private ByteBuffer take(int length) {
            ByteBuffer part = data.slice().order(ByteOrder.LITTLE_ENDIAN).limit(length);
            data.position(data.position() + length);
            return part;
        }

        String text() {
            return StandardCharsets.UTF_8.decode(bytes.duplicate()).toString();
        }

        /** Adds a repeated integer field, packed or not. */
        void addTo(List<Long> integers) {
            if (bytes == null) {
                integers.add(number);
                return;
            }
            ByteBuffer packed = bytes.duplicate();
            while (packed.hasRemaining()) {
                integers.add(varint(packed));
            }
        }

        private static long varint(ByteBuffer data) {
            long value = 0;
            for (int shift = 0; shift < 64; shift += 7) {
                byte part = data.get();
                value |= (long) (part & 0x7f) << shift;
                if (part >= 0) {
                    return value;
                }
            }
            throw new IllegalArgumentException("a number of more than 64 bits");
        }
    }

    private void readGraph(Message graph) {
        while (graph.next()) {
            if (graph.field == 1) {
                nodes.add(node(new Message(graph.bytes)));
            } else if (graph.field == 5) {
                readConstant(new Message(graph.bytes));
            }
        }
    }

    private static Node node(Message message) {
        Node node = new Node();
        while (message.next()) {
            switch (message.field) {
                case 1:
                    node.inputs.add(message.text());
                    break;
                case 2:
                    node.outputs.add(message.text());
                    break;
                case 4:
                    node.operator = message.text();
                    break;
                case 5:
                    readAttribute(node, new Message(message.bytes));
                    break;
                default:
            }
        }
        return node;
    }

    private static void readAttribute(Node node, Message message) {
        String name = "";
        List<Long> integers = new ArrayList<>();
        while (message.next()) {
            if (message.field == 1) {
                name = message.text();
            } else if (message.field == 2) {
                node.floats.put(name, message.bytes.getFloat(0));
            } else if (message.field == 4) {
                node.texts.put(name, message.text());
            } else if (message.field == 3 || message.field == 8) {
                message.addTo(integers);
            }
        }
        if (!integers.isEmpty()) {
            node.integers.put(name, narrow(integers));
        }
    }

    private void readConstant(Message message) {
        String name = "";
        int kind = 0;
        List<Long> shape = new ArrayList<>();
        List<Long> integers = new ArrayList<>();
        ByteBuffer raw = null;
        while (message.next()) {
            switch (message.field) {
                case 1:
                    message.addTo(shape);
                    break;
                case 2:
                    kind = (int) message.number;
                    break;
                case 4:
                case 9:
                    raw = message.bytes;
                    break;
                case 5:
                case 7:
                    message.addTo(integers);
                    break;
                case 8:
                    name = message.text();
                    break;
                default:
            }
        }
        int[] sides = narrow(shape);
        constants.put(name, new Tensor(sides, values(kind, Tensor.length(sides), raw, integers), kind));
    }

    private static float[] values(int kind, int length, ByteBuffer raw, List<Long> integers) {
        float[] values = new float[length];
        for (int i = 0; i < length; i++) {
            values[i] = raw == null ? integers.get(i) : value(kind, raw, i);
        }
        return values;
    }

    private static float value(int kind, ByteBuffer raw, int index) {
        switch (kind) {
            case Tensor.FLOAT:
                return raw.getFloat(4 * index);
            case Tensor.UINT8:
                return raw.get(index) & 0xff;
            case Tensor.INT8:
                return raw.get(index);
            case Tensor.INT32:
                return raw.getInt(4 * index);
            case Tensor.INT64:
                return raw.getLong(8 * index);
            default:
                throw new IllegalArgumentException("element type " + kind);
        }
    }

    private static int[] narrow(List<Long> integers) {
        return integers.stream().mapToInt(Math::toIntExact).toArray();
    }
}
