"""What a check says of an image does not depend on how many findings are wanted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from qcow2_dump.checks import findings, pass_sharing
from qcow2_dump.checks.checker import Checker
from qcow2_dump.errors import FormatError
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec
from tests.corpus.cases import Case, fixed_cases, materialize


def checked(image: Image, max_findings: int) -> Checker:
    checker = Checker(image, max_findings=max_findings)
    for step in checker.run():
        assert step.done >= 0
    return checker


@pytest.mark.parametrize("case", fixed_cases()[1::4], ids=lambda case: case.name)
def test_damaged_images(case: Case, tmp_path: Path) -> None:
    path = materialize(case, tmp_path)
    with suppress(FormatError), open_image(path) as image:
        whole = checked(image, 10**6).result()
        for limit in (0, 1):
            few = checked(image, limit).result()
            assert len(few.findings) <= limit
            assert (few.verdict, few.tallies) == (whole.verdict, whole.tallies)
            assert (few.statistics, few.triage) == (whole.statistics, whole.triage)


def test_shared_clusters_that_are_too_many_to_examine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that nobody looks into are in doubt as those are that somebody does."""
    content = {guest: Data(guest + 1) for guest in range(64)}
    built = build(ImageSpec(cluster_bits=9, virtual_size=1 << 15, content=content))
    for guest in range(0, 64, 4):
        built.set_l2(0, guest + 1, built.peek(built.l2_entry_offset(0, guest)))
    image = Image(MemorySource(built.data.read(0, len(built.data))), NeverLook())
    whole = checked(image, 10**6)
    assert whole.log.tallies["cluster.shared"].guest_bytes == 16 * 512
    monkeypatch.setattr(findings, "LEAST_KEPT", 3)
    monkeypatch.setattr(pass_sharing, "LEAST_KEPT", 3)
    few = checked(image, 1)
    assert few.log.tallies == whole.log.tallies
    assert few.result().triage == whole.result().triage
