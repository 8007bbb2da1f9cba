package selvedge.tests;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

/** Threads that take one lock again and again while somebody interrupts them at any moment. */
final class LocksStorm {
    private final long lock;
    private final AtomicLong interrupted = new AtomicLong();
    private volatile boolean stop;
    private volatile Throwable failure;

    private LocksStorm(long lock) {
        this.lock = lock;
    }

    private final class Worker extends Thread {
        private final long task = Locks.newTask("storm");
        long granted;

        @Override
        public void run() {
            try {
                while (!stop) turn();
            } catch (Throwable e) {
                failure = e;
                stop = true;
            } finally {
                Locks.exitTask(task);
            }
        }

        private void turn() {
            try {
                Locks.acquire(lock, task);
            } catch (InterruptedException e) {
                interrupted.incrementAndGet();
                return;
            }
            Locks.enterSection();
            granted++;
            Locks.leaveSection();
            Locks.release(lock, task);
        }

        @Override
        public void interrupt() {
            super.interrupt();
            Locks.interruptTask(task);
        }
    }

    /** Until an interrupt has ended `wanted` waits; gives how often the lock was granted. */
    static long run(long lock, int threads, long wanted) throws Throwable {
        LocksStorm storm = new LocksStorm(lock);
        List<Worker> workers = new ArrayList<>();
        Random random = new Random(7);
        for (int i = 0; i < threads; i++) workers.add(storm.new Worker());
        for (Worker worker : workers) worker.start();
        while (Locks.cancelledWaits(lock) < wanted && !storm.stop) {
            workers.get(random.nextInt(threads)).interrupt();
            Thread.yield();
        }
        storm.stop = true;
        long granted = 0;
        for (Worker worker : workers) {
            worker.join();
            granted += worker.granted;
        }
        if (storm.failure != null) throw storm.failure;
        if (storm.interrupted.get() == 0) throw new AssertionError("no wait of Java's was interrupted");
        return granted;
    }

    /** Each of the threads takes the lock so many times; nobody interrupts. */
    static void turns(long lock, int threads, long rounds) throws Throwable {
        LocksStorm storm = new LocksStorm(lock);
        List<Thread> workers = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
            workers.add(new Thread(() -> {
                try {
                    for (long done = 0; done < rounds; done++) {
                        Locks.acquire(lock, Locks.CURRENT);
                        Locks.enterSection();
                        Locks.leaveSection();
                        Locks.release(lock, Locks.CURRENT);
                    }
                } catch (Throwable e) {
                    storm.failure = e;
                }
            }));
        }
        for (Thread worker : workers) worker.start();
        for (Thread worker : workers) worker.join();
        if (storm.failure != null) throw storm.failure;
    }
}
