package selvedge.tests;

import java.util.concurrent.CountDownLatch;

/** A Java thread that takes one lock, and when it is told to another one; refused that, it gives way and lets go of the first. */
final class LocksPair extends Thread {
    private final long first;
    private final long second;
    private final CountDownLatch go = new CountDownLatch(1);
    private volatile int status;
    private volatile String detail = "";
    private volatile Throwable failure;

    LocksPair(String name, long first, long second) {
        super(name);
        this.first = first;
        this.second = second;
    }

    static LocksPair begin(String name, long first, long second) {
        LocksPair pair = new LocksPair(name, first, second);
        pair.start();
        return pair;
    }

    @Override
    public void run() {
        long task = Locks.newTask(getName());
        try {
            Locks.acquire(first, task);
            Locks.noteGrant(getName(), 0);
            go.await();
            try {
                Locks.acquire(second, task);
                Locks.release(second, task);
            } catch (Locks.LockException e) {
                status = e.status;
                detail = e.getMessage();
            }
            Locks.release(first, task);
        } catch (Throwable e) {
            failure = e;
        } finally {
            Locks.exitTask(task);
        }
    }

    void go() {
        go.countDown();
    }

    /** What the second lock was refused with, as text; null: it was not. Waits for the end of the thread. */
    String refusal() throws Throwable {
        join();
        if (failure != null) throw failure;
        return status == Locks.OK ? null : status + " " + detail;
    }
}
