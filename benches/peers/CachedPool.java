// Executors.newCachedThreadPool, driven over standard input: see src/peers/child.rs for the protocol. The waiter is one thread in
// LockSupport.park, the closest that Java has to the futex latch of the native peers.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

public final class CachedPool {
    /** One waiter, any number of signals. */
    static final class Latch {
        private final Thread waiter = Thread.currentThread();
        private final AtomicInteger left = new AtomicInteger();

        void arm(int count) {
            left.set(count);
        }

        void signal() {
            if (left.decrementAndGet() == 0) {
                LockSupport.unpark(waiter);
            }
        }

        void await() {
            while (left.get() > 0) {
                LockSupport.park(this);
            }
        }
    }

    /** What Executors.newCachedThreadPool returns, with the idle timeout open to choice (its own is 60 s). */
    static ThreadPoolExecutor cachedPool(long idleMillis) {
        return new ThreadPoolExecutor(
            0, Integer.MAX_VALUE, idleMillis, TimeUnit.MILLISECONDS, new SynchronousQueue<>());
    }

    static void end(ExecutorService pool) throws InterruptedException {
        pool.shutdown();
        pool.awaitTermination(10, TimeUnit.SECONDS);
    }

    static void roundTrips(ExecutorService pool, Latch latch, int count) {
        Runnable job = latch::signal;
        for (int i = 0; i < count; i++) {
            latch.arm(1);
            pool.execute(job);
            latch.await();
        }
    }

    static String roundtrip(int count) throws InterruptedException {
        ThreadPoolExecutor pool = cachedPool(60_000);
        Latch latch = new Latch();
        roundTrips(pool, latch, count / 10 + 1);
        long start = System.nanoTime();
        roundTrips(pool, latch, count);
        long elapsed = System.nanoTime() - start;
        end(pool);
        return "ok " + elapsed + " " + pool.getLargestPoolSize();
    }

    static String sequential(int count) throws InterruptedException {
        ThreadPoolExecutor pool = cachedPool(60_000);
        Latch latch = new Latch();
        long start = System.nanoTime();
        roundTrips(pool, latch, count);
        long elapsed = System.nanoTime() - start;
        end(pool);
        return "ok " + elapsed + " " + pool.getLargestPoolSize();
    }

    static void hops(ExecutorService pool, Latch latch, Set<Thread> seen, int count) {
        latch.arm(1);
        AtomicInteger left = new AtomicInteger(count);
        Runnable job = new Runnable() {
            @Override
            public void run() {
                seen.add(Thread.currentThread());
                if (left.decrementAndGet() < 0) {
                    latch.signal();
                } else {
                    pool.execute(this);
                }
            }
        };
        pool.execute(job);
        latch.await();
    }

    static String chain(int count) throws InterruptedException {
        ThreadPoolExecutor pool = cachedPool(60_000);
        Latch latch = new Latch();
        Set<Thread> seen = ConcurrentHashMap.newKeySet();
        hops(pool, latch, seen, count / 20);
        seen.clear();
        long start = System.nanoTime();
        hops(pool, latch, seen, count);
        long elapsed = System.nanoTime() - start;
        end(pool);
        return "ok " + elapsed + " " + seen.size();
    }

