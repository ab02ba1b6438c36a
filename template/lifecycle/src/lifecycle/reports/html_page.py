"""Pages for people: one file, no script, nothing from another host, light and dark, readable by a screen reader."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --soft: #59636e; --line: #d1d9e0; --one: #8a94a0;
  --two: #0b5cad; --ok: #0b6b3a; --watch: #7a5200; --retrain: #0b5cad; --incident: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --back: #14181d; --text: #e6e9ec; --soft: #a3adb8; --line: #3a434d;
  --one: #7d8894; --two: #6cb2ff; --ok: #57c98a; --watch: #e0b050; --retrain: #6cb2ff; --incident: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; }
p { margin: 0.5rem 0; max-width: 48rem; } .soft, figcaption { color: var(--soft); }
.verdict { font-size: 1.2rem; border-left: 0.4rem solid var(--soft); padding-left: 0.8rem; }
.ok { border-color: var(--ok); } .watch { border-color: var(--watch); } .retrain { border-color: var(--retrain); }
.incident { border-color: var(--incident); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; color: var(--soft); padding-bottom: 0.3rem; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.8rem 0.25rem 0;
  border-bottom: 1px solid var(--line); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; } figure h3 { font-size: 1rem; margin: 0; }
svg { display: block; width: 100%; height: auto; }
figcaption { font-size: 0.85rem; } .one { fill: var(--one); } .two { fill: var(--two); }
svg text { fill: var(--soft); font: 10px system-ui, sans-serif; }
polyline { fill: none; stroke: var(--two); stroke-width: 2; } .series1 { stroke: var(--one); stroke-dasharray: 5 3; }
.series2 { stroke: var(--incident); stroke-dasharray: 2 2; } .series3 { stroke: var(--ok); stroke-dasharray: 8 3 2 3; }
.axis { stroke: var(--line); }
""".strip()
WIDTH, HEIGHT, FOOT = 280, 120, 18


def page(title: str, body: str, lead: str = "") -> str:
    """A whole document; `title` and `lead` are plain text, `body` is HTML of the functions below."""
    introduction = f'<p class="soft">{escape(lead)}</p>\n' if lead else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{introduction}{body}\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading (plain text) and what stands below it (HTML)."""
    return f"<h2>{escape(title)}</h2>\n" + "\n".join(parts)


def paragraph(text: str) -> str:
    """Plain text as a paragraph."""
    return f"<p>{escape(text)}</p>"


def verdict(word: str, text: str) -> str:
    """What was decided, first of all: `word` is one of ok, watch, retrain, incident."""
    return f'<p class="verdict {escape(word)}"><strong>{escape(word)}</strong>: {escape(text)}</p>'


def listing(items: Iterable[str]) -> str:
    """Plain texts as a list; nothing for none."""
    told = "".join(f"<li>{escape(item)}</li>\n" for item in items)
    return f"<ul>\n{told}</ul>" if told else ""


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> str:
    """A table of plain texts; the first column names its row. On a narrow screen it scrolls by itself."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headers)
    body = "".join(
        "<tr>"
        + f'<th scope="row">{escape(str(first))}</th>'
        + "".join(f"<td>{escape(str(each))}</td>" for each in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    # What scrolls must be reachable by keyboard.
    return (
        f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0"><table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>"
    )


def figures(parts: Iterable[str]) -> str:
    """Small multiples: as many beside each other as the screen takes."""
    return '<div class="grid">\n' + "\n".join(parts) + "\n</div>"


def bars(
    title: str, labels: Sequence[str], reference: Sequence[float], current: Sequence[float], note: str = ""
) -> str:
    """Two shares for each label, side by side: the reference grey, the current one in colour."""
    most = max([*reference, *current, 1e-9])
    width = WIDTH / max(len(labels), 1)
    shapes = []
    for at, pair in enumerate(zip(reference, current, strict=True)):
        for side, (share, name) in enumerate(zip(pair, ("one", "two"), strict=True)):
            height = (HEIGHT - FOOT) * share / most
            left, top = width * (at + 0.1 + 0.4 * side), HEIGHT - FOOT - height
            shapes.append(
                f'<rect class="{name}" x="{left:.1f}" y="{top:.1f}" width="{width * 0.38:.1f}" height="{height:.1f}"/>'
            )
    told = "; ".join(
        f"{label}: {before:.1%} to {now:.1%}" for label, before, now in zip(labels, reference, current, strict=True)
    )
    return _figure(title, told, "".join(shapes) + _ends(labels), note)


def lines(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], x_labels: Sequence[str] = (), note: str = ""
) -> str:
    """Each series as a line through its (x, y) points; `x_labels` stand below the first and the last x."""
    points = [point for each in series.values() for point in each]
    if not points:
        return _figure(title, "no data", f'<text x="4" y="{HEIGHT / 2:g}">no data</text>', note)
    (left, right), (low, high) = (_range([point[axis] for point in points]) for axis in (0, 1))

    def place(x: float, y: float) -> str:
        across, up = (x - left) / (right - left), (y - low) / (high - low)
        return f"{4 + across * (WIDTH - 8):.1f},{4 + (1 - up) * (HEIGHT - FOOT - 8):.1f}"

    shapes = "".join(
        f'<polyline class="series{at % 4}" points="{" ".join(place(*point) for point in each)}"/>'
        for at, each in enumerate(series.values())
    )
    shapes += f'<text x="4" y="12">{high:.4g}</text><text x="4" y="{HEIGHT - FOOT - 4}">{low:.4g}</text>'
    told = "; ".join(
        f"{name}: {each[0][1]:.4g} to {each[-1][1]:.4g} in {len(each)} points" for name, each in series.items() if each
    )
    return _figure(title, told, shapes + _ends(x_labels), note)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ends(labels: Sequence[str]) -> str:
    if not labels:
        return ""
    last = f'<text x="{WIDTH - 2}" y="{HEIGHT - 5}" text-anchor="end">{escape(labels[-1])}</text>'
    return f'<text x="2" y="{HEIGHT - 5}">{escape(labels[0])}</text>' + (last if len(labels) > 1 else "")


def _figure(title: str, told: str, shapes: str, note: str) -> str:
    axis = f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT - FOOT}" y2="{HEIGHT - FOOT}"/>'
    caption = f"<figcaption>{escape(note)}</figcaption>\n" if note else ""
    return (
        f"<figure>\n<h3>{escape(title)}</h3>\n"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title}. {told}")}">'
        f"{axis}{shapes}</svg>\n{caption}</figure>"
    )
