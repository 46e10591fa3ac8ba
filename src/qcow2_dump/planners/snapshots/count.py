"""A number of snapshots that cannot be (format section 5.3): QEMU does not open such an image.

The records are still there. They end where nothing but zeros follows.
"""

from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import MAX_SNAPSHOTS
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.fields.header_fields import put_header_fields
from qcow2_dump.planners.snapshots.lengths import leading_records

__all__ = ["mend_snapshot_count"]

# So much behind the last record has to be zeros, as far as the cluster and the file go.
_SLACK = 40


def mend_snapshot_count(draft: Draft, found: Checked) -> list[str]:
    """Have an impossible number of snapshots put right, where the records tell how many there are.

    Returns sentences for people.
    """
    image = draft.drafted()
    count = image.header.nb_snapshots
    if count <= MAX_SNAPSHOTS and not (
        found.has("snapshot.table") and image.snapshot_table.dropped
    ):
        return []
    counted = _real_count(image)
    if counted is None:
        return []
    put_header_fields(draft, Stage.SWITCH, {"nb_snapshots": counted}, "snapshot.count")
    if not counted:
        return [f"The header counts {count:,} snapshots but names no table: there are none."]
    return [
        f"The header counts {count:,} snapshots; the table holds {counted:,}, all of them sound."
    ]


def _real_count(image: Image) -> int | None:
    """How many records there are; None where that cannot be told."""
    offset = image.header.snapshots_offset
    if not offset:
        # The table cannot lie in the header. A number that may be right is the last trace of one.
        return 0 if image.header.nb_snapshots > MAX_SNAPSHOTS else None
    if not image.geometry.is_aligned(offset) or offset >= image.source.size:
        return None
    counted, length = leading_records(image, MAX_SNAPSHOTS)
    end = offset + length
    slack = max(_SLACK, -end % image.geometry.cluster_size)
    behind = image.source.read(end, min(slack, max(0, image.source.size - end)))
    return counted if counted and not any(behind) else None
