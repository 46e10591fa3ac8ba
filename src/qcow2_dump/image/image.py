"""The opened image: its source, header, geometry, extensions and small tables.

Opening is lenient (architecture, idea 1): only what cannot be interpreted at all is refused.
"""

import os
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qcow2_dump.errors import NotQcow2Error, UnsupportedError
from qcow2_dump.image.leftovers import NO_LEFTOVERS, Leftovers
from qcow2_dump.image.resolver import LookForFiles, Resolver
from qcow2_dump.image.shown_names import shown
from qcow2_dump.ondisk.constants import AutoclearFeature
from qcow2_dump.ondisk.extensions import ExtensionArea, backing_file_name, parse_extensions
from qcow2_dump.ondisk.geometry import Geometry
from qcow2_dump.ondisk.header import UNKNOWN_OFFSET, Header
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.file import FileSource

if TYPE_CHECKING:  # imported when there are such tables: `info` has to start at once
    from qcow2_dump.image.tables import BitmapDirectory, SnapshotTable

__all__ = ["Image", "open_image"]


class Image:
    """A qcow2 image over a source of bytes. A context manager that closes the source.

    ``any_feature`` opens an image with unknown incompatible features too: what can then be
    read of it may mean something else. ``leftovers`` is what is known of earlier changes, from
    elsewhere than the image. Raises NotQcow2Error, UnsupportedError or FormatError
    when the header cannot be interpreted, SourceError when it cannot be read.
    """

    def __init__(
        self,
        source: ByteSource,
        resolver: Resolver | None = None,
        *,
        any_feature: bool = False,
        leftovers: Leftovers = NO_LEFTOVERS,
    ) -> None:
        self.source = source
        self.leftovers = leftovers
        self.resolver: Resolver = resolver or LookForFiles()
        if source.size == 0:
            raise NotQcow2Error("not a qcow2 image: the file is empty")
        # No more than the first cluster: what lies behind it may be unreadable.
        first = Header.unpack(source.read(0, UNKNOWN_OFFSET), any_feature=True)
        self.header_cluster = source.read(0, min(source.size, first.cluster_size))
        self.header = Header.unpack(self.header_cluster, any_feature=True)
        self.geometry: Geometry = self.header.geometry
        self.extensions: ExtensionArea = parse_extensions(self.header_cluster, self.header)
        # Only now: the extensions hold what the image calls the features.
        if self.unknown_features is not None and not any_feature:
            raise UnsupportedError(self.unknown_features)

    @property
    def name(self) -> str:
        """The name of the source: the path as it was given."""
        return self.source.name

    @property
    def unknown_features(self) -> str | None:
        """Which incompatible features nobody here knows, in one line; None without any.

        Names are those of the image's own feature name table: untrusted text, with control
        characters left in, for whoever shows the line to escape.
        """
        unknown = self.header.unknown_incompatible if self.header.is_v3 else 0
        bits = [bit for bit in range(unknown.bit_length()) if unknown >> bit & 1]
        if not bits:
            return None
        names = {entry.bit: entry.name for entry in self.extensions.feature_names if not entry.word}
        named = (_named_bit(bit, names.get(bit, b"")) for bit in bits)
        return f"unknown incompatible feature{'s' * (len(bits) > 1)}: {', '.join(named)}"

    @property
    def backing_file(self) -> bytes | None:
        """The backing file's name as stored (untrusted bytes), None when there is none."""
        return backing_file_name(self.header_cluster, self.header)

    @cached_property
    def snapshot_table(self) -> "SnapshotTable":
        """The snapshot table, as far as it can be read."""
        from qcow2_dump.image.tables import read_snapshot_table

        return read_snapshot_table(self.source, self.header)

    @property
    def bitmaps_valid(self) -> bool:
        """Whether the bitmaps extension may be trusted (autoclear bit 0, version 3)."""
        return self.header.is_v3 and AutoclearFeature.BITMAPS in self.header.autoclear

    @cached_property
    def bitmap_directory(self) -> "BitmapDirectory | None":
        """The bitmap directory, trusted or not; None without a readable extension."""
        extension = self.extensions.bitmaps
        if extension is None:
            return None
        from qcow2_dump.image.tables import read_bitmap_directory

        return read_bitmap_directory(self.source, extension)

    def again(self) -> "Image":
        """The image as it is now, read anew; it has to be closed by itself.

        Raises as opening does, and SourceError where the source cannot be had a second time.
        """
        source = self.source.again()
        try:
            return Image(source, self.resolver)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Close the source."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_image(
    path: str | os.PathLike[str],
    *,
    resolver: Resolver | None = None,
    any_feature: bool = False,
    lock: bool = False,
) -> Image:
    """Open the image at a path, for reading only.

    ``resolver`` decides whether files that the image names are looked for; by default the
    system is asked whether they exist, and none is opened. ``any_feature`` is that of `Image`.
    ``lock`` keeps QEMU from writing until the image is closed. Raises as `Image` does,
    SourceError when the path cannot be read, and as `take_read_locks` does.
    """
    source = FileSource(path)
    try:
        if lock:
            source.lock()
        return Image(source, resolver, any_feature=any_feature)
    except BaseException:
        source.close()
        raise


def _named_bit(bit: int, name: bytes) -> str:
    return f"bit {bit} ({shown(name)})" if name else f"bit {bit}"
