"""Random plans over random bytes."""

from hypothesis import strategies as st

from qcow2_dump.plan.model import Plan
from tests.plan.disk import make_plan

_SIZES = st.integers(0, 6).map(lambda units: units * 700)


@st.composite
def images_and_plans(draw: st.DrawFn) -> tuple[bytes, Plan]:
    """Some bytes, and a plan that changes them; a file is only cut where it is zeros."""
    content = draw(st.binary(min_size=1, max_size=4)) * draw(st.integers(1, 900))
    changes: list[tuple[int, bytes] | int | None] = []
    size = len(content)
    zeros_from = size
    for kind in draw(st.lists(st.sampled_from("wwwwrb"), max_size=9)):
        if kind == "b":
            changes.append(None)
        elif kind == "r":
            size = max(zeros_from, size - 1500) if draw(st.booleans()) else size + draw(_SIZES)
            changes.append(size)
        elif size:
            offset = draw(st.integers(0, size - 1))
            length = draw(st.integers(1, min(size - offset, 1600)))
            unit = draw(st.sampled_from([b"\0", b"\1", b"ab", b"xyz"]))
            changes.append((offset, (unit * length)[:length]))
            zeros_from = max(zeros_from, offset + length)
    return content, make_plan(content, changes)
