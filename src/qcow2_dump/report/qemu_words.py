"""The words that `qemu-img info` has for numbers of the format."""

from qcow2_dump.ondisk.constants import CompressionType
from qcow2_dump.ondisk.header import Header

__all__ = ["compat_level", "compression_name"]

_COMPRESSIONS = {CompressionType.DEFLATE: "zlib", CompressionType.ZSTD: "zstd"}


def compat_level(header: Header) -> str:
    """The option that creates such a version: ``0.10`` or ``1.1``."""
    return "1.1" if header.is_v3 else "0.10"


def compression_name(number: int) -> str:
    """``zlib`` or ``zstd``; any other type by its number."""
    return _COMPRESSIONS[CompressionType(number)] if number in _COMPRESSIONS else f"type {number}"
