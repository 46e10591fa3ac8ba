"""The backing files of an image, opened one below the other: only for whoever asks for it.

The names come from images, which are untrusted: opening what they name is a decision of the
user. Only regular files and block devices are ever opened, and only for reading.
"""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from qcow2_dump.errors import Qcow2Error, SourceError
from qcow2_dump.image.backing_names import plain_backing_path
from qcow2_dump.image.image import Image
from qcow2_dump.image.probing import probe_format
from qcow2_dump.image.resolver import Resolver
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.file import FileSource

__all__ = ["MAX_CHAIN", "ChainLink", "open_chain"]

MAX_CHAIN = 200
"""Backing files below one image; no sound chain comes near."""

_READABLE = ("qcow2", "raw")
_Identity = tuple[int, int]


class ChainLink(NamedTuple):
    """One backing file; ``depth`` 1 is that of the image itself.

    ``stored`` is its name in the image above, ``path`` where that leads (None when to no plain
    path). ``format`` is what the image above says, or what the first bytes look like where it
    says nothing (``probed``). ``image`` is None unless the format is qcow2. A ``problem`` says
    in a line why the file could not be used; ``source`` and ``image`` are then None, and the
    chain ends here.
    """

    depth: int
    stored: bytes
    path: str | None
    format: str | None
    probed: bool = False
    source: ByteSource | None = None
    image: Image | None = None
    problem: str | None = None

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        if self.source is not None:
            self.source.close()


def open_chain(image: Image, *, limit: int = MAX_CHAIN, lock: bool = False) -> Iterator[ChainLink]:
    """Open the backing files of an image, from the nearest to the last.

    Each link is the caller's to close, also before the next one is asked for. Whatever cannot
    be opened or understood is told in the link's ``problem`` and ends the chain; a cycle, and
    more than ``limit`` files, are such problems. ``lock`` keeps QEMU from writing each file until
    it is closed. Raises nothing of its own.
    """
    seen = {_identity(image.source)}
    above: Image | None = image
    depth = 0
    while above is not None and above.backing_file:
        depth += 1
        link = _open_link(above, above.backing_file, depth, lock=lock)
        if depth > limit:
            link = _failed(link, f"more than {limit} backing files")
        elif link.source is not None and (found := _identity(link.source)) is not None:
            if found in seen:
                link = _failed(link, "the chain comes back to a file that it began with")
            seen.add(found)
        # Held here so that a caller may close the link: the header stays in memory.
        above = link.image
        yield link


def _open_link(above: Image, stored: bytes, depth: int, *, lock: bool) -> ChainLink:
    path = plain_backing_path(above.name, stored)
    said = above.extensions.backing_format
    name = None if said is None else said.decode("utf-8", "backslashreplace")
    link = ChainLink(depth, stored, path, name)
    if path is None:
        return link._replace(problem="not the path of a file: not opened")
    if name is not None and name not in _READABLE:
        return link._replace(problem=f"the format {name} is not read here: not opened")
    try:
        source = _open_file(path)
    except Qcow2Error as error:
        return link._replace(problem=str(error))
    try:
        if lock:
            source.lock()
        return _understood(link, source, above.resolver)
    except Qcow2Error as error:
        source.close()
        return link._replace(problem=str(error))


def _open_file(path: str) -> FileSource:
    try:
        # Asked first: opening some devices has effects of its own.
        mode = os.stat(path).st_mode  # noqa: PTH116 - pathlib is slow to import
    except OSError as error:
        raise SourceError(error.errno, error.strerror, path) from error
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise SourceError(None, "neither a regular file nor a block device", path)
    return FileSource(path)


def _understood(link: ChainLink, source: ByteSource, resolver: Resolver) -> ChainLink:
    """The link with its format settled, and its image opened if that is qcow2."""
    link = link._replace(source=source)
    if link.format is None:
        looks = probe_format(source)
        link = link._replace(format=looks, probed=True)
        if looks not in _READABLE:
            return _failed(link, f"it looks like {looks}, which is not read here")
    return link if link.format == "raw" else link._replace(image=Image(source, resolver))


def _failed(link: ChainLink, problem: str) -> ChainLink:
    link.close()
    return link._replace(source=None, image=None, problem=problem)


def _identity(source: ByteSource) -> _Identity | None:
    """What tells one file from another, however it is named; None for what is no file."""
    if not isinstance(source, FileSource):
        return None
    status = os.fstat(source.fileno())
    # A device is the same under any of its nodes.
    return (-1, status.st_rdev) if stat.S_ISBLK(status.st_mode) else (status.st_dev, status.st_ino)
