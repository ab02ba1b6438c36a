"""Reports: HTML pages for people, and the file names and verdicts of monitoring below `reports/<environment>/`.

A page is one file without scripts and without anything from another host, readable in light and dark themes.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

FORMAT = 1
OK, NO_DATA, WATCH, RETRAIN, INCIDENT = VERDICTS = ("ok", "no data", "watch", "retrain", "incident")
# The newest report; a dated folder holds a copy of each.
LATEST = "monitoring.json"
REQUEST = "retrain_request.json"


def render(template: str, **values: Any) -> str:
    """Return the HTML of a page, made from a file in `reports/templates` that can call the charts.

    Text in `values` is escaped. A variable of the template that is not in `values` raises jinja2.UndefinedError.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> "jinja2.Environment":
    import jinja2

    from lifecycle.reports import charts

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lifecycle.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {each.__name__: each for each in (charts.shares, charts.intervals, charts.reliability)}
    return environment
