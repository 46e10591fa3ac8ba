"""What a plan says that lies in a place, compared with what does."""

from qcow2_dump.plan.spool import Blob
from qcow2_dump.plan.target import Readable

__all__ = ["first_difference"]

_PIECE = 1 << 20


def first_difference(blob: Blob, offset: int, source: Readable) -> int | None:
    """The first offset at which a source does not hold the bytes of a blob; None where it does.

    Of bytes in place it is only known that they differ: then it is where they begin. Raises
    SourceError.
    """
    if blob.in_place:
        return None if blob.is_held(source.read(offset, blob.length)) else offset
    for start in range(0, blob.length, _PIECE):
        expected = blob.read(start, _PIECE)
        held = source.read(offset + start, len(expected))
        if held != expected:
            pairs = enumerate(zip(held, expected, strict=True))
            return next(offset + start + at for at, (one, other) in pairs if one != other)
    return None
