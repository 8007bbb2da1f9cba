"""The CRC-32 of many files, on the threads of a cache that the whole process shares.

An Executor has no threads of its own: it sends at most ``max_workers`` jobs at a time to its cache. zlib lets go of the GIL while it computes, so two
workers use two processors.

Prints::

    64 files, 16777216 bytes
    the same as one after the other: True
    at most 4 at a time: True
"""

import tempfile
import zlib
from pathlib import Path

import selvedge


def checksum(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    return len(content), zlib.crc32(content)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number:02}.bin") for number in range(64)]
        for number, path in enumerate(paths):
            path.write_bytes(bytes([number]) * 262_144)

        cache = selvedge.ThreadCache(name="checksum")
        with selvedge.Executor(max_workers=4, cache=cache) as pool:
            answers = list(pool.map(checksum, paths))

        print(len(answers), "files,", sum(size for size, _ in answers), "bytes")
        print("the same as one after the other:", answers == [checksum(path) for path in paths])
        print("at most 4 at a time:", cache.stats().peak_workers <= 4)
        cache.shutdown()


if __name__ == "__main__":
    main()