    static String submitters(int submitters, int count) throws Exception {
        ThreadPoolExecutor pool = cachedPool(60_000);
        int share = count / submitters;
        CyclicBarrier barrier = new CyclicBarrier(submitters);
        long[] starts = new long[submitters];
        long[] ends = new long[submitters];
        Thread[] threads = new Thread[submitters];
        for (int i = 0; i < submitters; i++) {
            int self = i;
            threads[i] = new Thread(() -> {
                Latch latch = new Latch();
                roundTrips(pool, latch, share / 10 + 1);
                try {
                    barrier.await();
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
                starts[self] = System.nanoTime();
                roundTrips(pool, latch, share);
                ends[self] = System.nanoTime();
            });
            threads[i].start();
        }
        long first = Long.MAX_VALUE;
        long last = Long.MIN_VALUE;
        for (int i = 0; i < submitters; i++) {
            threads[i].join();
            first = Math.min(first, starts[i]);
            last = Math.max(last, ends[i]);
        }
        end(pool);
        return "ok " + (last - first) + " " + pool.getLargestPoolSize();
    }

    static String burst(int bursts, int burst) throws InterruptedException {
        ThreadPoolExecutor pool = cachedPool(60_000);
        Latch latch = new Latch();
        Runnable job = latch::signal;
        long start = 0;
        for (int i = 0; i <= bursts; i++) {
            if (i == 1) {
                start = System.nanoTime();
            }
            latch.arm(burst);
            for (int j = 0; j < burst; j++) {
                pool.execute(job);
            }
            latch.await();
        }
        long elapsed = System.nanoTime() - start;
        end(pool);
        return "ok " + elapsed + " " + pool.getLargestPoolSize();
    }

    static String coldstart(int count) throws InterruptedException {
        Latch latch = new Latch();
        long[] times = new long[count];
        for (int i = 0; i < count; i++) {
            long start = System.nanoTime();
            ThreadPoolExecutor pool = cachedPool(60_000);
            roundTrips(pool, latch, 1);
            times[i] = System.nanoTime() - start;
            end(pool);
        }
        Arrays.sort(times);
        return "ok " + times[count / 2] + " 1";
    }

    /** Has count jobs run at once. */
    static void occupy(ExecutorService pool, int count) throws InterruptedException {
        CountDownLatch arrived = new CountDownLatch(count);
        CountDownLatch done = new CountDownLatch(count);
        for (int i = 0; i < count; i++) {
            pool.execute(() -> {
                arrived.countDown();
                try {
                    arrived.await();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
                done.countDown();
            });
        }
        done.await();
    }

    static String reclaim(int burst, int idleMillis, int timeouts) throws InterruptedException {
        ThreadPoolExecutor pool = cachedPool(idleMillis);
        Latch latch = new Latch();
        occupy(pool, burst);
        int peak = pool.getPoolSize();
        long end = System.nanoTime() + (long) idleMillis * timeouts * 1_000_000L;
        while (System.nanoTime() < end) {
            roundTrips(pool, latch, 1);
            Thread.sleep(Math.max(1, idleMillis / 10));
        }
        int left = pool.getPoolSize();
        end(pool);
        return "ok " + left + " " + peak;
    }

    /** Proportional set size with count idle threads, in KiB. */
    static String memory(int count) throws InterruptedException, IOException {
        ThreadPoolExecutor pool = cachedPool(60_000);
        occupy(pool, count);
        while (pool.getActiveCount() > 0) {
            Thread.sleep(2);
        }
        for (String line : Files.readAllLines(Path.of("/proc/self/smaps_rollup"))) {
            if (line.startsWith("Pss:")) {
                return "ok " + line.replaceAll("[^0-9]", "") + " " + pool.getPoolSize();
            }
        }
        return "error no Pss in smaps_rollup";
    }

    public static void main(String[] args) throws Exception {
        System.out.println("ready");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.trim().split("\\s+");
            int[] n = new int[words.length];
            for (int i = 1; i < words.length; i++) {
                n[i] = Integer.parseInt(words[i]);
            }
            String answer = switch (words[0]) {
                case "roundtrip" -> roundtrip(n[1]);
                case "sequential" -> sequential(n[1]);
                case "chain" -> chain(n[1]);
                case "submitters" -> submitters(n[1], n[2]);
                case "burst" -> burst(n[1], n[2]);
                case "coldstart" -> coldstart(n[1]);
                case "reclaim" -> reclaim(n[1], n[2], n[3]);
                case "memory" -> memory(n[1]);
                default -> "error unknown command " + words[0];
            };
            System.out.println(answer);
        }
        System.exit(0);
    }
}
