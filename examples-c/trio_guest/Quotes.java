import java.util.HashSet;
import java.util.Set;

/** The work in Java. What it keeps in a ThreadLocal lasts from job to job, for the thread that comes is always the same Thread. */
final class Quotes {
    private static final ThreadLocal<int[]> made = ThreadLocal.withInitial(() -> new int[1]);
    private static final Set<Thread> threads = new HashSet<>();

    private Quotes() {}

    static String quote(String item) throws InterruptedException {
        Thread self = Thread.currentThread();
        synchronized (threads) {
            threads.add(self);
        }
        Thread.sleep(5); // a slow database
        int cents = 100 + Math.abs(item.hashCode() % 900);
        return String.format("%s for %d.%02d (quote %d of Java's %s)", item, cents / 100, cents % 100, ++made.get()[0], self.getName());
    }

    /** How many Threads have made quotes. */
    static int threads() {
        synchronized (threads) {
            return threads.size();
        }
    }
}
