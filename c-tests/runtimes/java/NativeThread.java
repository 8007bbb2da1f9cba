package selvedge.tests;

/** A thread whose body is written in C. */
public final class NativeThread extends Thread {
    @Override
    public native void run();
}
