"""The LUKS1 header of an encrypted image (format section 7), as the LUKS1 description lays it out.

It holds no secret that is of use without a passphrase; key material and digests are not read.
Names in it are untrusted bytes. Named tuples, because `info` starts up with this module.
"""

import struct
from typing import NamedTuple

from qcow2_dump.errors import FormatError
from qcow2_dump.ondisk.constants import SECTOR_SIZE

__all__ = ["LUKS_HEADER_LENGTH", "LuksHeader", "LuksSlot", "unpack_luks"]

_MAGIC = b"LUKS\xba\xbe"
# magic, version, cipher, mode, hash, payload, key bytes, digest, salt, iterations, UUID
_FIXED = struct.Struct(">6sH32s32s32sII20s32sI40s")
# active mark, iterations, salt, key material, stripes
_SLOT = struct.Struct(">II32sII")
_SLOTS = 8
_ACTIVE = 0x00AC_71F3

LUKS_HEADER_LENGTH = _FIXED.size + _SLOTS * _SLOT.size
"""Bytes: 592."""


class LuksSlot(NamedTuple):
    """One of the eight places for a passphrase; ``key_offset`` in bytes of the LUKS region."""

    active: bool
    iterations: int
    key_offset: int
    stripes: int


class LuksHeader(NamedTuple):
    """What the header says of the cipher; ``payload_offset`` in bytes of the LUKS region."""

    cipher_name: bytes
    cipher_mode: bytes
    hash_spec: bytes
    payload_offset: int
    key_bytes: int
    master_key_iterations: int
    uuid: bytes
    slots: tuple[LuksSlot, ...]

    @property
    def chaining(self) -> bytes:
        """The chaining mode alone: ``xts`` of ``xts-plain64``."""
        return self.cipher_mode.partition(b"-")[0]

    @property
    def ivgen(self) -> bytes:
        """How initialisation vectors are made: ``plain64``, ``essiv``."""
        return self.cipher_mode.partition(b"-")[2].partition(b":")[0]

    @property
    def ivgen_hash(self) -> bytes:
        """The hash that ``ivgen`` uses, empty when none."""
        return self.cipher_mode.partition(b":")[2]

    @property
    def cipher_alg(self) -> bytes:
        """The cipher with the bits of its key, of which XTS takes two: ``aes-256``."""
        bits = self.key_bytes * 8 // (2 if self.chaining == b"xts" else 1)
        return b"%b-%d" % (self.cipher_name, bits)


def unpack_luks(data: bytes) -> LuksHeader:
    """Read a LUKS1 header. Raises FormatError for anything else."""
    if len(data) < LUKS_HEADER_LENGTH:
        raise FormatError(f"LUKS header of {len(data)} bytes, must have {LUKS_HEADER_LENGTH}")
    magic, version, cipher, mode, hash_spec, payload, key_bytes, _, _, iterations, uuid = (
        _FIXED.unpack_from(data)
    )
    if magic != _MAGIC:
        raise FormatError(f"no LUKS header: it starts with {magic.hex()}")
    if version != 1:
        raise FormatError(f"LUKS version {version}, must be 1")
    return LuksHeader(
        cipher_name=_text(cipher),
        cipher_mode=_text(mode),
        hash_spec=_text(hash_spec),
        payload_offset=payload * SECTOR_SIZE,
        key_bytes=key_bytes,
        master_key_iterations=iterations,
        uuid=_text(uuid),
        slots=tuple(
            LuksSlot(mark == _ACTIVE, rounds, sector * SECTOR_SIZE, stripes)
            for mark, rounds, _, sector, stripes in (
                _SLOT.unpack_from(data, _FIXED.size + number * _SLOT.size)
                for number in range(_SLOTS)
            )
        ),
    )


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
