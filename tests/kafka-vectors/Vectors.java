import java.io.DataOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;

/**
 * Lets the Kafka on the class path say what it knows of its messages. Its classes describe themselves: the static field
 * SCHEMAS says which fields a version has, so nothing here knows a message by name.
 *
 * The first file has vectors: every message, in every version, filled with seeded random values and serialized. Each
 * vector is: name (i16 length, UTF-8), version (i16), value (i32 length, bytes).
 *
 * The second file has facts, one a line; the code that writes a kind of line says what is in it.
 */
public class Vectors {
    private static final int PER_VERSION = 40;

    private final Random random;

    private Vectors(long seed) {
        random = new Random(seed);
    }

    public static void main(String[] arguments) throws Exception {
        TreeMap<String, Class<?>> messages = messageClasses();
        try (DataOutputStream out = new DataOutputStream(new BufferedOutputStream(new FileOutputStream(arguments[0])))) {
            for (var entry : messages.entrySet()) {
                writeVectors(out, entry.getKey(), entry.getValue());
            }
        }
        try (PrintStream out = new PrintStream(new FileOutputStream(arguments[1]), false, StandardCharsets.US_ASCII)) {
            writeApis(out);
            writeErrors(out);
            writeTexts(out);
            for (var entry : messages.entrySet()) {
                writeFields(out, entry.getKey(), entry.getKey(), entry.getValue());
                for (Class<?> inner : entry.getValue().getDeclaredClasses()) {
                    if (Message.class.isAssignableFrom(inner)) {
                        writeFields(out, entry.getKey(), inner.getSimpleName(), inner);
                    }
                }
            }
        }
    }

    /** Every top-level class on the class path that is a message, by its name without the suffix that only Java has. */
    private static TreeMap<String, Class<?>> messageClasses() throws Exception {
        TreeMap<String, Class<?>> found = new TreeMap<>();
        for (String path : System.getProperty("java.class.path").split(File.pathSeparator)) {
            String file = new File(path).getName();
            // Streams has messages that its own instances alone exchange.
            if (!file.endsWith(".jar") || !file.contains("kafka") || file.startsWith("kafka-streams")) {
                continue;
            }
            try (JarFile jar = new JarFile(path)) {
                for (JarEntry entry : (Iterable<JarEntry>) () -> jar.entries().asIterator()) {
                    String name = entry.getName();
                    boolean generated = name.matches("org/apache/kafka/.*(/message/|/metadata/|/generated/)[^/$]*\\.class");
                    if (!generated) {
                        continue;
                    }
                    Class<?> type = Class.forName(name.replace('/', '.').replace(".class", ""), false,
                        Vectors.class.getClassLoader());
                    if (Message.class.isAssignableFrom(type) && !type.isInterface()
                        && !Modifier.isAbstract(type.getModifiers())) {
                        found.put(type.getSimpleName().replaceAll("(Request|Response|Header)Data$", "$1"), type);
                    }
                }
            }
        }
        return found;
    }

    private static void writeVectors(DataOutputStream out, String name, Class<?> type) throws Exception {
        Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
        for (short version = 0; version < schemas.length; version++) {
            if (schemas[version] == null) {
                continue;
            }
            for (int i = 0; i < PER_VERSION; i++) {
                Vectors vectors = new Vectors((name.hashCode() * 1000L + version) * 1000L + i);
                Message message = (Message) vectors.struct(type, schemas[version], i == 0);
                byte[] bytes = serialize(message, version);
                out.writeUTF(name);
                out.writeShort(version);
                out.writeInt(bytes.length);
                out.write(bytes);
            }
        }
    }

    private static byte[] serialize(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        return buffer.array();
    }

    /** A new struct; if bare, with defaults wherever the field is not a struct. */
    private Object struct(Class<?> type, Schema schema, boolean bare) throws Exception {
        Object struct = newInstance(type);
        for (BoundField field : schema.fields()) {
            if (field.def.type instanceof TaggedFields) {
                for (var tagged : taggedFields((TaggedFields) field.def.type)) {
                    if (!bare && random.nextBoolean()) {
                        set(struct, tagged.name, tagged.type);
                    }
                }
            } else if (!bare) {
                set(struct, field.def.name, field.def.type);
            }
        }
        return struct;
    }

