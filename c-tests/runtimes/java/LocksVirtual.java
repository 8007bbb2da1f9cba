package selvedge.tests;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Locks in virtual threads. Each needs a task made for it, for the implicit one is its carrier's, and waits for a future: a wait in
 * a native would hold the carrier. A JDK without virtual threads runs the same on platform threads.
 */
final class LocksVirtual {
    private static volatile Throwable failure;

    private LocksVirtual() {}

    private interface Body {
        void run(long task) throws Throwable;
    }

    private static Thread start(String name, Body body) throws ReflectiveOperationException {
        Runnable inTask = () -> {
            long task = Locks.newTask(name);
            try {
                body.run(task);
            } catch (Throwable e) {
                failure = e;
            } finally {
                Locks.exitTask(task);
            }
        };
        if (areThere()) {
            Method startVirtual = Thread.class.getMethod("startVirtualThread", Runnable.class);
            return (Thread) startVirtual.invoke(null, inTask);
        }
        Thread thread = new Thread(inTask);
        thread.start();
        return thread;
    }

    /** From JDK 21 on; before, they are not there or a preview. */
    static boolean areThere() {
        return Runtime.version().feature() >= 21;
    }

    private static void end(List<Thread> threads) throws Throwable {
        for (Thread thread : threads) thread.join();
        if (failure != null) throw failure;
    }

    /** Many more of them than carriers: each has its turns, alone. */
    static void turns(long lock, int threads, long rounds) throws Throwable {
        List<Thread> started = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
            started.add(start("virtual " + i, task -> {
                for (long done = 0; done < rounds; done++) {
                    Locks.acquireAsync(lock, task).join();
                    Locks.enterSection();
                    Thread.yield(); // its carrier goes on with another one
                    Locks.leaveSection();
                    Locks.release(lock, task);
                }
            }));
        }
        end(started);
    }

    /** The first ends with the lock in hand; the others, who wait, are told. Gives what the last of them was told. */
    static String broken(long lock, int waiters) throws Throwable {
        List<Thread> started = new ArrayList<>();
        String[] told = new String[waiters];
        started.add(start("virtual keeper", task -> {
            Locks.acquireAsync(lock, task).join();
            Locks.noteGrant("virtual keeper", 0);
            while (Locks.waiting(lock) < waiters) Thread.yield();
        }));
        Locks.awaitGrants(1);
        for (int i = 0; i < waiters; i++) {
            int place = i;
            started.add(start("virtual waiter", task -> {
                try {
                    Locks.acquireAsync(lock, task).join();
                    throw new AssertionError("the lock was granted");
                } catch (CompletionException e) {
                    told[place] = e.getCause().getMessage();
                }
            }));
        }
        end(started);
        for (String one : told) {
            if (!one.equals(told[0])) throw new AssertionError(one + " is not " + told[0]);
        }
        return told[0];
    }

    /** Rings between two that would take each other's lock: in each, one is refused and gives way. Gives how many were. */
    static long rings(long left, long right, int rounds) throws Throwable {
        AtomicLong refused = new AtomicLong();
        for (int i = 0; i < rounds; i++) {
            CyclicBarrier bothHold = new CyclicBarrier(2);
            List<Thread> pair = new ArrayList<>();
            for (long[] order : new long[][] {{left, right}, {right, left}}) {
                pair.add(start("virtual pair", task -> {
                    Locks.acquireAsync(order[0], task).join();
                    bothHold.await();
                    try {
                        Locks.acquireAsync(order[1], task).join();
                        Locks.release(order[1], task);
                    } catch (Locks.LockException e) {
                        if (e.status != Locks.E_DEADLOCK) throw e;
                        refused.incrementAndGet();
                    }
                    Locks.release(order[0], task);
                }));
            }
            end(pair);
        }
        return refused.get();
    }
}
