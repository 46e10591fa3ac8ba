"""Header extensions and the backing file name (section 1.4)."""

from typing import Any

import pytest

from qcow2_dump.errors import FormatError
from qcow2_dump.ondisk.constants import ExtensionType
from qcow2_dump.ondisk.extensions import (
    BitmapsExtension,
    CryptoHeader,
    Extension,
    ExtensionArea,
    FeatureName,
    backing_file_name,
    pack_extensions,
    parse_extensions,
)
from qcow2_dump.ondisk.header import Header
from tests.ondisk.samples import V2, v3

END = bytes(8)


def head(kind: int, length: int) -> bytes:
    return kind.to_bytes(4, "big") + length.to_bytes(4, "big")


def ext(kind: int, data: bytes) -> bytes:
    return head(kind, len(data)) + data + bytes(-len(data) % 8)


def parse(area: bytes, **changes: Any) -> ExtensionArea:
    header = v3(**changes)
    return parse_extensions(header.pack() + area, header)


def told(area: ExtensionArea) -> set[tuple[str, bool]]:
    return {(problem.rule, problem.refused) for problem in area.problems}


def test_known_extensions_are_read() -> None:
    names = bytes((0, 3)) + b"compression type".ljust(46, b"\0") + bytes((2, 0)) + b"b".ljust(46)
    bitmaps = BitmapsExtension(1, 0, 32, 0xA0000)
    area = parse(
        ext(0xE2792ACA, b"qcow2")
        + ext(0x44415441, b"disk.raw")
        + ext(0x0537BE77, CryptoHeader(0x40000, 0x1F9000).pack())
        + ext(0x6803F857, names + b"left over")
        + ext(0x23852875, bitmaps.pack())
        + ext(0x12345678, b"unknown")
        + END,
        incompatible_features=4,
        crypt_method=2,
        autoclear_features=1,
    )
    assert area.problems == ()
    assert area.backing_format == b"qcow2"
    assert area.data_file == b"disk.raw"
    assert area.crypto == CryptoHeader(0x40000, 0x1F9000)
    assert area.bitmaps == bitmaps
    assert area.feature_names == (
        FeatureName(0, 3, b"compression type"),
        FeatureName(2, 0, b"b".ljust(46)),
    )
    assert [found.name for found in area.extensions][-1] == "0x12345678"
    assert area.extensions[-1].data == b"unknown"
    assert area.extensions[0].offset == 112


def test_bytes_of_the_fixed_size_extensions() -> None:
    assert BitmapsExtension(1, 2, 3, 4).pack() == bytes.fromhex(
        "00000001 00000002 0000000000000003 0000000000000004"
    )
    assert CryptoHeader(5, 6).pack() == bytes.fromhex("0000000000000005 0000000000000006")


def test_nothing_to_read_means_nothing_wrong() -> None:
    area = parse(b"")
    assert (area.extensions, area.problems, area.end) == ((), (), 120)
    assert (area.backing_format, area.data_file, area.bitmaps, area.crypto) == (None,) * 4
    assert area.feature_names == ()


def test_version_2_extensions_start_at_72() -> None:
    area = parse_extensions(V2.pack() + ext(0xE2792ACA, b"raw"), V2)
    assert area.backing_format == b"raw"
    assert area.extensions[0].offset == 72


def test_the_area_may_end_without_an_end_marker() -> None:
    area = parse(ext(0x12345678, bytes(8)), backing_file_offset=128, backing_file_size=1)
    assert area.problems == ()
    assert area.end == 128


def test_the_padding_of_the_last_extension_may_not_fit() -> None:
    area = parse(ext(0x12345678, b"abc"), backing_file_offset=123, backing_file_size=1)
    assert area.problems == ()
    assert area.extensions == (Extension(0x12345678, 112, b"abc"),)


def test_a_head_that_crosses_the_end() -> None:
    area = parse(ext(0x12345678, b""), backing_file_offset=127, backing_file_size=1)
    assert told(area) == {("extension-head", True)}
    assert area.problems[0].offset == 120
    assert len(area.extensions) == 1


@pytest.mark.parametrize("kind", [0, 0x12345678, 0xE2792ACA])
def test_length_is_judged_before_the_type(kind: int) -> None:
    room = 65536 - 112 - 8
    assert parse(head(kind, room)).problems == () or kind == 0xE2792ACA
    broken = parse(ext(0x11111111, b"kept") + head(kind, room - 16 + 1))
    assert told(broken) == {("extension-length", True)}
    assert broken.problems[0].offset == 112 + 16 + 4
    assert broken.problems[0].value == room - 16 + 1
    assert [found.data for found in broken.extensions] == [b"kept"]


def test_an_end_marker_with_a_fitting_length_ends_the_list() -> None:
    assert parse(head(0, 16) + ext(1, b"x")).extensions == ()


