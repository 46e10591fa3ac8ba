"""Numbers as people read them: sizes in binary units, counts with separators, plurals, times."""

import time

__all__ = ["clock", "counted", "duration", "share", "size", "utc"]

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(length: int) -> str:
    """A length in bytes: ``192 KiB``, ``1.5 GiB``; exact as long as it fits two decimals."""
    unit = 0
    while unit + 1 < len(_UNITS) and length >= 1024 ** (unit + 1):
        unit += 1
    value = length / 1024**unit
    digits = f"{value:.2f}".rstrip("0").rstrip(".") if value < 100 else f"{value:.0f}"
    if unit == 0:
        return counted(length, "byte")
    return f"{digits} {_UNITS[unit]}"


def counted(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun: ``1 snapshot``, ``1,024 clusters``."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def share(part: int, whole: int) -> str:
    """A part of something: ``12.3 %``; 0 and 100 only where it is nothing, or all."""
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        return "< 0.1 %"
    return "> 99.9 %" if percent >= 99.95 and part < whole else f"{percent:.1f} %"


def duration(seconds: float) -> str:
    """A time: ``0.02 s``, ``12 s``, ``3 min 5 s``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def utc(seconds: int) -> str:
    """A moment in seconds since 1970, in UTC: ``2024-02-29 12:34:56``."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def clock(nanoseconds: int) -> str:
    """How long a guest had run: ``12:34:56.789``."""
    minutes, milliseconds = divmod(nanoseconds // 1_000_000, 60_000)
    seconds, rest = divmod(milliseconds, 1000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{rest:03}"
