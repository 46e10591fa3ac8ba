"""A regular file or a block device as a source of bytes that is only read."""

import os

from qcow2_dump.storage.open_file import OpenFile

__all__ = ["FileSource"]


class FileSource(OpenFile):
    """A file or block device, opened for reading only. Raises SourceError as `OpenFile` does."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, os.O_RDONLY)

    def lock(self) -> None:
        """Keep writers out until the file is closed. Raises as `take_read_locks` does."""
        from qcow2_dump.storage.locks import take_read_locks

        take_read_locks(self._fd, self.name)
