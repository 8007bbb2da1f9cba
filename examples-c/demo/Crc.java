import java.nio.ByteBuffer;
import java.util.zip.CRC32;

/** The Java part of a job. */
final class Crc {
  private Crc() {}

  /** CRC-32 of the pieces in order. They are the file's memory itself: a ByteBuffer has no more than 2 GiB, a file may. */
  static int of(ByteBuffer[] pieces) {
    CRC32 crc = new CRC32();
    for (ByteBuffer piece : pieces) crc.update(piece);
    return (int) crc.getValue();
  }
}
