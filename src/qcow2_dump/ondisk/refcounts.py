"""One refcount of 1 to 64 bits in a refcount block (format section 2.2).

Entries narrower than a byte fill each byte from its least significant bit; wider ones are
big-endian. ``order`` is refcount_order: the width is ``2**order`` bits.
"""

from collections.abc import Sequence


def _shift_and_mask(index: int, order: int) -> tuple[int, int, int]:
    """Byte, shift and mask of a refcount narrower than a byte."""
    bits = 1 << order
    byte, within = divmod(index * bits, 8)
    return byte, within, (1 << bits) - 1


def get_refcount(block: bytes | bytearray | memoryview, index: int, order: int) -> int:
    """Refcount ``index`` of a block. Raises IndexError beyond the end of the block."""
    if not 0 <= index < len(block) * 8 >> order:
        raise IndexError(f"refcount {index} lies outside the block")
    if order < 3:
        byte, shift, mask = _shift_and_mask(index, order)
        return (block[byte] >> shift) & mask
    width = 1 << order - 3
    return int.from_bytes(block[index * width : (index + 1) * width], "big")


def set_refcount(block: bytearray, index: int, order: int, value: int) -> None:
    """Store refcount ``index`` of a block in place.

    Raises ValueError when ``value`` does not fit the width, IndexError beyond the block.
    """
    if not 0 <= value < 1 << (1 << order):
        raise ValueError(f"refcount {value} does not fit {1 << order} bits")
    if not 0 <= index < len(block) * 8 >> order:
        raise IndexError(f"refcount {index} lies outside the block")
    if order < 3:
        byte, shift, mask = _shift_and_mask(index, order)
        block[byte] = block[byte] & ~(mask << shift) | value << shift
        return
    width = 1 << order - 3
    block[index * width : (index + 1) * width] = value.to_bytes(width, "big")


def unpack_refcounts(block: bytes | bytearray | memoryview, order: int) -> list[int]:
    """All refcounts of a block."""
    return [get_refcount(block, index, order) for index in range(len(block) * 8 >> order)]


def pack_refcounts(values: Sequence[int], order: int) -> bytes:
    """The block that holds ``values``, whole bytes long.

    Raises ValueError when a value does not fit the width.
    """
    block = bytearray(-(-(len(values) << order) // 8))
    for index, value in enumerate(values):
        set_refcount(block, index, order, value)
    return bytes(block)
