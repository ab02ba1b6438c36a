"""Reports: HTML pages with charts for people, and the file names and verdicts below `reports/<environment>/`.

A page is one file without scripts and without anything from another host, readable in light and dark themes. Charts are
inline SVG, drawn by matplotlib with placeholders for colours that CSS variables of the page replace, so that a chart
follows its theme. Equal values give equal bytes.
"""

import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup
    from matplotlib.axes import Axes

FORMAT = 1
OK, NO_DATA, WATCH, RETRAIN, INCIDENT = VERDICTS = ("ok", "no data", "watch", "retrain", "incident")
# The newest report; a dated folder holds a copy of each.
LATEST, REQUEST = "monitoring.json", "retrain_request.json"

TEXT, SOFT, LINE, REFERENCE, CURRENT, BOUND = (f"#01010{place}" for place in range(6))
VARIABLES = {TEXT: "text", SOFT: "soft", LINE: "line", REFERENCE: "one", CURRENT: "two", BOUND: "incident"}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": LINE,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), TEXT),
    **dict.fromkeys(("xtick.color", "ytick.color"), SOFT),
}
# In inches.
WIDTH, ROW, HEAD, FOOT, LETTER = 4.2, 0.26, 0.3, 0.8, 0.07
MAX_BINS, MAX_LABEL = 12, 22


