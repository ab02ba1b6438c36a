"""Draw charts as inline SVG with matplotlib.

Colours are drawn as placeholders and replaced by CSS variables of the page, so that a chart follows its theme. Equal
values give equal bytes.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

TEXT, SOFT, LINE, REFERENCE, CURRENT, BOUND = (f"#01010{place}" for place in range(6))
VARIABLES = {TEXT: "text", SOFT: "soft", LINE: "line", REFERENCE: "one", CURRENT: "two", BOUND: "incident"}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "figure.titlesize": 10,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "grid.color": LINE,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), TEXT),
    **dict.fromkeys(("xtick.color", "ytick.color"), SOFT),
}
# In inches.
WIDTH, ROW, HEAD, FOOT, LETTER = 4.2, 0.26, 0.3, 0.8, 0.07
MAX_BINS, MAX_LABEL = 12, 22


def shares(title: str, unit: str, bins: Sequence[str], series: Mapping[str, Sequence[float]]) -> "Markup":
    """Draw the shares of a reference and of current rows by bin, as horizontal bars.

    Args:
        title: name of the column.
        unit: label of the axis of the bins.
        bins: label of each bin; of many, those with the largest shares are drawn.
        series: two series by their name in the legend, each with one share from 0 to 1 for each bin.

    Returns:
        An `<svg>` element whose `aria-label` holds every number.
    """
    largest = sorted(range(len(bins)), key=lambda place: -max(each[place] for each in series.values()))
    kept = sorted(largest[:MAX_BINS])
    percent = {name: [100 * each[place] for place in kept] for name, each in series.items()}
    labels = [bins[place] for place in kept]

    def draw(axes: "Axes") -> None:
        for number, (name, values) in enumerate(percent.items()):
            places = [place + 0.4 * (number - 0.5) for place in range(len(kept))]
            axes.barh(places, values, height=0.4, label=name, color=(REFERENCE, CURRENT)[number])
        axes.set_xlabel("share of rows (%)")
        axes.set_ylabel(unit)

    first, second = percent.values()
    numbers = "; ".join(f"{bin} {a:.1f}% and {b:.1f}%" for bin, a, b in zip(labels, first, second, strict=True))
    return _svg(title, labels, draw, f"{title}. {' and '.join(series)}: {numbers}")


def intervals(
    title: str, unit: str, rows: Mapping[str, tuple[float, float, float]], lines: Mapping[str, float]
) -> "Markup":
    """Draw values with their intervals, one row each, and vertical lines to compare them with.

    Args:
        title: what is measured.
        unit: label of the axis of the values.
        rows: value, lower and upper bound by name.
        lines: position of each vertical line by its name in the legend.

    Returns:
        An `<svg>` element whose `aria-label` holds every number.
    """

    def draw(axes: "Axes") -> None:
        values, lower, upper = (list(each) for each in zip(*rows.values(), strict=True))
        spread = [
            [value - low for value, low in zip(values, lower, strict=True)],
            [high - value for value, high in zip(values, upper, strict=True)],
        ]
        axes.errorbar(values, range(len(rows)), xerr=spread, fmt="o", color=CURRENT, capsize=3, label="value, interval")
        for (name, value), colour, style in zip(lines.items(), (BOUND, TEXT), ("--", ":"), strict=False):
            axes.axvline(value, color=colour, linestyle=style, label=name)
        axes.set_xlabel(unit, loc="right")

    numbers = [f"{name} {value:.4g} ({low:.4g} to {high:.4g})" for name, (value, low, high) in rows.items()]
    numbers += [f"{name} {value:.4g}" for name, value in lines.items()]
    return _svg(title, list(rows), draw, f"{title}. {unit}: {'; '.join(numbers)}")


def _svg(title: str, labels: Sequence[str], draw: Callable[["Axes"], None], text: str) -> "Markup":
    import matplotlib
    from markupsafe import Markup
    from matplotlib.figure import Figure

    file = io.StringIO()
    style: Any = STYLE | {"svg.hashsalt": text}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # Text stays text in the SVG, so a character that matplotlib's own font lacks does no harm.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        height, widest = HEAD + FOOT + ROW * max(len(labels), 2), max(len(_short(label)) for label in labels)
        figure = Figure(figsize=(WIDTH, height))
        # A layout engine would draw every chart twice to measure text in a font that the browser does not use.
        left = (0.55 + LETTER * widest) / WIDTH
        axes = figure.add_axes((left, FOOT / height, 0.97 - left, 1 - (HEAD + FOOT) / height))
        draw(axes)
        axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
        axes.set_ylim(len(labels) - 0.4, -0.6)
        figure.suptitle(_short(title, 2 * MAX_LABEL), y=1 - 0.06 / height)
        axes.grid(axis="x", linewidth=0.5)
        figure.legend(loc="lower center", ncols=2)
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    _, _, drawn = file.getvalue().partition("<svg")
    opening, _, content = drawn.partition(">")
    box = re.search(r'viewBox="[^"]*"', opening)
    assert box is not None, "matplotlib writes a viewBox"
    # The identifiers of groups would be repeated by the next chart of the page; nothing refers to them.
    content = re.sub(r'<g id="[a-z_0-9]+"', "<g", content)
    for colour, variable in VARIABLES.items():
        content = content.replace(colour, f"var(--{variable})")
    return Markup('<svg {} role="img" aria-label="{}">{}').format(Markup(box[0]), text, Markup(content))


def _short(label: str, length: int = MAX_LABEL) -> str:
    printable = "".join(each if each.isprintable() else " " for each in label)
    return printable if len(printable) <= length else printable[: length - 1] + "…"
