"""Header extensions and the backing file name, the rest of the first cluster (section 1.4).

Names and formats are untrusted bytes; whoever shows them decodes them.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple, Self

from qcow2_dump.errors import FormatError
from qcow2_dump.ondisk.constants import MAX_BACKING_NAME, ExtensionType
from qcow2_dump.ondisk.header import Header

HEAD_LENGTH = 8
FEATURE_NAME_LENGTH = 48
BITMAPS_LENGTH = 24
CRYPTO_LENGTH = 16

_HEAD = struct.Struct(">II")
_BITMAPS = struct.Struct(">IIQQ")
_CRYPTO = struct.Struct(">QQ")


class Extension(NamedTuple):
    """One extension: its type, the file offset of its 8-byte head, and its data."""

    type: int
    offset: int
    data: bytes

    @property
    def name(self) -> str:
        """The known name in lower case, else the type in hexadecimal."""
        try:
            return ExtensionType(self.type).name.lower()
        except ValueError:
            return f"{self.type:#010x}"


class FeatureName(NamedTuple):
    """What an image calls a feature bit: ``word`` is 0 incompatible, 1 compatible, 2 autoclear."""

    word: int
    bit: int
    name: bytes

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read one 48-byte record."""
        return cls(data[0], data[1], bytes(data[2:FEATURE_NAME_LENGTH]).rstrip(b"\0"))

    def pack(self) -> bytes:
        """The 48-byte record. Raises ValueError for a name of more than 46 bytes."""
        if len(self.name) > FEATURE_NAME_LENGTH - 2:
            raise ValueError(f"feature name of {len(self.name)} bytes, at most 46 fit")
        return bytes((self.word, self.bit)) + self.name.ljust(FEATURE_NAME_LENGTH - 2, b"\0")


class BitmapsExtension(NamedTuple):
    """Where the bitmap directory lies (section 6.1); sizes and offsets in bytes."""

    nb_bitmaps: int
    reserved: int
    directory_size: int
    directory_offset: int

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the data of the extension. Raises FormatError unless it is 24 bytes."""
        if len(data) != _BITMAPS.size:
            raise FormatError(f"bitmaps extension has {len(data)} bytes, must have 24")
        return cls(*_BITMAPS.unpack(data))

    def pack(self) -> bytes:
        """The 24 bytes of data."""
        return _BITMAPS.pack(
            self.nb_bitmaps, self.reserved, self.directory_size, self.directory_offset
        )


class CryptoHeader(NamedTuple):
    """Where the LUKS header lies (section 7); both in bytes."""

    offset: int
    length: int

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the data of the extension. Raises FormatError unless it is 16 bytes."""
        if len(data) != _CRYPTO.size:
            raise FormatError(f"crypto extension has {len(data)} bytes, must have 16")
        return cls(*_CRYPTO.unpack(data))

    def pack(self) -> bytes:
        """The 16 bytes of data."""
        return _CRYPTO.pack(self.offset, self.length)


def extensions_start(header: Header) -> int:
    """File offset of the first extension.

    That is header_length, also one beyond the cluster (there are no extensions then); one
    below 104 in version 3 is taken as 104, like everywhere.
    """
    return max(header.header_length, header.stored_length)


def extensions_end(header: Header) -> int:
    """File offset where the extension area ends: at the backing file name, or the cluster."""
    if header.backing_file_offset:
        return min(header.backing_file_offset, header.cluster_size)
    return header.cluster_size


class ExtensionList(NamedTuple):
    """What ``unpack_extensions`` found.

    ``end`` is the file offset just behind what was understood, end marker included.
    ``cut_off`` is None, or the offset of the head that does not fit the area, with the
    length that it claims (None when the head itself is cut).
    """

    extensions: tuple[Extension, ...]
    end: int
    cut_off: tuple[int, int | None] | None = None


def unpack_extensions(cluster0: bytes, header: Header) -> ExtensionList:
    """Split the extension area; bytes missing from ``cluster0`` read as zeros.

    The end marker is not part of the result. Never raises: a broken head ends the list.
    """
    position, end = extensions_start(header), extensions_end(header)
    if position < end and len(cluster0) < end:
        cluster0 = cluster0.ljust(end, b"\0")
    found: list[Extension] = []
    while position < end:
        if end - position < HEAD_LENGTH:
            return ExtensionList(tuple(found), position, (position, None))
        kind, length = _HEAD.unpack_from(cluster0, position)
        data_at = position + HEAD_LENGTH
        # Asked before the type is looked at, as QEMU does: also an end marker can be too long.
        if length > end - data_at:
            return ExtensionList(tuple(found), position, (position, length))
        if kind == ExtensionType.END:
            return ExtensionList(tuple(found), data_at)
        found.append(Extension(kind, position, bytes(cluster0[data_at : data_at + length])))
        # The padding of the last one may not fit; only its data must.
        position = min(data_at + _padded(length), end)
    return ExtensionList(tuple(found), position)


def pack_extensions(extensions: Iterable[Extension]) -> bytes:
    """The extensions in the given order, each padded to 8 bytes, and the end marker.

    Their ``offset`` is ignored: where they come to lie follows from their order.
    """
    parts = [
        _HEAD.pack(extension.type, len(extension.data))
        + extension.data.ljust(_padded(len(extension.data)), b"\0")
        for extension in extensions
    ]
    return b"".join(parts) + _HEAD.pack(ExtensionType.END, 0)


def last_extension(extensions: tuple[Extension, ...], kind: ExtensionType) -> Extension | None:
    """The extension of a type that counts, None when there is none."""
    return next((found for found in reversed(extensions) if found.type == kind), None)


def _padded(length: int) -> int:
    return length + 7 & ~7


def feature_names(data: bytes) -> tuple[FeatureName, ...]:
    """The records of a feature name table; an incomplete last one is left out."""
    whole = len(data) - len(data) % FEATURE_NAME_LENGTH
    return tuple(
        FeatureName.unpack(data[at : at + FEATURE_NAME_LENGTH])
        for at in range(0, whole, FEATURE_NAME_LENGTH)
    )


def backing_name_limit(header: Header) -> int:
    """Bytes that the backing file name may have at its offset (section 1.3, rule 25)."""
    return max(0, min(MAX_BACKING_NAME, header.cluster_size - header.backing_file_offset))


def backing_file_name(cluster0: bytes, header: Header) -> bytes | None:
    """The backing file name, None when the image has none.

    A name longer than allowed is cut to what is, and one that the file does not hold in
    full to what it holds. It may be empty.
    """
    start = header.backing_file_offset
    if start == 0:
        return None
    length = min(header.backing_file_size, backing_name_limit(header))
    return bytes(cluster0[start : start + length])
