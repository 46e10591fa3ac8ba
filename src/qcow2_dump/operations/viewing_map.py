"""`map`: where the guest ranges of one tree lie."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from qcow2_dump.checks.trees import ACTIVE, Tree, trees_of
from qcow2_dump.image.extents import ExtentBatch
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.layers import GuestDisk, open_disk
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.operations.requests import MapRequest
from qcow2_dump.operations.selection import select_tree

__all__ = ["MapRun", "open_map"]


class MapRun:
    """A map that is ready to be walked; a context manager that closes its files.

    ``tree`` is what is mapped, ``disk`` the layers that it is read through.
    """

    def __init__(self, image: Image, tree: Tree, disk: GuestDisk) -> None:
        self.image = image
        self.tree = tree
        self.disk = disk

    def batches(self) -> Iterator[ExtentBatch]:
        """The extents, many at a time, in guest order; neighbours may be mapped alike.

        Raises SourceError when a file cannot be read at all; a table that cannot is an extent
        with a problem.
        """
        return self.disk.extents()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.disk.close()


def open_map(request: MapRequest) -> MapRun:
    """Open what a map needs: the image alone, or with ``chain`` the files that it names.

    Raises RequestError for a snapshot that does not exist, and what `open_image` and
    `open_disk` raise.
    """
    image = open_image(request.image, resolver=NeverLook())
    try:
        tree = select_tree(image, request.snapshot or ACTIVE)
        disk = open_disk(image, tree, chain=request.chain, active_root=_active_tree)
    except BaseException:
        image.close()
        raise
    return MapRun(image, tree, disk)


def _active_tree(image: Image) -> Tree:
    return trees_of(image)[0]
