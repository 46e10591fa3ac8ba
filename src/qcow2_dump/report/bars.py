"""Bars of characters, for lengths that a reader compares at a glance."""

__all__ = ["bar"]

_EIGHTHS = "▏▎▍▌▋▊▉█"


def bar(value: int, most: int, width: int, *, unicode: bool) -> str:
    """A bar of at most ``width`` characters for a value of 0 to ``most``.

    Any value above 0 shows. Without ``unicode``, in whole characters of ASCII.
    """
    if value <= 0 or most <= 0 or width <= 0:
        return ""
    if not unicode:
        return "#" * max(1, width * value // most)
    eighths = max(1, 8 * width * value // most)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest - 1] if rest else "")
