package selvedge.tests;

import java.util.concurrent.CountDownLatch;

/** A Java thread that takes one lock, keeps it until it is told to go on, and then lets go of it or does not. */
public final class LocksThread extends Thread {
    private final long lock;
    private final boolean hasOwnTask;
    private final String end;
    private final CountDownLatch go = new CountDownLatch(1);
    private volatile long task;
    private volatile boolean wasInterrupted;
    private volatile Locks.LockException failure;

    /**
     * `end`: "releases", "keeps" the lock and returns, or "throws" with it held. `hasOwnTask`: one made for this thread, in place of
     * its implicit one.
     */
    LocksThread(String name, long lock, boolean hasOwnTask, String end) {
        super(name);
        this.lock = lock;
        this.hasOwnTask = hasOwnTask;
        this.end = end;
    }

    static LocksThread begin(String name, long lock, boolean hasOwnTask, String end) {
        LocksThread thread = new LocksThread(name, lock, hasOwnTask, end);
        thread.setUncaughtExceptionHandler((t, exception) -> {
            if (!name.equals(exception.getMessage())) exception.printStackTrace();
        });
        thread.start();
        return thread;
    }

    @Override
    public void run() {
        task = hasOwnTask ? Locks.newTask(getName()) : Locks.currentTask();
        try {
            work();
        } catch (InterruptedException e) {
            wasInterrupted = true;
        } catch (Locks.LockException e) {
            failure = e;
        } finally {
            if (hasOwnTask) Locks.exitTask(task);
        }
    }

    private void work() throws InterruptedException {
        Locks.acquire(lock, task);
        Locks.noteGrant(getName(), 0);
        go.await();
        if (end.equals("releases")) Locks.release(lock, task);
        if (end.equals("throws")) throw new IllegalStateException(getName());
    }

    /** The flag first: whoever the second half wakes must find it up. */
    @Override
    public void interrupt() {
        super.interrupt();
        if (task != 0) Locks.interruptTask(task);
    }

    long task() {
        return task;
    }

    void go() {
        go.countDown();
    }

    boolean wasInterrupted() {
        return wasInterrupted;
    }

    /** What the wait for the lock failed with; 0: it did not. */
    int failedWith() {
        return failure == null ? Locks.OK : failure.status;
    }

    String failureText() {
        return failure == null ? "" : failure.getMessage();
    }
}
