"""What a plan says of itself."""

from qcow2_dump.plan.model import Barrier, Plan, Resize, Write
from tests.plan.disk import make_plan, result_of

CONTENT = b"0123456789" * 10


def a_plan() -> Plan:
    return make_plan(CONTENT, [200, None, (5, b"abc"), (150, b"new"), None, (6, b"B")])


def test_what_it_adds_up_to() -> None:
    plan = a_plan()
    assert (plan.size, plan.new_size, plan.bytes_written) == (100, 200, 7)
    assert plan.reasons() == {"file.grow": 1, "because": 3}
    assert not plan.is_empty
    assert make_plan(CONTENT, [None, None]).is_empty


def test_its_inverse_goes_back_step_by_step() -> None:
    plan = a_plan()
    back = plan.inverse("Take back", "undo")
    assert (back.title, back.size, back.new_size) == ("Take back", 200, 100)
    assert set(back.reasons()) == {"undo"}
    assert result_of(back, result_of(plan, CONTENT)) == CONTENT
    kinds = [type(step) for step in back.steps]
    # What lies behind the new end is gone from the disk before the file is cut.
    assert kinds == [Write, Barrier, Write, Write, Barrier, Barrier, Resize, Barrier]
    first = back.steps[0]
    assert isinstance(first, Write)
    assert (first.old.read(), first.new.read()) == (b"B", b"b")
