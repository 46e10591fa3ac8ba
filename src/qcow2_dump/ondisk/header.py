"""The image header (format section 1.1): one field table serves reading, writing and showing."""

from typing import NamedTuple, Self

from qcow2_dump.errors import FormatError, NotQcow2Error, UnsupportedError
from qcow2_dump.ondisk.constants import (
    DEFAULT_REFCOUNT_ORDER,
    KNOWN_AUTOCLEAR,
    KNOWN_INCOMPATIBLE,
    MAGIC,
    MAX_CLUSTER_BITS,
    MAX_REFCOUNT_ORDER,
    MIN_CLUSTER_BITS,
    V2_HEADER_LENGTH,
    V3_MIN_HEADER_LENGTH,
    AutoclearFeature,
    CompatibleFeature,
    IncompatibleFeature,
)
from qcow2_dump.ondisk.geometry import Geometry


class HeaderField(NamedTuple):
    """One integer of the header: where it lies and what it means.

    ``offset`` and ``width`` are bytes; ``since`` is the version that has the field, and
    ``v2_value`` what stands for it in version 2.
    """

    name: str
    offset: int
    width: int
    since: int
    meaning: str
    v2_value: int = 0

    def present_in(self, stored_length: int) -> bool:
        """Whether a header of ``stored_length`` bytes contains this field."""
        return self.offset < stored_length


HEADER_FIELDS: tuple[HeaderField, ...] = (
    HeaderField("magic", 0, 4, 2, "Q F I 0xFB"),
    HeaderField("version", 4, 4, 2, "version of the format"),
    HeaderField("backing_file_offset", 8, 8, 2, "where the backing file name starts"),
    HeaderField("backing_file_size", 16, 4, 2, "length of the backing file name in bytes"),
    HeaderField("cluster_bits", 20, 4, 2, "cluster size as a power of two"),
    HeaderField("size", 24, 8, 2, "virtual disk size in bytes"),
    HeaderField("crypt_method", 32, 4, 2, "encryption: 0 none, 1 AES, 2 LUKS"),
    HeaderField("l1_size", 36, 4, 2, "entries of the active L1 table"),
    HeaderField("l1_table_offset", 40, 8, 2, "where the active L1 table starts"),
    HeaderField("refcount_table_offset", 48, 8, 2, "where the refcount table starts"),
    HeaderField("refcount_table_clusters", 56, 4, 2, "clusters of the refcount table"),
    HeaderField("nb_snapshots", 60, 4, 2, "records in the snapshot table"),
    HeaderField("snapshots_offset", 64, 8, 2, "where the snapshot table starts"),
    HeaderField("incompatible_features", 72, 8, 3, "features a reader must know"),
    HeaderField("compatible_features", 80, 8, 3, "features that may be ignored"),
    HeaderField("autoclear_features", 88, 8, 3, "features that a writer must keep or clear"),
    HeaderField(
        "refcount_order", 96, 4, 3, "refcount width as a power of two bits", DEFAULT_REFCOUNT_ORDER
    ),
    HeaderField("header_length", 100, 4, 3, "bytes of this header", V2_HEADER_LENGTH),
    HeaderField("compression_type", 104, 1, 3, "compressed clusters: 0 deflate, 1 zstd"),
)
"""All integer fields in file order; ``padding`` and ``unknown`` follow them."""

FIELD_OFFSETS: dict[str, int] = {field.name: field.offset for field in HEADER_FIELDS}

PADDING_OFFSET = 105
UNKNOWN_OFFSET = 112


def _stored_length(version: int, header_length: int, cluster_size: int) -> int:
    """Bytes of the header that can be trusted to be header."""
    if version == 2:
        return V2_HEADER_LENGTH
    if V3_MIN_HEADER_LENGTH <= header_length <= cluster_size:
        return header_length
    return V3_MIN_HEADER_LENGTH