    /** Read past the accessor, which the older release lacks. */
    @SuppressWarnings("unchecked")
    private static Collection<org.apache.kafka.common.protocol.types.Field> taggedFields(TaggedFields type)
        throws Exception {
        Field fields = TaggedFields.class.getDeclaredField("fields");
        fields.setAccessible(true);
        return ((Map<Integer, org.apache.kafka.common.protocol.types.Field>) fields.get(type)).values();
    }

    private void set(Object struct, String name, Type type) throws Exception {
        Field field = field(struct.getClass(), name);
        field.setAccessible(true);
        field.set(struct, value(field, type));
    }

    /** The Java field of a schema's field; one is in camel case, the other in snake case. */
    private static Field field(Class<?> type, String name) {
        for (Field field : type.getDeclaredFields()) {
            if (!Modifier.isStatic(field.getModifiers())
                && field.getName().equalsIgnoreCase(name.replace("_", ""))) {
                return field;
            }
        }
        throw new IllegalStateException(type + " has no field " + name);
    }

    private Object value(Field field, Type type) throws Exception {
        // The older release calls every field of records nullable, whether it is or not.
        boolean records = type.toString().matches("(COMPACT_)?RECORDS");
        if (type.isNullable() && !records && random.nextInt(4) == 0) {
            return null;
        }
        if (type.isArray()) {
            return list(field, type.arrayElementType().get());
        }
        if (type instanceof Schema) {
            return struct(field.getType(), (Schema) type, false);
        }
        Class<?> target = field.getType();
        if (Message.class.isAssignableFrom(target)) {
            // A nullable struct hides its schema behind a type of its own; the class has the same one.
            return struct(target, nullableSchema(type), false);
        }
        return scalar(target);
    }

    private static Schema nullableSchema(Type type) throws Exception {
        for (Class<?> owner = type.getClass(); owner != null; owner = owner.getSuperclass()) {
            for (Field field : owner.getDeclaredFields()) {
                if (field.getType() == Schema.class) {
                    field.setAccessible(true);
                    return (Schema) field.get(type);
                }
            }
        }
        if (type instanceof Schema) {
            return (Schema) type;
        }
        throw new IllegalStateException("no schema in " + type.getClass());
    }

    @SuppressWarnings("unchecked")
    private Object list(Field field, Type elementType) throws Exception {
        Class<?> listType = field.getType();
        Class<?> elementClass = elementClass(field);
        Collection<Object> list = (Collection<Object>) (listType == List.class ? new ArrayList<>() : newInstance(listType));
        int size = random.nextInt(20) == 0 ? 150 : random.nextInt(4);
        boolean primitive = !(elementType instanceof Schema);
        if (!primitive) {
            size = Math.min(size, 4);
        }
        for (int i = 0; i < size; i++) {
            list.add(primitive ? scalar(elementClass) : struct(elementClass, (Schema) elementType, false));
        }
        return list;
    }

    private static Class<?> elementClass(Field field) {
        boolean plain = field.getType() == List.class;
        var type = (ParameterizedType) (plain ? field.getGenericType() : field.getType().getGenericSuperclass());
        return (Class<?>) type.getActualTypeArguments()[0];
    }

    private Object scalar(Class<?> type) {
        if (type == boolean.class || type == Boolean.class) {
            return random.nextBoolean();
        } else if (type == byte.class || type == Byte.class) {
            return (byte) number();
        } else if (type == short.class || type == Short.class) {
            return (short) number();
        } else if (type == int.class || type == Integer.class) {
            return (int) number();
        } else if (type == long.class || type == Long.class) {
            return number();
        } else if (type == double.class || type == Double.class) {
            return random.nextGaussian();
        } else if (type == Uuid.class) {
            return random.nextInt(4) == 0 ? Uuid.ZERO_UUID : new Uuid(random.nextLong(), random.nextLong());
        } else if (type == String.class) {
            return string();
        } else if (type == byte[].class) {
            return bytes();
        } else if (type == ByteBuffer.class) {
            return ByteBuffer.wrap(bytes());
        } else if (type.getSimpleName().endsWith("Records")) {
            // The class has moved between the releases; the reader knows where it is.
            byte[] bytes = bytes();
            return new ByteBufferAccessor(ByteBuffer.wrap(bytes)).readRecords(bytes.length);
        }
        throw new IllegalStateException("no values of " + type);
    }

