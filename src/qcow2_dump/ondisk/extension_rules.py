"""Which rules of format sections 1.3 and 1.4 the header extensions and the backing name break."""

from collections.abc import Iterator

from qcow2_dump.ondisk.constants import (
    MAX_BACKING_FORMAT,
    AutoclearFeature,
    CryptMethod,
    ExtensionType,
)
from qcow2_dump.ondisk.extension_records import (
    BITMAPS_LENGTH,
    CRYPTO_LENGTH,
    HEAD_LENGTH,
    CryptoHeader,
    Extension,
    ExtensionList,
    backing_name_limit,
    extensions_end,
    last_extension,
)
from qcow2_dump.ondisk.header import FIELD_OFFSETS, Header
from qcow2_dump.ondisk.rules import BrokenRule


def broken_extension_rules(found: ExtensionList, header: Header) -> Iterator[BrokenRule]:
    """Every rule that the extension area of ``header`` breaks; offsets are file offsets."""
    yield from _area_rules(found, header)
    yield from _length_rules(found.extensions)
    yield from _duplicate_rules(found.extensions)
    yield from _presence_rules(found.extensions, header)
    yield from _crypto_rules(found.extensions, header)
    yield from _backing_name_rules(header)


def _area_rules(found: ExtensionList, header: Header) -> Iterator[BrokenRule]:
    if found.cut_off is None:
        return
    offset, length = found.cut_off
    left = extensions_end(header) - offset
    if length is None:
        expected = f"at least {HEAD_LENGTH} bytes for the head"
        message = f"extension head at {offset:#x} does not fit the {left} bytes left"
        yield BrokenRule("extension-head", "head", offset, left, expected, message, refused=True)
        return
    left -= HEAD_LENGTH
    yield BrokenRule(
        "extension-length",
        "length",
        offset + 4,
        length,
        f"at most {left} bytes",
        f"extension at {offset:#x} claims {length} bytes, {left} are left",
        refused=True,
    )


def _length_rules(extensions: tuple[Extension, ...]) -> Iterator[BrokenRule]:
    exact = {ExtensionType.BITMAPS: BITMAPS_LENGTH, ExtensionType.CRYPTO: CRYPTO_LENGTH}
    for extension in extensions:
        length = len(extension.data)
        if extension.type in exact and length != exact[ExtensionType(extension.type)]:
            expected = f"exactly {exact[ExtensionType(extension.type)]} bytes"
        elif extension.type == ExtensionType.BACKING_FORMAT and length > MAX_BACKING_FORMAT:
            expected = f"at most {MAX_BACKING_FORMAT} bytes"
        else:
            continue
        rule = f"{extension.name.replace('_', '-')}-length"
        message = f"{extension.name} extension has {length} bytes, must have {expected}"
        yield BrokenRule(
            rule, "length", extension.offset + 4, length, expected, message, refused=True
        )


def _duplicate_rules(extensions: tuple[Extension, ...]) -> Iterator[BrokenRule]:
    seen: set[int] = set()
    for extension in extensions:
        if extension.type in seen:
            yield BrokenRule(
                "extension-duplicate",
                "type",
                extension.offset,
                extension.type,
                "each type once",
                f"another {extension.name} extension at {extension.offset:#x}",
                refused=False,
            )
        seen.add(extension.type)


def _presence_rules(extensions: tuple[Extension, ...], header: Header) -> Iterator[BrokenRule]:
    """Feature bits and extensions that must come together."""
    data_file = last_extension(extensions, ExtensionType.DATA_FILE)
    if header.has_data_file and data_file is None:  # rule 22
        yield BrokenRule(
            "data-file-missing",
            "incompatible_features",
            FIELD_OFFSETS["incompatible_features"],
            header.incompatible_features,
            "a data file name extension beside incompatible bit 2",
            "the image needs an external data file but does not name it",
            refused=True,
        )
    if data_file is not None and not header.has_data_file:
        yield BrokenRule(
            "data-file-unexpected",
            "type",
            data_file.offset,
            data_file.type,
            "incompatible bit 2 beside a data file name",
            "the image names an external data file but does not use one",
            refused=False,
        )
    announced = AutoclearFeature.BITMAPS in header.autoclear
    if announced and last_extension(extensions, ExtensionType.BITMAPS) is None:
        yield BrokenRule(
            "bitmaps-missing",
            "autoclear_features",
            FIELD_OFFSETS["autoclear_features"],
            header.autoclear_features,
            "a bitmaps extension beside autoclear bit 0",
            "autoclear bit 0 announces bitmaps but there is no bitmaps extension",
            refused=False,
        )


def _crypto_rules(extensions: tuple[Extension, ...], header: Header) -> Iterator[BrokenRule]:
    """Rule 24, and the place of the encryption header (section 7)."""
    crypto = last_extension(extensions, ExtensionType.CRYPTO)
    if crypto is None:
        if header.crypt_method == CryptMethod.LUKS:
            yield BrokenRule(
                "crypto-missing",
                "crypt_method",
                FIELD_OFFSETS["crypt_method"],
                header.crypt_method,
                "a crypto extension beside crypt_method 2",
                "crypt_method is 2 (LUKS) but there is no crypto extension",
                refused=True,
            )
        return
    if header.crypt_method != CryptMethod.LUKS:
        yield BrokenRule(
            "crypto-unexpected",
            "type",
            crypto.offset,
            crypto.type,
            "crypt_method 2 beside a crypto extension",
            f"there is a crypto extension but crypt_method is {header.crypt_method}",
            refused=True,
        )
    if len(crypto.data) != CRYPTO_LENGTH:
        return
    offset = CryptoHeader.unpack(crypto.data).offset
    if not header.geometry.is_aligned(offset):
        yield BrokenRule(
            "crypto-offset",
            "offset",
            crypto.offset + HEAD_LENGTH,
            offset,
            f"a multiple of the cluster size, {header.cluster_size}",
            f"encryption header at {offset:#x} does not start on a cluster",
            refused=True,
        )


def _backing_name_rules(header: Header) -> Iterator[BrokenRule]:
    offset, size = header.backing_file_offset, header.backing_file_size
    if offset == 0:
        return
    if size > backing_name_limit(header):  # rule 25
        limit = backing_name_limit(header)
        yield BrokenRule(
            "backing-size",
            "backing_file_size",
            FIELD_OFFSETS["backing_file_size"],
            size,
            f"at most {limit} bytes",
            f"backing file name has {size} bytes, at most {limit} are allowed there",
            refused=True,
        )
    # Extensions end where the name starts, so it can only run into the header itself.
    if offset < header.stored_length:
        yield BrokenRule(
            "backing-overlap",
            "backing_file_offset",
            FIELD_OFFSETS["backing_file_offset"],
            offset,
            f"{header.stored_length} or more",
            f"backing file name at {offset:#x} lies inside the header",
            refused=False,
        )
