"""The floor of a repair: write some bytes to a file twice, and sync each time.

python benchmarks/rewrite.py FILE BYTES

Once is for the undo file and once for the image.
"""

import os
import sys

_PIECE = 1 << 20


def write_twice(path: str, length: int) -> None:
    """Write a file of some bytes, sync it, and do so again."""
    piece = os.urandom(_PIECE)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for _ in range(2):
            for offset in range(0, length, _PIECE):
                os.pwrite(descriptor, piece[: length - offset], offset)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    write_twice(sys.argv[1], int(sys.argv[2]))
