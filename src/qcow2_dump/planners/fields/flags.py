"""Setting and clearing the dirty and the corrupt flag (format section 1.2, repair rules 3)."""

from qcow2_dump.checks.result import CheckResult
from qcow2_dump.errors import RequestError, UnsafePlanError
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import IncompatibleFeature
from qcow2_dump.planners.checked import Checked, Tick, check_for_planning
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.fields.header_fields import clear_unknown_autoclear, put_header_fields
from qcow2_dump.planners.proposal import Proposal

__all__ = ["plan_flag"]

_BITS = {"dirty": IncompatibleFeature.DIRTY, "corrupt": IncompatibleFeature.CORRUPT}


def plan_flag(
    image: Image,
    action: str,
    flag: str,
    *,
    free_orphans: bool = False,
    tick: Tick | None = None,
) -> Proposal:
    """Mark an image as ``dirty`` or ``corrupt``, or clear that flag: ``mark`` or ``clear``.

    Nothing else is changed, and nothing at all when the flag is as asked for already. Checks the
    image where that decides, or tells what to warn of. Raises RequestError for a version 2 image,
    which has no flags, UnsafePlanError for marking an image dirty that has orphans, unless
    ``free_orphans``: QEMU would free them; SourceError when the image cannot be read.
    """
    header = image.header
    if not header.is_v3:
        raise RequestError(f"a version {header.version} image has no {flag} flag")
    bit, wanted = _BITS[flag], action == "mark"
    draft = Draft(image, f"{action} {flag}")
    if bool(header.incompatible_features & bit) == wanted:
        state = "already set" if wanted else "not set"
        return Proposal(draft.build(), [f"The {flag} flag is {state}: there is nothing to do."])
    before, notes = None, []
    if not wanted or flag == "dirty":
        found = check_for_planning(image, tick=tick)
        before = found.result
        notes = _cleared(before) if not wanted else _dirtied(found, free_orphans=free_orphans)
    else:
        notes.append(
            "QEMU then opens the image for reading only, until the flag is cleared or "
            "`qemu-img check -r all` finds nothing wrong."
        )
    clear_unknown_autoclear(draft, image)
    changed = header.incompatible_features ^ bit
    put_header_fields(draft, Stage.FLAGS, {"incompatible_features": changed}, f"header.{flag}")
    return Proposal(draft.build(), notes, before=before)


def _cleared(result: CheckResult) -> list[str]:
    """What to warn of before a flag goes that was there for a reason."""
    corruptions = result.statistics.corruptions
    if corruptions:
        what = "1 corruption" if corruptions == 1 else f"{corruptions:,} corruptions"
        warning = f"The image still has {what}: without the flag QEMU writes to it as if it were "
        return [warning + "sound, which can destroy more."]
    if result.refusal is not None:
        return [f"QEMU still would not open the image: {result.refusal}."]
    return []


def _dirtied(found: Checked, *, free_orphans: bool) -> list[str]:
    """What QEMU does to a dirty image; refuses where that would cost guest data."""
    orphans = found.result.triage.orphans
    will = "QEMU repairs the image by itself when it next opens it for writing"
    if not orphans:
        return [f"{will}."]
    what = "1 leaked cluster" if orphans == 1 else f"{orphans:,} leaked clusters"
    if not free_orphans:
        raise UnsafePlanError(
            f"{what} may be guest data, and QEMU would free and erase them when it next opens a "
            "dirty image for writing"
        )
    return [f"{will}, and frees and erases {what} that may be guest data."]
