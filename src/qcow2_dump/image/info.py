"""What an image says of itself, gathered into one value that can be shown without reading more.

Named tuples: they cost a tenth of a dataclass at import time, and `info` has to start at once.
Names, paths and formats are untrusted bytes. Sizes and offsets are bytes.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

from qcow2_dump.image.preallocation import Preallocation
from qcow2_dump.ondisk.extension_records import BitmapsExtension, Extension
from qcow2_dump.ondisk.header import Header, HeaderField

if TYPE_CHECKING:  # most images have none of these
    from qcow2_dump.image.tables import BitmapItem, SnapshotEntry
    from qcow2_dump.ondisk.luks import LuksHeader

__all__ = [
    "BackingFacts",
    "ChainFacts",
    "DataFileFacts",
    "EncryptionFacts",
    "FeatureFacts",
    "FileFacts",
    "ImageInfo",
    "InfoFailure",
    "Presence",
    "Problem",
]

Presence = Literal["there", "missing", "not a path", "not looked for"]
"""Whether a file that an image names is there; only plain paths are looked for at all."""


class Problem(NamedTuple):
    """What is wrong with a part of the image, or keeps it from being read; one line."""

    part: str
    message: str


class FileFacts(NamedTuple):
    """The file or block device itself.

    ``allocated`` is what its file system has given to it; it and ``file_system`` are None
    where the system does not tell.
    """

    name: str
    length: int
    allocated: int | None
    file_system: str | None
    is_device: bool


class FeatureFacts(NamedTuple):
    """One feature bit: ``word`` is 0 incompatible, 1 compatible, 2 autoclear.

    ``known`` is its name in the format, None for a bit without a meaning; ``names`` are what
    the image's own feature name table calls it.
    """

    word: int
    bit: int
    is_set: bool
    known: str | None
    names: tuple[bytes, ...]

    @property
    def disagrees(self) -> bool:
        """Whether the image calls a known bit something else."""
        return self.known is not None and any(name != self.known.encode() for name in self.names)


class EncryptionFacts(NamedTuple):
    """How guest data is encrypted; the region of the LUKS header, and what that says."""

    method: int
    offset: int | None = None
    length: int | None = None
    luks: "LuksHeader | None" = None


class BackingFacts(NamedTuple):
    """The backing file as the image names it; ``path`` is where that leads from the image."""

    stored: bytes
    path: bytes
    format: bytes | None
    presence: Presence


class DataFileFacts(NamedTuple):
    """The external data file; ``stored`` is None when the image needs one and names none.

    ``used`` is False when it is named but the header does not ask for one.
    """

    stored: bytes | None
    raw: bool
    used: bool
    presence: Presence


class ImageInfo(NamedTuple):
    """All that `info` has to say.

    ``snapshots`` and ``bitmaps`` are those that could be read; ``bitmaps_valid`` whether the
    header vouches for the latter. ``chain`` is None unless the chain was asked for.
    """

    file: FileFacts
    header: Header
    extensions: tuple[Extension, ...]
    features: tuple[FeatureFacts, ...]
    snapshots: "tuple[SnapshotEntry, ...]"
    bitmaps_extension: BitmapsExtension | None
    bitmaps_valid: bool
    bitmaps: "tuple[BitmapItem, ...]"
    encryption: EncryptionFacts | None
    backing: BackingFacts | None
    data_file: DataFileFacts | None
    preallocation: Preallocation
    problems: tuple[Problem, ...]
    chain: "tuple[ChainFacts, ...] | None" = None


class ChainFacts(NamedTuple):
    """One backing file of a chain; ``info`` for qcow2, ``file`` alone for a raw disk.

    ``probed`` says that the format was not named but looked for. A ``problem`` says why the
    file could not be used, and that the chain ends here.
    """

    depth: int
    stored: bytes
    path: str | None
    format: str | None
    probed: bool
    file: FileFacts | None
    info: ImageInfo | None
    problem: str | None


class InfoFailure(NamedTuple):
    """An image of which nothing can be told, or only its header fields as they are stored."""

    name: str
    reason: str
    errno: int
    fields: tuple[tuple[HeaderField, int], ...] = ()
