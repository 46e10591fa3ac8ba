"""The floor of a dump: write the bytes of a file to standard output, and do nothing else.

python benchmarks/echo.py FILE
"""

import sys

_PIECE = 1 << 20


def main(path: str) -> None:
    """Copy the file in pieces of 1 MiB."""
    with open(path, "rb", buffering=0) as source:  # noqa: PTH123 - loading pathlib takes longer
        while piece := source.read(_PIECE):
            sys.stdout.buffer.write(piece)


if __name__ == "__main__":
    main(sys.argv[1])
