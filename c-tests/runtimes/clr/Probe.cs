// Probe.cs: the managed half of the CoreCLR tests: hooks that count, and small deeds that a job asks for. Every method that C
// calls catches what it can throw and answers with a number. Nothing here touches culture, cryptography or the console, which need
// native libraries that a bare runtime folder lacks.
using System;
using System.Runtime.InteropServices;
using System.Threading;

namespace Selvedge.Tests {
  public static class Probe {
    static int starts, exits, befores, afters;
    static readonly ManualResetEvent gate = new ManualResetEvent(false);
    [ThreadStatic] static int startedHere;

    // The four hooks. The slot carries the managed thread's id, so that Exit can tell whether it runs where Start ran.
    public static int Start(IntPtr user, IntPtr worker, IntPtr slot) {
      startedHere = Thread.CurrentThread.ManagedThreadId;
      Marshal.WriteIntPtr(slot, new IntPtr(startedHere));
      Interlocked.Increment(ref starts);
      return 0;
    }

    public static void Exit(IntPtr user, IntPtr worker, IntPtr slot) {
      if (startedHere != 0 && slot.ToInt64() == Thread.CurrentThread.ManagedThreadId) Interlocked.Increment(ref exits);
    }

    public static int Before(IntPtr user, IntPtr worker, IntPtr slot) {
      if (slot.ToInt64() != Thread.CurrentThread.ManagedThreadId) return 1;
      Interlocked.Increment(ref befores);
      return 0;
    }

    public static void After(IntPtr user, IntPtr worker, IntPtr slot) { Interlocked.Increment(ref afters); }

    // A start that fails the way managed code does: it throws, it is caught, a code comes back.
    public static int StartFailing(IntPtr user, IntPtr worker, IntPtr slot) {
      try {
        throw new InvalidOperationException();
      } catch (InvalidOperationException) {
        return 7;
      }
    }

    public static int Starts() { return Volatile.Read(ref starts); }
    public static int Exits() { return Volatile.Read(ref exits); }
    public static int Befores() { return Volatile.Read(ref befores); }
    public static int Afters() { return Volatile.Read(ref afters); }

    // True for a thread on which Start ran: a thread-static shows that a worker is one and the same managed thread throughout.
    public static int StartedHere() { return startedHere == Thread.CurrentThread.ManagedThreadId ? 1 : 0; }
    public static int ThreadId() { return Thread.CurrentThread.ManagedThreadId; }
    public static int IsBackground() { return Thread.CurrentThread.IsBackground ? 1 : 0; }

    sealed class Box { public int Value = 1; }

    // The load through null is a real SIGSEGV, which the runtime turns into an exception.
    public static int CatchNullReference(int rounds) {
      int caught = 0;
      for (int i = 0; i < rounds; i++) {
        Box box = i < 0 ? new Box() : null;
        try {
          caught += box.Value;
        } catch (NullReferenceException) {
          caught++;
        }
      }
      return caught;
    }

    // Garbage, and a collection that has to stop every managed thread.
    public static int Collect(int objects) {
      object[] keep = new object[16];
      for (int i = 0; i < objects; i++) keep[i & 15] = new byte[100];
      GC.Collect();
      GC.WaitForPendingFinalizers();
      return keep[0] == null ? 0 : 1;
    }

    // A job that waits in managed code until Open.
    public static int WaitForGate() { return gate.WaitOne() ? 1 : 0; }
    public static int OpenGate() { return gate.Set() ? 1 : 0; }

    static readonly uint[] table = MakeTable();

    static uint[] MakeTable() {
      uint[] made = new uint[256];
      for (uint i = 0; i < 256; i++) {
        uint c = i;
        for (int bit = 0; bit < 8; bit++) c = (c & 1) != 0 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        made[i] = c;
      }
      return made;
    }

    public static uint Crc32(IntPtr data, int length) {
      uint crc = 0xFFFFFFFFu;
      for (int i = 0; i < length; i++) crc = table[(crc ^ Marshal.ReadByte(data, i)) & 0xFF] ^ (crc >> 8);
      return crc ^ 0xFFFFFFFFu;
    }

    // The other way by which C gets a managed function: a delegate, kept alive by a static field.
    delegate int StartDelegate(IntPtr user, IntPtr worker, IntPtr slot);
    static readonly StartDelegate start = Start;
    public static IntPtr StartPointer() { return Marshal.GetFunctionPointerForDelegate(start); }

    delegate int NativeFunction(IntPtr arg);

    // What a host does whose process .NET itself may end: unregister when ProcessExit comes.
    public static int CallAtProcessExit(IntPtr function, IntPtr arg) {
      try {
        NativeFunction call = Marshal.GetDelegateForFunctionPointer<NativeFunction>(function);
        AppDomain.CurrentDomain.ProcessExit += (sender, e) => call(arg);
        return 0;
      } catch (Exception) {
        return -1;
      }
    }

    public static int ExitProcess(int code) {
      Environment.Exit(code);
      return -1;
    }
  }
}
