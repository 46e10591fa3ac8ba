"""The one way in for whoever changes an image from Python: a request becomes a run."""

from typing import TYPE_CHECKING

from qcow2_dump.operations.applying import ChangeRun
from qcow2_dump.operations.undoing import UndoRun
from qcow2_dump.operations.write_requests import UndoRequest, WriteRequest

if TYPE_CHECKING:
    from qcow2_dump.planners.checked import Tick

__all__ = ["open_for_change"]


def open_for_change(request: WriteRequest, *, tick: "Tick | None" = None) -> ChangeRun | UndoRun:
    """Open and lock the image of a request, and plan what it asks for; nothing is written yet.

    A context manager: ``proposal`` is what would be done, ``apply()`` does it, ``verify()`` looks
    at it afterwards. With ``dry_run`` among the options nothing is locked, and ``apply`` refuses.
    Nobody is asked: whoever calls ``apply`` has agreed. ``tick`` is told how far a check has come.
    Raises as `ChangeRun` and `UndoRun` do.
    """
    if isinstance(request, UndoRequest):
        return UndoRun(request)
    return ChangeRun(request, tick=tick)
