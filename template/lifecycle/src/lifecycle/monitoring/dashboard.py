"""The dashboard without Grafana: each panel's queries run against a Prometheus, drawn as one page of HTML."""

import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.reports import html_page

DASHBOARD = "lifecycle/deploy/dashboard.json"
POINTS = 240
PATIENCE = 30.0
# As many as `html_page.lines` draws differently.
STROKES = ("solid", "dashed", "dotted", "dash-dotted")
# PromQL without what can hold other names: texts, label matchers, ranges, and the labels of a grouping.
ASIDE = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)')
NAME = re.compile(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()")
WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}
# What Prometheus itself writes of each scrape.
OWN = {"up"}

Panel = dict[str, Any]
Points = list[tuple[float, float]]


class Prometheus:
    """What a Prometheus answers at its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def known(self) -> set[str]:
        """Every metric that a target tells of, whether or not it has a value yet."""
        return {*self._get("metadata", {}), *OWN}

    def now(self, query: str, at: float) -> list[dict[str, Any]]:
        """The value of each series at a moment."""
        found: list[dict[str, Any]] = self._get("query", {"query": query, "time": at})["result"]
        return found

    def over(self, query: str, start: float, end: float) -> list[dict[str, Any]]:
        """The values of each series over a range."""
        step = max(1.0, (end - start) / POINTS)
        asked = {"query": query, "start": start, "end": end, "step": step}
        found: list[dict[str, Any]] = self._get("query_range", asked)["result"]
        return found

    def _get(self, what: str, asked: Mapping[str, Any]) -> Any:
        address = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise LifecycleError(_reason(error), "The address is that of a Prometheus: URL=…") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"no Prometheus answers at {self.url} ({error})"
            hint = "`prometheus --config.file=lifecycle/deploy/prometheus.yml` starts one."
            raise LifecycleError(problem, hint) from error


def draw(root: Path, url: str, hours: float) -> Path:
    """Write build/dashboard.html for the last `hours`; raises LifecycleError naming each panel that has no answer."""
    panels = json.loads((root / DASHBOARD).read_bytes())["panels"]
    prometheus, end = Prometheus(url), time.time()
    known, faults, sections = prometheus.known(), [], []
    for title, inside in _rows(panels):
        parts = []
        for panel in inside:
            try:
                parts.append(_drawn(panel, prometheus, known, end - hours * 3600, end))
            except LifecycleError as error:
                faults.append(f"{panel['title']}: {error.problem}")
        sections.append(html_page.section(title, html_page.figures(parts)))
    if faults:
        raise LifecycleError("\n  ".join(faults), "The service and the dashboard are of two releases, or not scraped.")
    path = root / "build" / "dashboard.html"
    path.parent.mkdir(exist_ok=True)
    # What is built belongs into no commit, whatever the team's own .gitignore says.
    (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    lead = f"The last {hours:g} hours until {timestamps.format_utc(int(end))}, from {url}."
    path.write_text(html_page.page("Model: dashboard", "\n".join(sections), lead), encoding="utf-8")
    return path


def metrics_of(query: str) -> set[str]:
    """The metrics that a query reads, by the name of their family."""
    found = set(NAME.findall(ASIDE.sub(" ", query))) - WORDS
    return {re.sub("_(bucket|sum|count)$", "", name) for name in found}


def _rows(panels: Sequence[Panel]) -> Iterator[tuple[str, list[Panel]]]:
    starts = [at for at, panel in enumerate(panels) if panel["type"] == "row"]
    for start, end in zip(starts, [*starts[1:], len(panels)], strict=True):
        yield panels[start]["title"], [*panels[start + 1 : end]]


def _drawn(panel: Panel, prometheus: Prometheus, known: set[str], start: float, end: float) -> str:
    for target in panel["targets"]:
        if unknown := metrics_of(target["expr"]) - known:
            problem = f"no target tells of {', '.join(sorted(unknown))}"
            raise LifecycleError(problem, "Is the service of this repository scraped?")
    if panel["type"] == "table":
        return _table(panel, prometheus, end)
    series: dict[str, Points] = {}
    for target in panel["targets"]:
        for found in prometheus.over(target["expr"], start, end):
            series[_label(target, found["metric"], panel)] = _points(found["values"])
    filled = _by_last(series)
    shown = dict(filled[: len(STROKES)])
    last = zip(shown.items(), STROKES, strict=False)
    told = [f"{name} {_number(points[-1][1])} ({stroke})" for (name, points), stroke in last]
    more = f" and {len(filled) - len(shown)} more" if len(filled) > len(shown) else ""
    moved = [at for points in shown.values() for at, _ in points]
    ends = (
        [timestamps.format_utc(int(each))[5:16].replace("T", " ") for each in (min(moved), max(moved))] if moved else ()
    )
    return html_page.lines(panel["title"], shown, ends, f"{panel['description']} {', '.join(told)}{more}".strip())


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _table(panel: Panel, prometheus: Prometheus, at: float) -> str:
    rows = []
    for target in panel["targets"]:
        for found in prometheus.now(target["expr"], at):
            named = {
                name: text for name, text in found["metric"].items() if name not in ("__name__", "job", "instance")
            }
            rows.append((", ".join(f"{name}: {text}" for name, text in named.items()) or "all", found["value"][1]))
    return html_page.table(("what", "value"), rows or [("nothing yet", "")], panel["title"])


def _by_last(series: Mapping[str, Points]) -> list[tuple[str, Points]]:
    filled = [(name, points) for name, points in series.items() if points]
    return sorted(filled, key=lambda each: -each[1][-1][1])


def _label(target: Panel, metric: Mapping[str, str], panel: Panel) -> str:
    if target["legendFormat"] != "__auto":
        return str(target["legendFormat"])
    return ", ".join(text for name, text in metric.items() if name != "__name__") or str(panel["title"])


def _points(values: Sequence[Sequence[Any]]) -> Points:
    numbers = ((float(at), float(value)) for at, value in values)
    found = [(at, value) for at, value in numbers if math.isfinite(value)]
    # A line needs two points to be seen.
    return found if len(found) != 1 else [(found[0][0] - 1, found[0][1]), found[0]]


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return f"Prometheus refuses: {json.load(error)['error']}"
    except (ValueError, KeyError, TypeError):
        return f"{error.url.split('?')[0]} answers {error.code}"
