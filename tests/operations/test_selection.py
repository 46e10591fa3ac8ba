"""Which trees a selector names, and what is said when it names none or too many."""

import pytest

from qcow2_dump.errors import RequestError
from qcow2_dump.image.image import Image
from qcow2_dump.operations.selection import select_snapshot, select_tree, select_trees
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.spec import ImageSpec, SnapshotSpec


def image_with(*snapshots: tuple[str, str]) -> Image:
    """An image with snapshots of these IDs and names."""
    spec = ImageSpec(snapshots=tuple(SnapshotSpec(number, name) for number, name in snapshots))
    return Image(MemorySource(build(spec).data.to_bytes(), "image"))


def selected(image: Image, selector: str) -> list[int | None]:
    """The positions of the trees that a selector names."""
    return [tree.index for tree in select_trees(image, selector)]


@pytest.mark.parametrize(
    ("selector", "positions"),
    [
        ("active", [None]),
        ("inactive", [0, 1, 2, 3]),
        ("all", [None, 0, 1, 2, 3]),
        ("1", [0]),
        ("monday", [0]),
        ("2", [1]),
        ("snapshot[2]", [2]),
        ("snapshot[003]", [3]),
    ],
)
def test_what_a_selector_names(selector: str, positions: list[int | None]) -> None:
    image = image_with(("1", "monday"), ("2", "1"), ("3", "active"), ("4", "2"))
    assert selected(image, selector) == positions


def test_a_name_wins_over_a_position() -> None:
    image = image_with(("1", "one"), ("2", "snapshot[0]"))
    assert selected(image, "snapshot[0]") == [1]


def test_words_win_over_names_and_ids_stay_usable() -> None:
    image = image_with(("7", "all"), ("8", "active"))
    assert selected(image, "all") == [None, 0, 1]
    assert selected(image, "8") == [1]


@pytest.mark.parametrize("selector", ["no", "snapshot[2]", "snapshot[-1]", "ACTIVE", ""])
def test_what_names_nothing_says_what_there_is(selector: str) -> None:
    image = image_with(("1", "monday"), ("2", "tues\x1b[31mday"))
    with pytest.raises(RequestError) as raised:
        select_trees(image, selector)
    words = str(raised.value)
    assert "ID '1' 'monday'" in words
    assert "active" in words
    assert words.isprintable()


def test_names_of_any_length_and_number_fit_a_line() -> None:
    image = image_with(*((str(number), "n" * 60_000) for number in range(40)))
    with pytest.raises(RequestError, match="and 32 more") as raised:
        select_trees(image, "x" * 100_000)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(("selector", "what"), [("1", "ID"), ("twin", "name")])
def test_what_names_several_is_refused(selector: str, what: str) -> None:
    image = image_with(("1", "twin"), ("1", "other"), ("3", "twin"))
    with pytest.raises(RequestError, match=rf"2 snapshots have the {what} .*snapshot\[0\], "):
        select_trees(image, selector)
    assert selected(image, "snapshot[0]") == [0]


def test_names_that_are_no_text() -> None:
    """Given as the shell hands them over, or as reports show them."""
    built = build(ImageSpec(snapshots=(SnapshotSpec("1", "abcd"),)))
    raw = bytearray(built.data.to_bytes())
    at = raw.index(b"abcd")
    raw[at : at + 4] = b"\xff\xfeab"
    image = Image(MemorySource(bytes(raw), "image"))
    assert selected(image, "\udcff\udcfeab") == [0]
    assert selected(image, "\\xff\\xfeab") == [0]


@pytest.mark.parametrize("selector", ["all", "inactive"])
def test_one_tree_is_not_several(selector: str) -> None:
    image = image_with(("1", "monday"))
    with pytest.raises(RequestError, match="several trees"):
        select_tree(image, selector)
    assert select_tree(image, "monday").index == 0


def test_a_name_is_taken_as_reports_show_it_unless_another_is_written_so() -> None:
    spec = ImageSpec(
        snapshots=(
            SnapshotSpec("1", "a\x1bb"),
            SnapshotSpec("2", r"c\x1bd"),
            SnapshotSpec("3", "c\x1bd"),
        )
    )
    image = Image(MemorySource(build(spec).data.to_bytes(), "image"))
    assert selected(image, r"a\x1bb") == [0]
    assert selected(image, r"c\x1bd") == [1]
    assert selected(image, r"c\\x1bd") == [1]
    assert selected(image, "c\x1bd") == [2]


@pytest.mark.parametrize(
    ("selector", "position"), [("2", 1), ("monday", 0), ("all", 1), ("snapshot[0]", 0)]
)
def test_a_snapshot_by_its_position(selector: str, position: int) -> None:
    """Words for several trees are but names here."""
    image = image_with(("1", "monday"), ("2", "all"))
    assert select_snapshot(image, selector) == position


@pytest.mark.parametrize("selector", ["active", "inactive", "snapshot[2]"])
def test_what_is_no_snapshot_is_refused(selector: str) -> None:
    with pytest.raises(RequestError, match="there is no snapshot"):
        select_snapshot(image_with(("1", "monday"), ("2", "all")), selector)


def test_only_snapshots_are_offered_where_a_snapshot_is_asked_for() -> None:
    with pytest.raises(RequestError, match=r"there are: ID '1' 'monday'$"):
        select_snapshot(image_with(("1", "monday")), "active")
    with pytest.raises(RequestError, match=r"there are: none$"):
        select_snapshot(image_with(), "active")
