"""The one table of exit statuses.

0 to 8 are verdicts (`Verdict`), 128 and up say that the run itself failed: 256 - errno, or
128 + the number of the signal that ended it. Nothing else is ever returned.
"""

import errno
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from qcow2_dump.checks.verdict import Verdict

if TYPE_CHECKING:  # `--help` needs the numbers, and has no result
    from qcow2_dump.checks.result import CheckResult

__all__ = ["BROKEN_PIPE", "OK", "USAGE", "StatusTable", "of_errno", "of_signal"]

_LOWEST_ERROR = 128


def of_errno(number: int | None) -> int:
    """The status of a run that failed: 256 - errno, never below 128."""
    return max(_LOWEST_ERROR, 256 - (number or errno.EIO))


def of_signal(number: int) -> int:
    """The status of a run that a signal ended."""
    return 128 + number


OK = 0
USAGE = of_errno(errno.EINVAL)
BROKEN_PIPE = of_signal(signal.SIGPIPE)

# Statuses of `qemu-img check`, and which of them prevails over several images.
_QEMU_GOOD, _QEMU_NOT_FINISHED, _QEMU_CORRUPT, _QEMU_LEAKS = 0, 1, 2, 3
_QEMU_RANKED = (_QEMU_NOT_FINISHED, _QEMU_CORRUPT, _QEMU_LEAKS, _QEMU_GOOD)


class StatusTable(NamedTuple):
    """Turns outcomes into statuses, our own or those of ``qemu-img check``."""

    like_qemu_img: bool = False

    def of_result(self, result: "CheckResult") -> int:
        """The status of an image that was checked."""
        if not self.like_qemu_img:
            return int(result.verdict)
        totals = result.statistics
        if totals.check_errors or result.refusal is not None:
            return _QEMU_NOT_FINISHED
        if totals.corruptions:
            return _QEMU_CORRUPT
        return _QEMU_LEAKS if totals.leaks else _QEMU_GOOD

    def of_failure(self, number: int | None) -> int:
        """The status of an image that could not be checked, by its errno."""
        return _QEMU_NOT_FINISHED if self.like_qemu_img else of_errno(number)

    def combined(self, statuses: Iterable[int]) -> int:
        """The status of a run over several images: errors first, then the worst verdict."""
        found = list(statuses)
        if self.like_qemu_img:
            return min(found, key=_QEMU_RANKED.index, default=_QEMU_GOOD)
        errors = [status for status in found if status >= _LOWEST_ERROR]
        if errors:
            return errors[0]
        return int(Verdict.worst(Verdict(status) for status in found))