    private long number() {
        switch (random.nextInt(5)) {
            case 0:
                return random.nextInt(256) - 128;
            case 4:
                return random.nextInt(2) - 1; // the usual defaults
            case 1:
                return Long.MAX_VALUE >>> random.nextInt(63);
            case 2:
                return Long.MIN_VALUE >> random.nextInt(63);
            default:
                return random.nextLong();
        }
    }

    private String string() {
        StringBuilder text = new StringBuilder();
        int length = random.nextInt(20) == 0 ? 200 : random.nextInt(12);
        String alphabet = "abcXYZ019._-é漢😀";
        int symbols = alphabet.codePointCount(0, alphabet.length());
        for (int i = 0; i < length; i++) {
            int symbol = alphabet.offsetByCodePoints(0, random.nextInt(symbols));
            text.appendCodePoint(alphabet.codePointAt(symbol));
        }
        return text.toString();
    }

    /** Some of them long enough that our writer passes them on as a slice of their own. */
    private byte[] bytes() {
        byte[] bytes = new byte[random.nextInt(8) == 0 ? 1000 + random.nextInt(100) : random.nextInt(40)];
        random.nextBytes(bytes);
        return bytes;
    }

    /**
     * "api KEY NAME NEWEST NEWEST-STABLE", and for each of its versions "header KEY VERSION REQUEST RESPONSE" with the
     * versions of the headers.
     */
    private static void writeApis(PrintStream out) {
        for (ApiKeys api : ApiKeys.values()) {
            if (api.messageType.lowestSupportedVersion() > api.messageType.highestSupportedVersion(true)) {
                continue; // removed, like those of the ZooKeeper controller
            }
            out.printf("api %d %s %d %d%n", api.id, api.name, api.latestVersion(true), api.latestVersion(false));
            for (short version = api.oldestVersion(); version <= api.latestVersion(true); version++) {
                out.printf("header %d %d %d %d%n", api.id, version, api.requestHeaderVersion(version),
                    api.responseHeaderVersion(version));
            }
        }
    }

    /** "error CODE NAME RETRIABLE". */
    private static void writeErrors(PrintStream out) {
        for (Errors error : Errors.values()) {
            boolean retriable = error.exception() instanceof RetriableException;
            out.printf("error %d %s %b%n", error.code(), error.name(), retriable);
        }
    }

    /**
     * "text BYTES READ": bytes that are rarely UTF-8, and those of the string that Kafka reads them as, in hexadecimal.
     * Without encoded surrogates, where Java writes one replacement character and Rust three.
     */
    private static void writeTexts(PrintStream out) {
        Random random = new Random(1);
        byte[] usual = {'a', (byte) 0x80, (byte) 0xbf, (byte) 0xc3, (byte) 0xe2, (byte) 0x82, (byte) 0xa0,
            (byte) 0xf0, (byte) 0x9f, (byte) 0xf4, (byte) 0x90, (byte) 0xc0, (byte) 0xff};
        for (int i = 0; i < 1000; i++) {
            byte[] bytes = new byte[1 + random.nextInt(8)];
            for (int k = 0; k < bytes.length; k++) {
                bytes[k] = usual[random.nextInt(usual.length)];
            }
            String text = new ByteBufferAccessor(ByteBuffer.wrap(bytes)).readString(bytes.length);
            HexFormat hex = HexFormat.of();
            out.printf("text %s %s%n", hex.formatHex(bytes), hex.formatHex(text.getBytes(StandardCharsets.UTF_8)));
        }
    }

