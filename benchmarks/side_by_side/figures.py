"""Medians and ratios over the rounds of a benchmark."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Figures = dict[str, float]
Round = Mapping[str, Mapping[str, float]]
OURS, LOOK_UP, FALLBACK = "looseleaf", "looseleaf_look_up", "looseleaf_fallback"


def medians(rounds: Sequence[Round]) -> dict[str, Figures]:
    """Return the median over the rounds for each server and figure."""
    servers = dict.fromkeys(server for each in rounds for server in each)
    return {server: _median([each[server] for each in rounds if server in each]) for server in servers}


def _median(measured: Sequence[Mapping[str, float]]) -> Figures:
    names = dict.fromkeys(name for each in measured for name in each)
    return {name: round(median(each[name] for each in measured if name in each), 4) for name in names}


def ratios(rounds: Sequence[Round], peers: Sequence[str]) -> dict[str, Any]:
    """Return how many times better ours is than each peer: the median of the rounds' own ratios.

    A ratio compares measurements of one round, because a busy machine slows both. Rates: ours divided by the peer's;
    memory and times: the peer's divided by ours.
    """
    found: dict[str, Any] = {
        name: {peer: _ratio(rounds, (OURS, figure), (peer, figure)) for peer in peers}
        for name, figure in (("one_connection", "rate_1"), ("connections_32", "rate_32"))
    }
    found |= {
        name: {peer: _ratio(rounds, (peer, figure), (OURS, figure)) for peer in peers}
        for name, figure in (
            ("memory", "megabytes"),
            ("cold_start", "cold_start_seconds"),
            ("p99_one_connection", "p99_1"),
        )
    }
    found["fallback_64"] = {peer: _ratio(rounds, (FALLBACK, "rate_64"), (peer, "rate_64")) for peer in peers}
    found["look_up"] = {
        "one_connection": _ratio(rounds, (LOOK_UP, "rate_1"), (OURS, "rate_1")),
        "connections_32": _ratio(rounds, (LOOK_UP, "rate_32"), (OURS, "rate_32")),
    }
    found["p99_by_p50_at_half_load"] = {
        server: _ratio(rounds, (server, "p99_half"), (server, "p50_half")) for server in (OURS, LOOK_UP)
    }
    return _without_none(found)


def _ratio(rounds: Sequence[Round], above: tuple[str, str], below: tuple[str, str]) -> float | None:
    values = [
        each[above[0]][above[1]] / each[below[0]][below[1]]
        for each in rounds
        if above[1] in each.get(above[0], {}) and each.get(below[0], {}).get(below[1])
    ]
    return round(median(values), 4) if values else None


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    kept = {name: _without_none(each) if isinstance(each, dict) else each for name, each in tree.items()}
    return {name: each for name, each in kept.items() if each not in (None, {})}


COLUMNS = {
    "rate_1": ("1 conn., req/s", ",.0f"),
    "p50_1": ("p50 ms", ".3f"),
    "p99_1": ("p99 ms", ".3f"),
    "rate_32": ("32 conn., req/s", ",.0f"),
    "p50_32": ("p50 ms", ".2f"),
    "p99_32": ("p99 ms", ".2f"),
    "rate_64": ("64 conn., req/s", ",.0f"),
    "p50_half": ("half load, p50 ms", ".3f"),
    "p99_half": ("p99 ms", ".3f"),
    "megabytes": ("MB", ".0f"),
    "cold_start_seconds": ("cold start s", ".1f"),
    "cold_start_cpu": ("CPU s", ".1f"),
}


def table(figures: Mapping[str, Figures]) -> str:
    """Return a Markdown table with one line for each server."""
    lines = ["| server | " + " | ".join(title for title, _ in COLUMNS.values()) + " |"]
    lines.append("|---|" + "--:|" * len(COLUMNS))
    for server, measured in figures.items():
        cells = [format(measured[name], form) if name in measured else "" for name, (_, form) in COLUMNS.items()]
        lines.append(f"| {server} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratio_lines(ratios: Mapping[str, Any]) -> str:
    """Return a line for each kind of ratio."""
    return "\n".join(
        f"{name}: " + ", ".join(f"{peer} {value:,.2f}" for peer, value in each.items()) for name, each in ratios.items()
    )