@pytest.mark.parametrize(
    ("area", "rule"),
    [
        (ext(0x23852875, bytes(23)), "bitmaps-length"),
        (ext(0x23852875, bytes(32)), "bitmaps-length"),
        (ext(0xE2792ACA, bytes(16)), "backing-format-length"),
    ],
)
def test_lengths(area: bytes, rule: str) -> None:
    assert told(parse(area)) == {(rule, True)}
    assert parse(area).bitmaps is None


def test_longest_backing_format() -> None:
    assert parse(ext(0xE2792ACA, b"f" * 15)).problems == ()


def test_crypto_length() -> None:
    area = parse(ext(0x0537BE77, bytes(24)), crypt_method=2)
    assert told(area) == {("crypto-length", True)}
    assert area.crypto is None


def test_duplicates_are_accepted_and_the_last_one_counts() -> None:
    area = parse(ext(0xE2792ACA, b"raw") + ext(0xE2792ACA, b"qcow2"))
    assert told(area) == {("extension-duplicate", False)}
    assert area.backing_format == b"qcow2"


def test_data_file_name_and_feature_bit_belong_together() -> None:
    assert told(parse(b"", incompatible_features=4)) == {("data-file-missing", True)}
    assert told(parse(ext(0x44415441, b"d"))) == {("data-file-unexpected", False)}
    assert parse(ext(0x44415441, b"d"), incompatible_features=4).problems == ()


def test_autoclear_bit_0_needs_the_bitmaps_extension() -> None:
    assert told(parse(b"", autoclear_features=1)) == {("bitmaps-missing", False)}


@pytest.mark.parametrize("method", [0, 1])
def test_crypto_extension_without_luks(method: int) -> None:
    crypto = ext(0x0537BE77, CryptoHeader(0x40000, 0x1000).pack())
    assert told(parse(crypto, crypt_method=method)) == {("crypto-unexpected", True)}


def test_luks_without_crypto_extension() -> None:
    assert told(parse(b"", crypt_method=2)) == {("crypto-missing", True)}
    assert parse(b"", crypt_method=1).problems == ()


def test_crypto_header_starts_on_a_cluster() -> None:
    crypto = ext(0x0537BE77, CryptoHeader(0x40200, 0x1000).pack())
    area = parse(crypto, crypt_method=2)
    assert told(area) == {("crypto-offset", True)}
    assert area.problems[0].offset == 120


@pytest.mark.parametrize(
    ("offset", "size", "fits"),
    [
        (512, 1023, True),
        (512, 1024, False),
        (65536 - 10, 10, True),
        (65536 - 10, 11, False),
        (65536, 0, True),
        (65536, 1, False),
        (0, 2**32 - 1, True),
    ],
)
def test_length_of_the_backing_name(offset: int, size: int, fits: bool) -> None:
    area = parse(b"", backing_file_offset=offset, backing_file_size=size)
    assert told(area) == (set() if fits else {("backing-size", True)})


def test_backing_name_inside_the_header() -> None:
    area = parse(b"", backing_file_offset=8, backing_file_size=4)
    assert told(area) == {("backing-overlap", False)}
    assert area.extensions == ()
    assert parse(b"", backing_file_offset=112, backing_file_size=4).problems == ()


def test_backing_file_name() -> None:
    header = v3(backing_file_offset=120, backing_file_size=5)
    assert backing_file_name(header.pack() + END + b"\xffasexyz", header) == b"\xffasex"
    assert backing_file_name(header.pack() + END + b"ba", header) == b"ba"
    assert backing_file_name(header.pack(), v3(backing_file_size=5)) is None
    too_long = header._replace(backing_file_size=5000)
    assert backing_file_name(bytes(65536), too_long) == bytes(1023)
    beyond = header._replace(backing_file_offset=70000)
    assert backing_file_name(bytes(80000), beyond) == b""


@pytest.mark.parametrize("length", [0, 103, 65537, 2**32 - 1])
def test_impossible_header_length_does_not_hang_or_raise(length: int) -> None:
    header = Header.unpack(v3(header_length=length, padding=b"").pack())
    area = parse_extensions(header.pack() + ext(0xE2792ACA, b"raw"), header)
    assert area.backing_format == (b"raw" if length < 104 else None)


def test_pack_pads_and_ends_the_list() -> None:
    packed = pack_extensions([Extension(ExtensionType.BACKING_FORMAT, 0, b"raw")])
    assert packed == bytes.fromhex("e2792aca00000003") + b"raw" + bytes(5) + END


def test_wrong_lengths_do_not_unpack() -> None:
    with pytest.raises(FormatError):
        BitmapsExtension.unpack(bytes(23))
    with pytest.raises(FormatError):
        CryptoHeader.unpack(bytes(24))


def test_a_feature_name_has_46_bytes() -> None:
    assert len(FeatureName(0, 1, b"n" * 46).pack()) == 48
    with pytest.raises(ValueError, match="at most 46"):
        FeatureName(0, 1, b"n" * 47).pack()