    /**
     * "default MESSAGE STRUCT FIELD VALUE", and for each version of the struct "field MESSAGE STRUCT FIELD VERSION STATE"
     * with the state required, nullable, dropped (absent, and a value for it is ignored) or refused (absent, and a value
     * for it is an error). Names of fields are in lower case without underscores.
     */
    private static void writeFields(PrintStream out, String message, String struct, Class<?> type) throws Exception {
        Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
        List<TreeMap<String, Type>> versions = new ArrayList<>();
        TreeSet<String> names = new TreeSet<>();
        for (Schema schema : schemas) {
            versions.add(schema == null ? null : fieldTypes(schema));
            if (schema != null) {
                names.addAll(fieldTypes(schema).keySet());
            }
        }
        for (String name : names) {
            out.printf("default %s %s %s %s%n", message, struct, name, defaultOf(type, name));
            for (short version = 0; version < schemas.length; version++) {
                if (schemas[version] != null) {
                    Type fieldType = versions.get(version).get(name);
                    String state = fieldType == null ? fateOf(type, name, version)
                        : fieldType.isNullable() ? "nullable" : "required";
                    out.printf("field %s %s %s %d %s%n", message, struct, name, version, state);
                }
            }
        }
    }

    private static TreeMap<String, Type> fieldTypes(Schema schema) throws Exception {
        TreeMap<String, Type> types = new TreeMap<>();
        for (BoundField field : schema.fields()) {
            if (field.def.type instanceof TaggedFields) {
                for (var tagged : taggedFields((TaggedFields) field.def.type)) {
                    types.put(tagged.name.replace("_", ""), tagged.type);
                }
            } else {
                types.put(field.def.name.replace("_", ""), field.def.type);
            }
        }
        return types;
    }

    private static String defaultOf(Class<?> type, String name) throws Exception {
        Object value = get(newInstance(type), name);
        if (value == null) {
            return "null";
        } else if (value instanceof Collection || value instanceof byte[] || value instanceof ByteBuffer) {
            return "empty";
        } else if (value instanceof Uuid) {
            return value.equals(Uuid.ZERO_UUID) ? "zero" : "uuid";
        } else if (value instanceof Message) {
            return "struct";
        }
        return value.equals("") ? "empty" : value.toString();
    }

    /** What becomes of a value in a version without the field. */
    private static String fateOf(Class<?> type, String name, short version) throws Exception {
        Message struct = (Message) newInstance(type);
        Field field = field(type, name);
        field.setAccessible(true);
        field.set(struct, other(field, field.get(struct)));
        try {
            serialize(struct, version);
        } catch (UnsupportedVersionException refused) {
            return "refused";
        }
        return "dropped";
    }

    /** Any value that is not this one. */
    @SuppressWarnings("unchecked")
    private static Object other(Field field, Object value) throws Exception {
        Class<?> type = field.getType();
        if (Collection.class.isAssignableFrom(type)) {
            Vectors vectors = new Vectors(0);
            Collection<Object> list = (Collection<Object>) (type == List.class ? new ArrayList<>() : newInstance(type));
            Class<?> element = elementClass(field);
            list.add(Message.class.isAssignableFrom(element) ? newInstance(element) : vectors.scalar(element));
            return list;
        } else if (Message.class.isAssignableFrom(type)) {
            Object struct = newInstance(type);
            for (Field inner : type.getDeclaredFields()) {
                boolean number = inner.getType() == int.class || inner.getType() == long.class;
                if (!Modifier.isStatic(inner.getModifiers()) && number && !inner.getName().startsWith("_")) {
                    inner.setAccessible(true);
                    inner.set(struct, other(inner, inner.get(struct)));
                    return struct;
                }
            }
            throw new IllegalStateException("no number in " + type);
        }
        Vectors vectors = new Vectors(0);
        Object other;
        do {
            other = vectors.scalar(type);
        } while (other.equals(value) || other.equals("") || isEmpty(other));
        return other;
    }

    private static boolean isEmpty(Object value) {
        return value instanceof byte[] && ((byte[]) value).length == 0
            || value instanceof ByteBuffer && !((ByteBuffer) value).hasRemaining();
    }

    private static Object get(Object struct, String name) throws Exception {
        Field field = field(struct.getClass(), name);
        field.setAccessible(true);
        return field.get(struct);
    }

    private static Object newInstance(Class<?> type) throws Exception {
        Constructor<?> constructor = type.getDeclaredConstructor();
        constructor.setAccessible(true);
        return constructor.newInstance();
    }
}
