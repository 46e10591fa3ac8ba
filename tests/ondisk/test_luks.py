"""The LUKS1 header: where its fields lie, and what they are called."""

import struct

import pytest

from qcow2_dump.errors import FormatError
from qcow2_dump.ondisk.luks import LUKS_HEADER_LENGTH, LuksSlot, unpack_luks

ACTIVE, INACTIVE = 0x00AC71F3, 0x0000DEAD


def header(
    cipher: bytes = b"aes",
    mode: bytes = b"xts-plain64",
    key_bytes: int = 64,
    magic: bytes = b"LUKS\xba\xbe",
    version: int = 1,
) -> bytes:
    """A header with one passphrase in its second slot."""
    fixed = magic + struct.pack(">H", version)
    fixed += cipher.ljust(32, b"\0") + mode.ljust(32, b"\0") + b"sha256".ljust(32, b"\0")
    fixed += struct.pack(">II", 4040, key_bytes) + bytes(20) + bytes(32) + struct.pack(">I", 3092)
    fixed += b"cb698854-bb84-448d-94e3-991019ce44fb".ljust(40, b"\0")
    slots = b"".join(
        struct.pack(">II32sII", ACTIVE if n == 1 else INACTIVE, 1000 + n, b"", 8 + 504 * n, 4000)
        for n in range(8)
    )
    return fixed + slots


def test_fields() -> None:
    luks = unpack_luks(header())
    assert LUKS_HEADER_LENGTH == len(header()) == 592
    assert (luks.cipher_name, luks.cipher_mode, luks.hash_spec) == (
        b"aes",
        b"xts-plain64",
        b"sha256",
    )
    assert (luks.payload_offset, luks.key_bytes) == (4040 * 512, 64)
    assert luks.master_key_iterations == 3092
    assert luks.uuid == b"cb698854-bb84-448d-94e3-991019ce44fb"
    assert [slot.active for slot in luks.slots] == [False, True] + [False] * 6
    assert luks.slots[1] == LuksSlot(True, 1001, 512 * 512, 4000)


@pytest.mark.parametrize(
    ("cipher", "mode", "key_bytes", "words"),
    [
        (b"aes", b"xts-plain64", 64, (b"aes-256", b"xts", b"plain64", b"")),
        (b"aes", b"xts-plain64", 32, (b"aes-128", b"xts", b"plain64", b"")),
        (b"serpent", b"cbc-essiv:sha256", 32, (b"serpent-256", b"cbc", b"essiv", b"sha256")),
        (b"cast5", b"cbc-plain", 16, (b"cast5-128", b"cbc", b"plain", b"")),
        (b"aes", b"", 32, (b"aes-256", b"", b"", b"")),
    ],
)
def test_the_words_of_qemu(
    cipher: bytes, mode: bytes, key_bytes: int, words: tuple[bytes, ...]
) -> None:
    luks = unpack_luks(header(cipher, mode, key_bytes))
    assert (luks.cipher_alg, luks.chaining, luks.ivgen, luks.ivgen_hash) == words


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(592), "no LUKS header"),
        (header(version=2), "LUKS version 2"),
        (header()[:-1], "591 bytes"),
    ],
)
def test_what_is_no_luks1_header(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        unpack_luks(data)
