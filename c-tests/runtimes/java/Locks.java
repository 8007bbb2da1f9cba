package selvedge.tests;

import java.util.concurrent.CompletableFuture;

/** Selvedge's locks for Java: natives that the test programs register from C, and Java's own manners around them. */
public final class Locks {
    /** As a task: the calling thread's own, or the one that it has entered. */
    public static final long CURRENT = -1;

    static final int OK = 0;
    static final int PENDING = 1;
    static final int E_CANCELLED = -7;
    static final int E_DEADLOCK = -9;

    /** A lock that was not to be had; the message is what selv_last_error says. */
    public static final class LockException extends RuntimeException {
        private static final long serialVersionUID = 1;

        public final int status;

        LockException(int status, String message) {
            super(message);
            this.status = status;
        }
    }

    private Locks() {}

    static native long currentTask();

    static native long newTask(String name);

    static native void exitTask(long task);

    static native int interruptTask(long task);

    private static native int acquireOnce(long lock, long task);

    private static native int acquireLater(long lock, long task, CompletableFuture<Long> granted);

    private static native int releaseOnce(long lock, long task);

    private static native String lastError();

    /** How many wait for the lock now. */
    static native long waiting(long lock);

    /** How many waits for the lock were cancelled so far. */
    static native long cancelledWaits(long lock);

    /** Notes in the test's list that the calling thread has been granted the lock; ticket 0: it waited in the call. */
    static native void noteGrant(String name, long ticket);

    /** Waits until the list has so many. */
    static native void awaitGrants(long count);

    /** Between these two nobody else of any language may be; it fails the test if somebody is. */
    static native void enterSection();

    static native void leaveSection();

    private static void check(int status) {
        if (status < 0) throw new LockException(status, lastError());
    }

    /**
     * Waits for the lock as Lock.lockInterruptibly does. What Thread.interrupt began may have ended elsewhere, in a wait of Java's
     * own that came first; then the flag is down, the interrupt that the task still carries is an old one, and the wait begins again.
     */
    public static void acquire(long lock, long task) throws InterruptedException {
        for (;;) {
            if (Thread.interrupted()) throw new InterruptedException();
            int status = acquireOnce(lock, task);
            if (status != E_CANCELLED) {
                check(status);
                return;
            }
        }
    }

    /** The same with no thread that waits: completed with the ticket by whoever lets go of the lock, with 0 if it was free. */
    public static CompletableFuture<Long> acquireAsync(long lock, long task) {
        CompletableFuture<Long> granted = new CompletableFuture<>();
        int status = acquireLater(lock, task, granted);
        check(status);
        if (status == OK) granted.complete(0L);
        return granted;
    }

    /** A wait whose end notes the grant and lets go again, on whichever thread completes it. */
    static CompletableFuture<Void> takesItsTurn(long lock, long task, String name) {
        return acquireAsync(lock, task).thenAccept(ticket -> {
            noteGrant(name, ticket);
            release(lock, task);
        });
    }

    public static void release(long lock, long task) {
        check(releaseOnce(lock, task));
    }

    /** Called from the completion callback, on whichever thread that is. */
    static void settle(CompletableFuture<Long> granted, int status, long ticket, String detail) {
        if (status == OK) granted.complete(ticket);
        else granted.completeExceptionally(new LockException(status, detail));
    }
}
