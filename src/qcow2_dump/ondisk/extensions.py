"""The extension area read leniently (section 1.4), and the names of its records in one place."""

from typing import NamedTuple

from qcow2_dump.ondisk.constants import ExtensionType
from qcow2_dump.ondisk.extension_records import (
    BITMAPS_LENGTH,
    CRYPTO_LENGTH,
    BitmapsExtension,
    CryptoHeader,
    Extension,
    FeatureName,
    backing_file_name,
    feature_names,
    last_extension,
    pack_extensions,
    unpack_extensions,
)
from qcow2_dump.ondisk.extension_rules import broken_extension_rules
from qcow2_dump.ondisk.header import Header
from qcow2_dump.ondisk.rules import BrokenRule

__all__ = [
    "BitmapsExtension",
    "CryptoHeader",
    "Extension",
    "ExtensionArea",
    "FeatureName",
    "backing_file_name",
    "pack_extensions",
    "parse_extensions",
]


class ExtensionArea(NamedTuple):
    """The extensions of an image, and what is wrong with them.

    ``extensions`` holds what could be read, up to the first head that does not fit, without
    the end marker. ``end`` is the file offset just behind it. Of several extensions of one
    type the last one counts, as in QEMU.
    """

    extensions: tuple[Extension, ...]
    problems: tuple[BrokenRule, ...]
    end: int

    def last(self, kind: ExtensionType) -> Extension | None:
        """The extension of a type that counts, None when there is none."""
        return last_extension(self.extensions, kind)

    @property
    def backing_format(self) -> bytes | None:
        """Format name of the backing file."""
        found = self.last(ExtensionType.BACKING_FORMAT)
        return found.data if found else None

    @property
    def data_file(self) -> bytes | None:
        """Name of the external data file, also when the header does not ask for one."""
        found = self.last(ExtensionType.DATA_FILE)
        return found.data if found else None

    @property
    def feature_names(self) -> tuple[FeatureName, ...]:
        """The feature name table, empty when there is none."""
        found = self.last(ExtensionType.FEATURE_NAMES)
        return feature_names(found.data) if found else ()

    @property
    def bitmaps(self) -> BitmapsExtension | None:
        """Where the bitmap directory lies; to be trusted only with autoclear bit 0.

        None as well when the extension has a wrong length. Its values are judged by
        ``bitmaps.bitmap_extension_rules``.
        """
        found = self.last(ExtensionType.BITMAPS)
        if found is None or len(found.data) != BITMAPS_LENGTH:
            return None
        return BitmapsExtension.unpack(found.data)

    @property
    def crypto(self) -> CryptoHeader | None:
        """Where the LUKS header lies; None as well when the extension has a wrong length."""
        found = self.last(ExtensionType.CRYPTO)
        if found is None or len(found.data) != CRYPTO_LENGTH:
            return None
        return CryptoHeader.unpack(found.data)


def parse_extensions(cluster0: bytes, header: Header) -> ExtensionArea:
    """Read the extensions of the first cluster; missing bytes read as zeros.

    Never raises; what breaks a rule is told in ``problems``.
    """
    found = unpack_extensions(cluster0, header)
    problems = tuple(broken_extension_rules(found, header))
    return ExtensionArea(found.extensions, problems, found.end)