def render(template: str, **values: Any) -> str:
    """Return a page in HTML, or a text, made from a file in `reports/templates` that can call the charts below.

    Text in `values` is escaped in HTML. A variable of the template that is not in `values` is an UndefinedError.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> "jinja2.Environment":
    import jinja2

    # matplotlib would keep its list of fonts below the home of the user.
    if os.access(sys.prefix, os.W_OK):
        os.environ.setdefault("MPLCONFIGDIR", f"{sys.prefix}/cache/matplotlib")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lifecycle.reports"),
        autoescape=lambda name: name is None or not name.endswith(".txt.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {each.__name__: each for each in (shares, intervals, reliability, curve)}
    return environment


def shares(title: str, unit: str, bins: Sequence[str], series: Mapping[str, Sequence[float]]) -> "Markup":
    """Draw two series of shares from 0 to 1 as horizontal bars, one share for each bin; `unit` labels the bins.

    The keys of the series are the legend. The largest of many bins are drawn. The `aria-label` holds every number.
    """
    percent = 100 * np.array(list(series.values()))
    kept = np.sort(np.argsort(-percent.max(axis=0), kind="stable")[:MAX_BINS])
    labels, percent = [bins[place] for place in kept], percent[:, kept]

    def draw(axes: "Axes") -> None:
        for name, values, offset, colour in zip(series, percent, (-0.2, 0.2), (REFERENCE, CURRENT), strict=True):
            axes.barh(np.arange(len(kept)) + offset, values, height=0.4, label=name, color=colour)
        axes.set(xlabel="share of rows (%)", ylabel=unit)

    numbers = "; ".join(f"{bin} {a:.1f}% and {b:.1f}%" for bin, a, b in zip(labels, *percent, strict=True))
    return _svg(title, labels, draw, f"{title}. {' and '.join(series)}: {numbers}")


def intervals(
    title: str, unit: str, rows: Mapping[str, tuple[float, float, float]], lines: Mapping[str, float]
) -> "Markup":
    """Draw a value, lower and upper bound for each of `rows`, in a `unit`, and a vertical line at each of `lines`.

    The keys of the lines are the legend. The chart is an `<svg>` element whose `aria-label` holds every number.
    """

    def draw(axes: "Axes") -> None:
        values, lower, upper = np.array(list(rows.values())).T
        spread, places = [values - lower, upper - values], range(len(rows))
        axes.errorbar(values, places, xerr=spread, fmt="o", color=CURRENT, capsize=3, label="value, interval")
        for (name, value), colour, style in zip(lines.items(), (BOUND, TEXT), ("--", ":"), strict=False):
            axes.axvline(value, color=colour, linestyle=style, label=name)
        axes.set_xlabel(unit, loc="right")

    numbers = [f"{name} {value:.4g} ({low:.4g} to {high:.4g})" for name, (value, low, high) in rows.items()]
    numbers += [f"{name} {value:.4g}" for name, value in lines.items()]
    return _svg(title, list(rows), draw, f"{title}. {unit}: {'; '.join(numbers)}")


def reliability(title: str, bins: Sequence[Mapping[str, float]]) -> "Markup":
    """Draw the observed share of each of `bins` over its mean predicted probability, and a line where both are equal.

    A bin has `predicted`, `observed` and `rows`. The chart is an `<svg>` element whose `aria-label` holds every number.
    """
    predicted, observed = ([each[name] for each in bins] for name in ("predicted", "observed"))

    def draw(axes: "Axes") -> None:
        most = 1.05 * max(*predicted, *observed, 0.05)
        axes.plot((0, most), (0, most), color=REFERENCE, linestyle="--", label="calibrated")
        axes.plot(predicted, observed, "o-", color=CURRENT, label="this version")
        axes.set(xlabel="predicted probability", ylabel="observed share", xlim=(0, most), ylim=(0, most))

    pairs = (f"{each['predicted']:.4g} and {each['observed']:.4g} ({each['rows']:,.0f} rows)" for each in bins)
    return _svg(title, (), draw, f"{title}. Predicted probability and observed share: {'; '.join(pairs)}")


def curve(title: str, unit: str, points: Sequence[tuple[float, float]], lines: Mapping[str, float]) -> "Markup":
    """Draw a value, in a `unit`, over a threshold as a curve of `points`, and a vertical line at each of `lines`.

    The keys of the lines are the legend. The `aria-label` holds the highest point and the numbers of the lines.
    """
    places, values = zip(*points, strict=True)

    def draw(axes: "Axes") -> None:
        axes.plot(places, values, color=CURRENT, label=unit)
        for (name, value), colour, style in zip(lines.items(), (BOUND, TEXT, SOFT), ("--", ":", "-."), strict=False):
            axes.axvline(value, color=colour, linestyle=style, label=name)
        axes.set_xlabel("threshold")

    best, numbers = max(points, key=lambda each: each[1]), (f"{name} {value:.4g}" for name, value in lines.items())
    text = f"{title}. {unit}: highest {best[1]:.4g} at the threshold {best[0]:.4g}; {'; '.join(numbers)}"
    return _svg(title, (), draw, text)


def _svg(title: str, labels: Sequence[str], draw: Callable[["Axes"], None], text: str) -> "Markup":
    import matplotlib
    from markupsafe import Markup
    from matplotlib.figure import Figure

    file = io.StringIO()
    style: Any = STYLE | {"svg.hashsalt": text}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # Text stays text in the SVG, so a character that matplotlib's own font lacks does no harm.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        names = [_short(label) for label in labels]
        # Without labels, the vertical axis has numbers.
        height = HEAD + FOOT + ROW * (max(len(names), 2) if names else MAX_BINS)
        left = (0.55 + LETTER * max(map(len, names), default=0)) / WIDTH
        figure = Figure(figsize=(WIDTH, height))
        # A layout engine would draw every chart twice to measure text in a font that the browser does not use.
        axes = figure.add_axes((left, FOOT / height, 0.97 - left, 1 - (HEAD + FOOT) / height))
        draw(axes)
        if names:
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_axisbelow(True)
        axes.grid(axis="x", linewidth=0.5, color=LINE)
        axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(_short(title, 2 * MAX_LABEL), y=1 - 0.06 / height, fontsize=10, fontweight="bold")
        figure.legend(loc="lower center", ncols=2, frameon=False)
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=metadata, transparent=True)
    # The identifiers of groups would be repeated by the next chart of the page; nothing refers to them.
    content = re.sub(r'<g id="[a-z_0-9]+"', "<g", file.getvalue().partition("<svg")[2].partition(">")[2])
    for colour, variable in VARIABLES.items():
        content = content.replace(colour, f"var(--{variable})")
    box = f"0 0 {72 * WIDTH:.6g} {72 * height:.6g}"
    return Markup('<svg viewBox="{}" role="img" aria-label="{}">{}').format(box, text, Markup(content))


def _short(label: str, length: int = MAX_LABEL) -> str:
    printable = "".join(each if each.isprintable() else " " for each in label)
    return printable if len(printable) <= length else printable[: length - 1] + "…"
