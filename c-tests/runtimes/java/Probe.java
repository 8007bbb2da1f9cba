package selvedge.tests;

import java.util.concurrent.CountDownLatch;
import java.util.zip.CRC32;

/** The Java half of the JVM tests: what a worker looks like from inside, and small deeds that a job asks for. */
public final class Probe {
    private static final CountDownLatch gate = new CountDownLatch(1);

    private Probe() {}

    public static String threadName() {
        return Thread.currentThread().getName();
    }

    public static String groupName() {
        return Thread.currentThread().getThreadGroup().getName();
    }

    public static boolean isDaemon() {
        return Thread.currentThread().isDaemon();
    }

    public static ClassLoader contextLoader() {
        return Thread.currentThread().getContextClassLoader();
    }

    public static ThreadGroup makeGroup(String name) {
        return new ThreadGroup(name);
    }

    public static ClassLoader makeLoader() {
        return new ClassLoader(Probe.class.getClassLoader()) {};
    }

    /** Live threads whose name contains the word: attached workers, counted by Java itself. */
    public static int threadsNamed(String word) {
        int count = 0;
        for (Thread thread : Thread.getAllStackTraces().keySet()) {
            if (thread.getName().contains(word)) count++;
        }
        return count;
    }

    public static void fail(String message) {
        throw new IllegalStateException(message);
    }

    public static void interruptSelf() {
        Thread.currentThread().interrupt();
    }

    public static boolean isInterrupted() {
        return Thread.currentThread().isInterrupted();
    }

    public static void waitForGate() throws InterruptedException {
        gate.await();
    }

    public static void openGate() {
        gate.countDown();
    }

    public static void exit(int code) {
        System.exit(code);
    }

    /** Garbage, and collections that have to stop every Java thread. */
    public static int collect(int objects) {
        byte[][] keep = new byte[16][];
        for (int i = 0; i < objects; i++) keep[i & 15] = new byte[100];
        System.gc();
        return keep[0].length;
    }

    public static long crc32(byte[] data) {
        CRC32 crc = new CRC32();
        crc.update(data);
        return crc.getValue();
    }
}
