"""What a report with bars or pictures is written on."""

from dataclasses import dataclass

from qcow2_dump.report.style import Style

__all__ = ["Paper"]


_NO_COLOR = Style()


@dataclass(frozen=True, slots=True)
class Paper:
    """So many columns, with or without Unicode, and a style."""

    columns: int = 80
    unicode: bool = True
    style: Style = _NO_COLOR
