// Crc.cs: the C# part of a job, for CoreCLR and for Mono. C calls these methods, so none of them may let an exception out.
using System;

namespace Selvedge.Demo {
  public static unsafe class Crc {
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

    // The file's memory itself, not a copy.
    public static uint Of(IntPtr data, long length) {
      uint[] t = table;
      uint crc = 0xFFFFFFFFu;
      byte* p = (byte*)data, end = p + length;
      while (p < end) crc = t[(byte)(crc ^ *p++)] ^ (crc >> 8);
      return ~crc;
    }

    // The hook's on_start on CoreCLR: being called is what makes a worker a managed thread, and the first call compiles Of.
    public static int Start(IntPtr user, IntPtr worker, IntPtr slot) {
      byte nine = (byte)'9';
      return Of((IntPtr)(&nine), 1) == 0x8D076785u ? 0 : -1;
    }
  }
}
