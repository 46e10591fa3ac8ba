"""What every source of bytes promises. Subclasses say how a source is made of some bytes."""

from pathlib import Path

import pytest

from qcow2_dump.storage.base import ByteSource

SECTOR = 512
CONTENT = bytes(range(256)) * 8 + bytes(8 * 4096) + b"end".ljust(SECTOR, b"\x77")


class SourceContract:
    """Every method takes a fresh source; ``multiple`` is what the lengths of sources are of."""

    multiple = 1

    def make(self, content: bytes, tmp_path: Path) -> ByteSource:
        """A source of these bytes."""
        raise NotImplementedError

    @pytest.fixture
    def source(self, tmp_path: Path) -> ByteSource:
        return self.make(CONTENT, tmp_path)

    def test_its_size_is_the_number_of_bytes(self, source: ByteSource) -> None:
        with source:
            assert source.size == len(CONTENT)
            assert source.name

    @pytest.mark.parametrize("length", [0, 1, 511, 512, 4096, len(CONTENT)])
    @pytest.mark.parametrize("offset", [0, 1, 2047, 4096, len(CONTENT) - 1])
    def test_it_reads_what_is_there(self, source: ByteSource, offset: int, length: int) -> None:
        with source:
            expected = CONTENT[offset : offset + length].ljust(length, b"\0")
            assert source.read(offset, length) == expected

    @pytest.mark.parametrize("offset", [0, 1, 4096, 2**31, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
    def test_past_the_end_there_are_zeros(self, source: ByteSource, offset: int) -> None:
        with source:
            assert source.read(source.size + offset, 100) == bytes(100)

    def test_a_read_across_the_end_is_filled_up(self, source: ByteSource) -> None:
        with source:
            buffer = bytearray(b"\xee" * 1000)
            source.read_into(source.size - 600, memoryview(buffer))
            assert buffer == CONTENT[-600:] + bytes(400)

    def test_a_short_read_at_the_end_says_so(self, source: ByteSource) -> None:
        with source:
            buffer = bytearray(1000)
            assert source.read_at(source.size - 600, memoryview(buffer)) == 600
            assert buffer[:600] == CONTENT[-600:]

    def test_it_reads_into_a_part_of_a_buffer(self, source: ByteSource) -> None:
        with source:
            buffer = bytearray(b"\xee" * 30)
            source.read_into(5, memoryview(buffer)[10:20])
            assert buffer == b"\xee" * 10 + CONTENT[5:15] + b"\xee" * 10

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, len(CONTENT)), (0, 2**63), (100, 200), (3000, 20_000), (5000, 5001), (7, 7), (9, 3)],
    )
    def test_outside_of_its_data_ranges_there_are_zeros(
        self, source: ByteSource, start: int, end: int
    ) -> None:
        with source:
            at = start
            for data, hole in source.data_ranges(start, end):
                assert at <= data < hole <= min(end, source.size)
                assert not any(CONTENT[at:data])
                at = hole
            assert not any(CONTENT[at:end])

    @pytest.mark.parametrize("start", [0, 100, 2**62, 2**63, 2**64])
    def test_past_the_end_there_is_no_data(self, source: ByteSource, start: int) -> None:
        with source:
            assert list(source.data_ranges(source.size + start, source.size + start + 9)) == []

    def test_an_empty_source(self, tmp_path: Path) -> None:
        with self.make(b"", tmp_path) as source:
            assert source.size == 0
            assert source.read(0, 8) == bytes(8)
            assert list(source.data_ranges(0, 100)) == []

    @pytest.mark.parametrize("sectors", [1, 2, 3])
    def test_a_short_source(self, sectors: int, tmp_path: Path) -> None:
        content = b"\x55" * (sectors * SECTOR if self.multiple > 1 else sectors)
        with self.make(content, tmp_path) as source:
            assert source.read(0, 2000) == content.ljust(2000, b"\0")
            assert list(source.data_ranges(0, 2000)) == [(0, len(content))]

    def test_once_more_it_is_the_same(self, source: ByteSource) -> None:
        with source.again() as again:
            assert again.size == len(CONTENT)
            assert again.read(0, len(CONTENT) + 9) == CONTENT + bytes(9)
        with source:
            assert source.read(0, len(CONTENT)) == CONTENT

    def test_closing_twice_does_nothing(self, source: ByteSource) -> None:
        source.close()
        source.close()
