"""Numbers as people read them."""

import pytest

from qcow2_dump.report.units import counted, duration, size


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1,023 bytes"),
        (1024, "1 KiB"),
        (192 << 10, "192 KiB"),
        (3 << 29, "1.5 GiB"),
        (128 << 16, "8 MiB"),
        (1 << 60, "1 EiB"),
        ((1 << 63) - 1, "8 EiB"),
    ],
)
def test_size(length: int, shown: str) -> None:
    assert size(length) == shown


def test_counted() -> None:
    assert counted(1, "entry", "entries") == "1 entry"
    assert counted(1234, "entry", "entries") == "1,234 entries"


def test_duration() -> None:
    assert [duration(t) for t in (0.016, 12.3, 185.0)] == ["0.02 s", "12 s", "3 min 5 s"]
