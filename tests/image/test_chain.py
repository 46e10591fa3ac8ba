"""Walking backing files: what is opened, what is refused, and where the walk ends."""

import os
from pathlib import Path

import pytest

from qcow2_dump.image.backing_names import full_backing_name, has_protocol, plain_backing_path
from qcow2_dump.image.chain import ChainLink, open_chain
from qcow2_dump.image.image import open_image
from tests.builder.build import build
from tests.builder.spec import ImageSpec


def make(path: Path, backing: str | None = None, kind: str | None = "qcow2") -> Path:
    """An image over a backing file of that name and format."""
    spec = ImageSpec(backing_name=backing, backing_format=kind if backing else None)
    return build(spec).write_to(path)


def walk(path: Path, limit: int = 200) -> list[ChainLink]:
    """The links of an image's chain, all closed."""
    with open_image(path) as image:
        links = list(open_chain(image, limit=limit))
    for link in links:
        link.close()
    return links


def test_a_chain_ends_at_the_file_without_a_backing_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    make(tmp_path / "top", "sub/middle")
    make(tmp_path / "sub" / "middle", "base", "raw")
    (tmp_path / "sub" / "base").write_bytes(b"raw disk")
    middle, base = walk(tmp_path / "top")
    assert (middle.depth, middle.stored, middle.format) == (1, b"sub/middle", "qcow2")
    assert middle.path == str(tmp_path / "sub/middle")
    assert middle.image is not None
    # Relative to the image that names it, not to the first one.
    assert (base.depth, base.path) == (2, str(tmp_path / "sub/base"))
    assert base.image is None
    assert base.source is not None
    assert middle.problem is base.problem is None


def test_no_chain_without_a_backing_file(tmp_path: Path) -> None:
    assert walk(make(tmp_path / "alone")) == []


@pytest.mark.parametrize("content", ["qcow2", "raw"])
def test_the_format_is_probed_when_the_image_does_not_say(content: str, tmp_path: Path) -> None:
    make(tmp_path / "top", "base", None)
    make(tmp_path / "base")
    if content == "raw":
        (tmp_path / "base").write_bytes(b"no magic")
    (link,) = walk(tmp_path / "top")
    assert (link.format, link.probed) == (content, True)
    assert (link.image is not None) == (content == "qcow2")


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        (b"COWD", "vmdk"),
        (b"LUKS\xba\xbe\0\1", "luks"),
        (b"WithoutFreeSpace", "parallels"),
        (bytes(64) + b"\x7f\x10\xda\xbe", "vdi"),
        (b"QFI\xfb\0\0\0\1", "qcow"),
    ],
)
def test_a_file_of_another_format_is_refused_by_its_name(
    mark: bytes, kind: str, tmp_path: Path
) -> None:
    make(tmp_path / "top", "base", None)
    (tmp_path / "base").write_bytes(mark.ljust(1024, b"\0"))
    (link,) = walk(tmp_path / "top")
    assert (link.format, link.source) == (kind, None)
    assert kind in (link.problem or "")


def test_a_raw_format_is_believed(tmp_path: Path) -> None:
    """A guest can write a header of its own into its raw disk."""
    make(tmp_path / "top", "base", "raw")
    make(tmp_path / "base", "/etc/passwd")
    (link,) = walk(tmp_path / "top")
    assert (link.format, link.probed, link.image) == ("raw", False, None)


def test_a_cycle_ends_the_walk(tmp_path: Path) -> None:
    make(tmp_path / "a", "b")
    make(tmp_path / "b", "link-to-a")
    (tmp_path / "link-to-a").symlink_to("a")
    first, second = walk(tmp_path / "a")
    assert first.problem is None
    assert second.problem is not None
    assert "comes back" in second.problem


def test_a_limit_ends_the_walk(tmp_path: Path) -> None:
    for number in range(4):
        make(tmp_path / str(number), str(number + 1))
    make(tmp_path / "4")
    assert [link.problem for link in walk(tmp_path / "0")] == [None] * 4
    *fine, last = walk(tmp_path / "0", limit=2)
    assert [link.problem for link in fine] == [None] * 2
    assert last.problem == "more than 2 backing files"


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("missing", "qcow2", "No such file"),
        ("folder", "qcow2", "neither a regular file"),
        ("pipe", "raw", "neither a regular file"),
        ("/dev/null", "raw", "neither a regular file"),
        ("nbd:localhost:10809", "raw", "not the path of a file"),
        ('json:{"driver": "null-co"}', "raw", "not the path of a file"),
        ("text", "qcow2", "not a qcow2 image"),
        ("text", "vmdk", "the format vmdk is not read here"),
    ],
)
def test_what_cannot_be_opened_is_told(name: str, kind: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    (link,) = walk(make(tmp_path / "top", name, kind))
    assert link.source is link.image is None
    assert words in (link.problem or "")


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    make(tmp_path / "a", "b")
    make(tmp_path / "b", "a")
    walk(tmp_path / "a")
    make(tmp_path / "top", "text")
    (tmp_path / "text").write_text("text")
    walk(tmp_path / "top")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("image", "stored", "full", "path"),
    [
        ("disk", b"base", b"base", "base"),
        ("./disk", b"base", b"./base", "./base"),
        ("a/b/disk", b"../base", b"a/b/../base", "a/b/../base"),
        ("a/disk", b"/base", b"/base", "/base"),
        ("a/disk", b"file:base", b"file:base", "base"),
        ("a/disk", b"nbd:x", b"nbd:x", None),
        ("a/disk", b"./with:colon", b"a/./with:colon", "a/./with:colon"),
        ("a/disk", b"nul\0", b"a/nul\0", None),
        ("a/disk", b"\xff", b"a/\xff", "a/\udcff"),
        ("a/disk", b"", b"a/", None),
    ],
)
def test_names_lead_where_qemu_would_go(
    image: str, stored: bytes, full: bytes, path: str | None
) -> None:
    assert full_backing_name(image, stored) == full
    assert plain_backing_path(image, stored) == path


def test_a_colon_behind_a_slash_is_no_protocol() -> None:
    assert has_protocol(b"nbd:host")
    assert not has_protocol(b"/dir/nbd:host")
    assert not has_protocol(b"plain")
