"""What the tool tells people to do, and never tells them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qcow2_dump.checks.catalogue import RULES
from qcow2_dump.checks.result import LeakTriage
from qcow2_dump.image.image import Image
from qcow2_dump.report.advice import advise, repair_command
from tests.report import samples


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    with samples.sample_image(tmp_path) as opened:
        yield opened


def test_a_sound_image_needs_no_advice(image: Image) -> None:
    advice = advise(samples.result(), image)
    assert (advice.sentences, advice.commands) == ((), ())


def test_orphans_are_never_offered_for_freeing(image: Image) -> None:
    made = samples.result(
        samples.leak(10, "orphan"), triage=LeakTriage(("an L2 table is empty",), orphans=1)
    )
    advice = advise(made, image)
    assert advice.commands == ("qcow2-dump explain refcount.leak",)
    assert repair_command(made.findings[0], image) is None


def test_no_words_of_the_catalogue_advise_freeing_orphans() -> None:
    prose = " ".join(f"{rule.meaning} {rule.effect} {rule.repair}" for rule in RULES.values())
    assert "--free-orphans" not in prose


def test_waste_is(image: Image) -> None:
    made = samples.result(samples.leak(10, "waste"), triage=LeakTriage(waste=1))
    command = advise(made, image).commands[-1]
    assert command == f"qcow2-dump repair {image.name} --leaks --dry-run"


def test_errors_and_leaks_are_all(image: Image) -> None:
    made = samples.result(
        samples.leak(10, "waste"), samples.simple("refcount.low"), triage=LeakTriage(waste=1)
    )
    assert advise(made, image).commands[-1].endswith(" --all --dry-run")


@pytest.mark.parametrize(
    "code", [code for code, rule in RULES.items() if (rule.option or "").startswith("--drop")]
)
def test_what_loses_something_is_not_suggested(image: Image, code: str) -> None:
    commands = advise(samples.result(samples.simple(code)), image).commands
    assert not any("--drop" in command for command in commands)


@pytest.mark.parametrize("code", ["refcount.low", "cluster.shared", "refcount.block-missing"])
def test_an_image_that_writing_would_destroy_must_not_be_written(image: Image, code: str) -> None:
    first = advise(samples.result(samples.simple(code)), image).sentences[0]
    assert first.startswith("Do not let a guest write")


def test_explain_names_what_costs_data_before_what_follows_from_it(image: Image) -> None:
    made = samples.result(samples.simple("leak.orphan-table"), samples.beyond_end(3))
    assert advise(made, image).commands[0] == "qcow2-dump explain l2.beyond-end"


def test_half_a_file_is_not_to_be_repaired(image: Image) -> None:
    made = samples.result(samples.simple("file.truncated"), samples.simple("refcount.low"))
    advice = advise(made, image)
    assert advice.commands == ("qcow2-dump explain file.truncated",)
    assert any("look for a complete one" in sentence for sentence in advice.sentences)


def test_explain_names_what_gave_the_verdict(image: Image) -> None:
    made = samples.result(samples.simple("l2.copied"), samples.simple("refcount.low"))
    assert advise(made, image).commands[0] == "qcow2-dump explain refcount.low"


def test_a_snapshot_record_is_named_by_its_position(image: Image) -> None:
    entry = image.snapshot_table.entries[0]
    finding = samples.simple("snapshot.l1-table", offset=entry.offset)
    assert repair_command(finding, image) == (f"qcow2-dump repair {image.name} --drop-snapshot 0")
    elsewhere = samples.simple("snapshot.l1-table", offset=entry.offset + 100_000)
    assert repair_command(elsewhere, image) is None


def test_nothing_is_offered_where_pointers_and_refcounts_are_both_lost(image: Image) -> None:
    """Guest data looks free then, to QEMU as to a count of references."""
    made = samples.result(samples.simple("l1.beyond-end"), samples.simple("refcount.block-missing"))
    advice = advise(made, image)
    assert "`qemu-img check -r`" in advice.sentences[0]
    assert not any("repair" in command for command in advice.commands)
    alone = advise(samples.result(samples.simple("refcount.block-missing")), image)
    assert alone.commands[-1].endswith(" --errors --dry-run")
