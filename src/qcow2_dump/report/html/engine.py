"""The template engine, told to escape everything, and the parts of a page that are our own."""

import base64
import hashlib
from functools import cached_property
from pkgutil import get_data
from typing import TYPE_CHECKING, Any

from qcow2_dump.errors import MissingExtraError

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Templates", "require_engine"]

_SCRIPTS = {
    "index.html": ("static/theme.js",),
    "image.html": (
        "vendor/chart.umd.min.js",
        "static/theme.js",
        "static/core.js",
        "static/places.js",
        "static/map.js",
        "static/map_view.js",
        "static/map_input.js",
        "static/table.js",
        "static/charts.js",
        "static/page.js",
    ),
}
_STYLES = ("static/page.css", "static/print.css")


def require_engine() -> None:
    """Raises MissingExtraError where the template engine is not installed."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise MissingExtraError("report", "Jinja2") from None


class Templates:
    """Renders the templates of this package. Raises MissingExtraError without Jinja2."""

    def render(self, template: str, **values: Any) -> str:
        """The page that a template makes of some values: as text they are escaped, always."""
        return self._environment.get_template(template).render(
            styles=[_read(path) for path in _STYLES],
            scripts=[_read(path) for path in _SCRIPTS[template]],
            policy=_policy,
            **values,
        )

    @cached_property
    def _environment(self) -> "Environment":
        require_engine()
        import jinja2
        import markupsafe

        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("qcow2_dump.report.html", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        # Only files of this package, which hold no end tag of their own element.
        environment.filters["ours"] = markupsafe.Markup
        return environment


def _read(path: str) -> str:
    """A file of this package that goes into the page as it is."""
    # Half of what importing the template engine costs is what importlib.resources would cost.
    content = get_data("qcow2_dump.report.html", path) or b""
    text = content.decode("utf-8").strip()
    # The library names a map of its source, which is not there.
    lines = [line for line in text.splitlines() if not line.startswith("//# sourceMappingURL")]
    return "\n".join(lines)


def _policy(scripts: list[str], styles: list[str]) -> str:
    """What the browser may do with the page: run what we wrote into it, and load nothing."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src " + " ".join(map(_hash, scripts)),
            "style-src " + " ".join(map(_hash, styles)),
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
