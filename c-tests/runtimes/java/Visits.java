package selvedge.tests;

import java.util.HashSet;
import java.util.Set;

/** Threads of the host that call Java again and again: as whom they come. */
public final class Visits {
    private static final ThreadLocal<int[]> visits = ThreadLocal.withInitial(() -> new int[1]);
    private static final Set<Thread> visitors = new HashSet<>();

    private Visits() {}

    /** How often this Thread has come, with this visit. A thread that attaches for each call is another Thread each time. */
    public static int visit() {
        synchronized (visitors) {
            visitors.add(Thread.currentThread());
        }
        return ++visits.get()[0];
    }

    /** All Threads that ever came. */
    public static int visitors() {
        synchronized (visitors) {
            return visitors.size();
        }
    }

    /** Those of them that are still attached. */
    public static int attached() {
        synchronized (visitors) {
            return (int) visitors.stream().filter(Thread::isAlive).count();
        }
    }
}
