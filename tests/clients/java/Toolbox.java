import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command line tools, one after the other, in one VM: a tool of its own VM needs a second to start.
 *
 * <p>One JSON line asks for a class, its arguments and what is typed; one line answers with status and output. A tool
 * ends by calling Kafka's {@code Exit}, which throws here.
 */
public final class Toolbox {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final long CALL_MS_MAX = 60_000;

    /** Ends the tool's thread of control instead of the VM. */
    private static final class Ended extends Error {
        Ended() {
            super("the tool has ended", null, false, false);
        }
    }

    public static void main(String[] none) throws Exception {
        InputStream in = System.in;
        PrintStream out = System.out;
        PrintStream err = System.err;
        BufferedReader requests = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            ObjectNode answer = run(JSON.readTree(line));
            System.setIn(in);
            System.setOut(out);
            System.setErr(err);
            out.println(JSON.writeValueAsString(answer));
            out.flush();
            if (answer.has("failure")) {
                break;
            }
        }
        // Threads that a tool has left behind would keep the VM.
        Runtime.getRuntime().halt(0);
    }

    private static ObjectNode run(JsonNode asked) throws Exception {
        List<String> arguments = new ArrayList<>();
        asked.get("arguments").forEach(each -> arguments.add(each.asText()));
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        PrintStream errors = new PrintStream(err, true, StandardCharsets.UTF_8);
        int[] status = {-1};
        Exit.Procedure end = (code, message) -> {
            synchronized (status) {
                // A tool may catch what is thrown here and end again, with another status.
                if (status[0] < 0) {
                    status[0] = code;
                }
            }
            throw new Ended();
        };
        Exit.setExitProcedure(end);
        Exit.setHaltProcedure(end);
        List<Runnable> hooks = new ArrayList<>();
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        System.setIn(new ByteArrayInputStream(asked.get("typed").asText().getBytes(StandardCharsets.UTF_8)));
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(errors);
        Class<?> tool = Class.forName(asked.get("class").asText());
        forgetCounts(tool);
        int[] thrown = {0};
        Thread playing = new Thread(() -> {
            try {
                tool.getMethod("main", String[].class).invoke(null, (Object) arguments.toArray(new String[0]));
            } catch (InvocationTargetException failed) {
                if (!(failed.getCause() instanceof Ended)) {
                    // What the VM does with an exception that leaves main.
                    errors.print("Exception in thread \"main\" ");
                    failed.getCause().printStackTrace(errors);
                    thrown[0] = 1;
                }
            } catch (ReflectiveOperationException none) {
                throw new IllegalStateException(none);
            }
            for (Runnable hook : hooks) {
                try {
                    hook.run();
                } catch (Ended again) {
                    // What it had to do is done.
                }
            }
        });
        playing.start();
        playing.join(CALL_MS_MAX);
        if (playing.isAlive()) {
            StringBuilder where = new StringBuilder(tool + " " + arguments + " has not ended:\n" + out + err);
            for (StackTraceElement element : playing.getStackTrace()) {
                where.append("\n  ").append(element);
            }
            return JSON.createObjectNode().put("failure", where.toString());
        }
        System.out.flush();
        return JSON.createObjectNode()
                .put("status", status[0] < 0 ? thrown[0] : status[0])
                .put("out", out.toString(StandardCharsets.UTF_8))
                .put("err", err.toString(StandardCharsets.UTF_8));
    }

    /** kafka-console-consumer counts in a static field. */
    private static void forgetCounts(Class<?> tool) throws Exception {
        try {
            Field count = tool.getDeclaredField("messageCount");
            count.setAccessible(true);
            count.setInt(null, 0);
        } catch (NoSuchFieldException none) {
            // Another tool.
        }
    }
}
