"""Pages written to disk: whole or not at all, and never over anything but another page of ours."""

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from qcow2_dump.errors import SourceError

__all__ = ["PageFiles"]

_MARK = b'data-made-by="qcow2-dump"'
_MARKED_WITHIN = 200
_LONGEST_NAME = 255
_MODE = 0o666


class PageFiles:
    """The page of a run, or its index and the pages beside it.

    A link to a page of ours is followed, and stays. Raises SourceError at once when anything is
    there that is no page of ours (EEXIST), a link that leads nowhere included, or when the name
    is no file's. A name without an ending gets ``.html``.
    """

    def __init__(self, output: str, pages: int) -> None:
        if output == "-":
            reason = "a page goes into a file, not to standard output"
            raise SourceError(errno.EINVAL, reason, output)
        if output.endswith(os.sep) or Path(output).is_dir():
            raise SourceError(errno.EISDIR, os.strerror(errno.EISDIR), output)
        self.output = Path(output)
        # A device is no place for a page, whatever is put behind its name.
        if not self.output.suffix and (self.output.is_file() or not self.output.exists()):
            self.output = Path(f"{output}.html")
        self._pages = [self.output]
        if pages > 1:
            stem, ending = self.output.stem, self.output.suffix
            if len(os.fsencode(stem + ending)) > _LONGEST_NAME - 8:
                raise SourceError(errno.ENAMETOOLONG, "the name leaves no room for pages", output)
            self._pages += [self.output.with_name(f"{stem}-{n + 1}{ending}") for n in range(pages)]
        for path in self._pages:
            _refuse_other_files(path)

    @property
    def index(self) -> str:
        """The file name of the index, empty where there is a single page."""
        return self.output.name if len(self._pages) > 1 else ""

    def path(self, position: int) -> Path:
        """Where the page of the image at a position goes."""
        return self._pages[position + 1] if len(self._pages) > 1 else self.output

    def write(self, path: Path, page: str) -> None:
        """Write a page. Raises SourceError when that fails; then the old page is still there."""
        _refuse_other_files(path)
        try:
            _replace(path.resolve(), page.encode("utf-8"))
        except OSError as error:
            number = error.errno or errno.EIO
            raise SourceError(number, error.strerror or str(error), str(path)) from None


def _refuse_other_files(path: Path) -> None:
    """Whatever is overwritten has to be a page: it could be the image itself."""
    try:
        # What is no file (a pipe, /dev/null) must neither be waited for nor be replaced.
        if stat.S_ISDIR(mode := path.stat().st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise FileExistsError(errno.EEXIST, "this is no file: a page would take its place")
        with path.open("rb") as file:
            found = file.read(_MARKED_WITHIN)
    except FileNotFoundError:
        if not path.is_symlink():
            return
        reason = "there is a link that leads to no file: it will not be followed"
        raise SourceError(errno.EEXIST, reason, str(path)) from None
    except OSError as error:
        number = error.errno or errno.EIO
        raise SourceError(number, error.strerror or str(error), str(path)) from None
    if found and _MARK not in found:
        reason = "there is a file that is no page of ours: it will not be overwritten"
        raise SourceError(errno.EEXIST, reason, str(path))


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".qcow2-dump-", suffix=".html")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(_MODE & ~umask)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
