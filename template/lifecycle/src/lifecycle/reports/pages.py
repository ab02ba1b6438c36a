"""Render a page for people: one HTML file, no script, nothing from another host, readable in light and dark themes."""

from functools import cache
from typing import TYPE_CHECKING, Any

from lifecycle.reports import charts

if TYPE_CHECKING:
    import jinja2


def render(template: str, **values: Any) -> str:
    """Return the HTML of a page, made from a file in `reports/templates` that can call `shares` and `intervals`.

    Text in `values` is escaped. A variable of the template that is not in `values` raises jinja2.UndefinedError.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lifecycle.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"shares": charts.shares, "intervals": charts.intervals}
    return environment
