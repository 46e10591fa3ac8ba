"""The worked examples against the real qemu-img: the rules, and the builder, say what is so."""

from pathlib import Path

import pytest

from tests.builder.example import Example
from tests.builder.std_examples import STD_EXAMPLES
from tests.support.qemu import qemu_check, require_qemu


@pytest.mark.parametrize("example", STD_EXAMPLES, ids=lambda example: example.id)
def test_example_counts_what_the_rules_say(example: Example, tmp_path: Path) -> None:
    require_qemu()
    check = qemu_check(example.make().write_to(tmp_path / "t.qcow2"))
    assert check.rc == example.rc, (check.totals, check.stderr)
    if example.outcome != "checked":
        assert check.totals is None
        assert ("Could not open" in check.stderr) == (example.outcome == "refused"), check.stderr
        return
    assert {name: check.count(name) for name in example.expected} == example.expected


def test_ids_are_unique() -> None:
    ids = [example.id for example in STD_EXAMPLES]
    assert len(ids) == len(set(ids))
