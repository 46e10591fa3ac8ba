"""The guest's disk through an image and, where asked for, the backing files below it."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from qcow2_dump.errors import SourceError
from qcow2_dump.image.chain import ChainLink, open_chain
from qcow2_dump.image.data_file import open_data_file
from qcow2_dump.image.extents import ExtentBatch, overlay
from qcow2_dump.image.guest import tree_extents
from qcow2_dump.image.guest_tree import TreeRoot, disk_end
from qcow2_dump.image.holes import HoleMap, holes_of
from qcow2_dump.image.image import Image
from qcow2_dump.image.shown_names import shown
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.ondisk.mapping import ClusterType
from qcow2_dump.storage.base import ByteSource

__all__ = ["GuestDisk", "Layer", "open_disk"]

_RAW_RANGES = 1 << 13


@dataclass(slots=True)
class Layer:
    """One file of a disk: a qcow2 image and one of its trees, or a raw disk (both None).

    ``size`` is that of the layer's disk in bytes. ``data`` is where its guest data lies, None
    when that is an external data file that was not opened. ``holes`` as in `holes_of`.
    """

    source: ByteSource
    size: int
    image: Image | None = None
    root: TreeRoot | None = None
    data: ByteSource | None = None
    holes: HoleMap | None = None

    @property
    def name(self) -> str:
        """The path of the file that holds the guest data, or else of the layer."""
        return (self.data or self.source).name

    @property
    def encrypted(self) -> bool:
        """Whether the host bytes are not the guest's."""
        return self.image is not None and self.image.header.crypt_method != 0

    def extents(self, start: int, end: int, depth: int) -> Iterator[ExtentBatch]:
        """The extents of a guest range of this layer alone, ``end`` being inside of it."""
        if self.image is None or self.root is None:
            batches = _raw_extents(self.source, start, end)
        else:
            batches = tree_extents(self.image, self.root, start, end)
        for batch in batches:
            marked = batch if self.holes is None else self.holes.mark(batch)
            yield replace(marked, depth=np.full(len(marked), depth, dtype=np.int16))

    def close(self) -> None:
        """Close what the layer opened beside its image."""
        self.source.close()
        if self.data is not None:
            self.data.close()


class GuestDisk:
    """The layers of a disk, the image first. A context manager that closes all of them.

    ``complete`` says that nothing lies below the last layer: either all backing files are open,
    or there are none.
    """

    def __init__(self, layers: tuple[Layer, ...], *, complete: bool) -> None:
        self.layers = layers
        self.complete = complete

    @property
    def size(self) -> int:
        """The size of the disk in bytes."""
        return self.layers[0].size

    def extents(self) -> Iterator[ExtentBatch]:
        """The whole disk in guest order. What no layer holds reads as zeros, if ``complete``."""
        return self._from(0, 0, self.size)

    def close(self) -> None:
        """Close all files."""
        for layer in self.layers:
            layer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _from(self, depth: int, start: int, end: int) -> Iterator[ExtentBatch]:
        """A guest range through the layers from ``depth`` on."""
        last = depth + 1 == len(self.layers)
        below = 0 if last else self.layers[depth + 1].size
        for batch in self.layers[depth].extents(start, end, depth):
            if last and not self.complete:
                yield batch
                continue
            if below > batch.first:
                yield from self._through(depth, batch.clip(batch.first, below))
            if below < batch.end:
                rest = batch.clip(below, batch.end)
                yield replace(rest, zero=rest.zero | (rest.type == ClusterType.UNALLOCATED))

    def _through(self, depth: int, top: ExtentBatch) -> Iterator[ExtentBatch]:
        """A batch of one layer, with what lies below where nothing is allocated."""
        rows = np.flatnonzero(top.type == ClusterType.UNALLOCATED)
        if not len(rows):
            yield top
            return
        start = int(top.start[rows[0]])
        end = int(top.start[rows[-1]] + top.length[rows[-1]])
        if top.first < start:
            yield top.clip(top.first, start)
        for below in self._from(depth + 1, start, end):
            part = top.clip(below.first, below.end)
            yield overlay(part, part.type == ClusterType.UNALLOCATED, below)
        if end < top.end:
            yield top.clip(end, top.end)


def open_disk(
    image: Image, root: TreeRoot, *, chain: bool, active_root: Callable[[Image], TreeRoot]
) -> GuestDisk:
    """The disk that a tree of an opened image stands for; the disk closes the image.

    With ``chain`` the external data file and the backing files are opened too, whose active
    trees ``active_root`` finds; SourceError, naming the file, when one cannot be used. Without
    it nothing that the image names is opened.
    """
    layers = [_image_layer(image, root, chain=chain)]
    try:
        if chain:
            for link in open_chain(image):
                if link.problem is not None:
                    raise _unusable(link, layers[-1].source.name)
                layers.append(_backing_layer(link, active_root))
    except BaseException:
        for layer in layers[1:]:
            layer.close()
        raise
    return GuestDisk(tuple(layers), complete=chain or not image.backing_file)


def _image_layer(image: Image, root: TreeRoot, *, chain: bool) -> Layer:
    data: ByteSource | None = image.source
    if image.header.has_data_file:
        data = open_data_file(image) if chain else None
    holes = holes_of(image, data)
    return Layer(image.source, disk_end(root), image, root, data, holes)


def _backing_layer(link: ChainLink, active_root: Callable[[Image], TreeRoot]) -> Layer:
    if link.source is None:
        raise ValueError("a link without a problem has a source")
    if link.image is not None:
        try:
            return _image_layer(link.image, active_root(link.image), chain=True)
        except BaseException:
            link.close()
            raise
    size = -(-link.source.size // SECTOR_SIZE) * SECTOR_SIZE
    return Layer(link.source, size)


def _unusable(link: ChainLink, named_by: str) -> SourceError:
    number = errno.EINVAL
    if link.path is None:
        number = errno.ENOTSUP
    elif not os.path.lexists(link.path):
        number = errno.ENOENT
    return SourceError(number, f"backing file {shown(link.stored)}: {link.problem}", named_by)


def _raw_extents(source: ByteSource, start: int, end: int) -> Iterator[ExtentBatch]:
    """A range of a raw disk: what the file system says holds data, and holes between."""
    bounds = [start]
    for data, hole in source.data_ranges(start, end):
        # Odd positions start data; an empty hole keeps the order where ranges touch.
        bounds += [data, hole]
        if len(bounds) > 2 * _RAW_RANGES:
            yield from _raw_batch(bounds)
            bounds = [hole]
    yield from _raw_batch([*bounds, end])


def _raw_batch(bounds: list[int]) -> Iterator[ExtentBatch]:
    """Ranges between ascending bounds, which are holes and data in turn."""
    at = np.array(bounds, dtype=np.int64)
    length = np.diff(at)
    kind = np.full(len(length), ClusterType.ZERO_ALLOC, dtype=np.uint8)
    kind[1::2] = ClusterType.NORMAL
    batch = ExtentBatch.make(at[:-1], length, at[:-1].copy(), kind, np.zeros_like(kind))
    kept = batch.take(length > 0)
    if len(kept):
        yield kept