class Header(NamedTuple):
    """The header with every field by its name in the format description.

    Version 2 is filled with what it stands for: no features, refcount_order 4,
    header_length 72. ``padding`` are bytes 105..111 and ``unknown`` those from 112 on, as
    far as header_length reaches. Offsets, sizes and lengths are as stored, judged by
    ``header_rules``.
    """

    magic: int
    version: int
    backing_file_offset: int
    backing_file_size: int
    cluster_bits: int
    size: int
    crypt_method: int
    l1_size: int
    l1_table_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    nb_snapshots: int
    snapshots_offset: int
    incompatible_features: int = 0
    compatible_features: int = 0
    autoclear_features: int = 0
    refcount_order: int = DEFAULT_REFCOUNT_ORDER
    header_length: int = V2_HEADER_LENGTH
    compression_type: int = 0
    padding: bytes = b""
    unknown: bytes = b""

    @classmethod
    def unpack(cls, data: bytes, *, any_feature: bool = False) -> Self:
        """Read a header from the first cluster, or as much of it as the file has.

        Missing bytes read as zeros. A header_length that is below 104 or above the cluster
        size is kept as stored, while the fields are read as if it were 104. ``any_feature``
        takes unknown incompatible features as they are, for those who only show them. Raises
        NotQcow2Error without the magic, UnsupportedError for an unknown version or
        incompatible feature, FormatError for an impossible cluster size.
        """
        fixed = bytes(data[:UNKNOWN_OFFSET]).ljust(UNKNOWN_OFFSET, b"\0")
        values = {
            field.name: int.from_bytes(fixed[field.offset : field.offset + field.width], "big")
            for field in HEADER_FIELDS
        }
        _refuse_unreadable(values)
        unknown = values["incompatible_features"] & ~KNOWN_INCOMPATIBLE
        if values["version"] >= 3 and unknown and not any_feature:
            raise UnsupportedError(f"unknown incompatible features {unknown:#x}")
        cluster_size = 1 << values["cluster_bits"]
        length = _stored_length(values["version"], values["header_length"], cluster_size)
        for field in HEADER_FIELDS:
            if not field.present_in(length):
                values[field.name] = field.v2_value
        unknown_length = max(0, length - UNKNOWN_OFFSET)
        return cls(
            **values,
            padding=fixed[PADDING_OFFSET : max(length, PADDING_OFFSET)],
            unknown=bytes(data[UNKNOWN_OFFSET:length]).ljust(unknown_length, b"\0"),
        )

    def pack(self) -> bytes:
        """The header as it lies on disk: 72 bytes in version 2, else ``stored_length``.

        Raises ValueError when padding and unknown bytes do not reach exactly to
        header_length.
        """
        length = self.stored_length
        packed = b"".join(
            int(getattr(self, field.name)).to_bytes(field.width, "big")
            for field in HEADER_FIELDS
            if field.present_in(length)
        )
        packed += self.padding + self.unknown
        if len(packed) != length:
            raise ValueError(f"header of {len(packed)} bytes, header_length asks for {length}")
        return packed

    @property
    def stored_length(self) -> int:
        """Bytes taken as header: header_length, but 104 when that is out of its limits."""
        return _stored_length(self.version, self.header_length, self.cluster_size)

    @property
    def cluster_size(self) -> int:
        """Bytes in a cluster."""
        return 1 << self.cluster_bits

    @property
    def is_v3(self) -> bool:
        """Whether the feature words and the fields after them exist."""
        return self.version >= 3

    @property
    def incompatible(self) -> IncompatibleFeature:
        """Features that a reader must know; unknown bits stay in the value."""
        return IncompatibleFeature(self.incompatible_features)

    @property
    def compatible(self) -> CompatibleFeature:
        """Features that may be ignored; unknown bits stay in the value."""
        return CompatibleFeature(self.compatible_features)

    @property
    def autoclear(self) -> AutoclearFeature:
        """Features that a writer must keep up or clear; unknown bits stay in the value."""
        return AutoclearFeature(self.autoclear_features)

    @property
    def unknown_incompatible(self) -> int:
        """Incompatible bits without a meaning; only `info` takes headers that have them."""
        return self.incompatible_features & ~KNOWN_INCOMPATIBLE

    @property
    def unknown_autoclear(self) -> int:
        """Autoclear bits without a meaning, to be cleared before the first write."""
        return self.autoclear_features & ~KNOWN_AUTOCLEAR

    @property
    def has_data_file(self) -> bool:
        """Whether guest clusters live in an external data file."""
        return IncompatibleFeature.DATA_FILE in self.incompatible

    @property
    def extended_l2(self) -> bool:
        """Whether L2 entries are 16 bytes with subclusters; never in version 2."""
        return self.is_v3 and IncompatibleFeature.EXTENDED_L2 in self.incompatible

    @property
    def geometry(self) -> Geometry:
        """The derived numbers.

        A refcount_order above 6, which no reader accepts, is taken as 4 here so that the
        rest of the image can still be examined.
        """
        order = self.refcount_order
        if order > MAX_REFCOUNT_ORDER:
            order = DEFAULT_REFCOUNT_ORDER
        return Geometry(self.cluster_bits, order, self.extended_l2)

    @property
    def vm_state_l1_index(self) -> int:
        """The first L1 index behind the disk, where saved VM state starts (section 2.5)."""
        return self.geometry.l1_entries_for(self.size)


def _refuse_unreadable(values: dict[str, int]) -> None:
    """Raise for a header that cannot be interpreted at all (section 1.3, rules 1 to 3)."""
    if values["magic"] != MAGIC:
        raise NotQcow2Error(f"not a qcow2 image: magic is {values['magic']:#010x}")
    version = values["version"]
    if version not in (2, 3):
        raise UnsupportedError(f"unsupported qcow2 version {version}")
    bits = values["cluster_bits"]
    if not MIN_CLUSTER_BITS <= bits <= MAX_CLUSTER_BITS:
        raise FormatError(
            f"cluster_bits is {bits}, must be {MIN_CLUSTER_BITS} to {MAX_CLUSTER_BITS}"
        )
