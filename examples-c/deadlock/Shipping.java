/** The task in Java: a thread that takes locks through natives, and waits in the call. */
final class Shipping extends Thread {
    private static final int STOCK = 1;
    private static final int LEDGER = 2;
    private volatile boolean isDone;

    private Shipping() {
        super("shipping (Java)");
    }

    /** IllegalStateException: the lock was not to be had; its message says why. */
    private static native void acquire(int lock);

    private static native void release(int lock);

    private static native void move(int from, int to);

    @Override
    public void run() {
        acquire(STOCK);
        try {
            acquire(LEDGER);
            try {
                move(STOCK, LEDGER);
            } finally {
                release(LEDGER);
            }
        } finally {
            release(STOCK);
        }
        isDone = true;
    }

    static Shipping begin() {
        Shipping shipping = new Shipping();
        shipping.start();
        return shipping;
    }

    /** Whether it came to its end. */
    boolean end() throws InterruptedException {
        join();
        return isDone;
    }
}
