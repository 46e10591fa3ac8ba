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
    for kind in draw(st.lists(st.sampled_from("wwwsrb"), max_size=9)):
        if kind == "b":
            changes.append(None)
        elif kind == "r":
            size = max(zeros_from, size - 1500) if draw(st.booleans()) else size + draw(_SIZES)
            changes.append(size)
        elif size:
            offset = draw(st.integers(0, size - 1))
            length = draw(st.integers(1, min(size - offset, 1600)))
            unit = draw(st.sampled_from([b"\0", b"\1", b"ab", b"xyz"]))
            data = bytearray((unit * length)[:length])
            if kind == "s":
                # Nearly all of it is as it was.
                length = max(1, length // 8 * 8)
                data = bytearray(content[offset : offset + length].ljust(length, b"\0"))
                data[draw(st.integers(0, length - 1))] ^= 0x55
            changes.append((offset, bytes(data)))
            zeros_from = max(zeros_from, offset + length)
    return content, make_plan(content, changes)
