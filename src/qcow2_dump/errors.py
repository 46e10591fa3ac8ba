"""What can go wrong with a run, as opposed to with an image.

Damage found in an image is a value (a finding); an exception means that *we* could not do
what was asked. Every exception knows its errno, from which the exit status follows
(256 - errno), and its message is one line that can be shown as it is.

::

    Qcow2Error
    +-- RequestError                what was asked makes no sense            EINVAL
    +-- SourceError (OSError)       bytes could not be had or put            as the system said
    |   +-- TruncatedError          a structure that must exist is cut off   EIO
    +-- FormatError (ValueError)    the bytes cannot be interpreted at all
    |   +-- NotQcow2Error           no qcow2 magic                           EINVAL
    |   +-- UnsupportedError        a version or feature that is unknown     ENOTSUP
    +-- PlanError                   a plan must not be carried out           EINVAL
    |   +-- StalePlanError          the image changed since it was made      EBUSY
    |   +-- UnsafePlanError         it would lose something, or cannot be    EINVAL
    +-- JournalError                an undo file that cannot be used         EIO
    |   +-- InterruptedChangeError  an earlier change was not finished       EBUSY
    +-- LockedError                 somebody else has locked the image       EBUSY
    +-- MissingExtraError           an optional package is not installed     ENOPKG
"""

import errno as _errno

__all__ = [
    "FormatError",
    "InterruptedChangeError",
    "JournalError",
    "LockedError",
    "MissingExtraError",
    "NotQcow2Error",
    "PlanError",
    "Qcow2Error",
    "RequestError",
    "SourceError",
    "StalePlanError",
    "TruncatedError",
    "UnsafePlanError",
    "UnsupportedError",
]


class Qcow2Error(Exception):
    """Base of every exception that this package raises on purpose."""

    errno: int | None = _errno.EIO


class RequestError(Qcow2Error):
    """The request itself makes no sense: an option, an operand, a combination."""

    errno = _errno.EINVAL


class SourceError(Qcow2Error, OSError):
    """Bytes could not be read or written: missing file, no permission, not a disk image, I/O error.

    Made like an OSError: ``SourceError(errno, reason, filename)``.
    """

    # What the system said, which the default of Qcow2Error would otherwise hide.
    errno = OSError.errno

    def __str__(self) -> str:
        return str(self.strerror or super().__str__())


class TruncatedError(SourceError):
    """A structure without which nothing can be said is cut off by the end of the file."""


class FormatError(Qcow2Error, ValueError):
    """The bytes cannot be interpreted as a qcow2 image at all."""

    errno = _errno.EINVAL


class NotQcow2Error(FormatError):
    """The file does not start with the qcow2 magic."""


class UnsupportedError(FormatError):
    """A qcow2 image of a version, or with an incompatible feature, that nobody here knows."""

    errno = _errno.ENOTSUP


class PlanError(Qcow2Error):
    """A change that must not be made; nothing was written."""

    errno = _errno.EINVAL


class StalePlanError(PlanError):
    """The image does not hold what the plan expects: somebody has changed it meanwhile."""

    errno = _errno.EBUSY


class UnsafePlanError(PlanError):
    """The change would lose something that was not given up, or there is no room for it."""


class JournalError(Qcow2Error):
    """An undo file is altered, cut off or of another image, or the image was used since."""

    errno = _errno.EIO


class InterruptedChangeError(JournalError):
    """An earlier change was interrupted: it has to be taken back or finished first."""

    errno = _errno.EBUSY


class LockedError(Qcow2Error):
    """Somebody else has the image open, in a way that forbids what was asked for."""

    errno = _errno.EBUSY


class MissingExtraError(Qcow2Error):
    """What was asked takes an optional package: made of the name of the extra, and its package."""

    errno = _errno.ENOPKG

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(
            f"{package} is not installed, which this needs: "
            f"python3 -m pip install 'qcow2-dump[{extra}]'"
        )
