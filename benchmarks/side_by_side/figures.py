"""From the rounds of a side-by-side run to its medians and ratios."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Figures = dict[str, float]
Round = Mapping[str, Mapping[str, float]]
OURS, LOOK_UP, FALLBACK = "looseleaf", "looseleaf_look_up", "looseleaf_fallback"


def medians(rounds: Sequence[Round]) -> dict[str, Figures]:
    """The median over the rounds, for each server and figure."""
    servers = dict.fromkeys(server for each in rounds for server in each)
    return {server: _median([each[server] for each in rounds if server in each]) for server in servers}


def _median(measured: Sequence[Mapping[str, float]]) -> Figures:
    names = dict.fromkeys(name for each in measured for name in each)
    return {name: round(median(each[name] for each in measured if name in each), 4) for name in names}


def ratios(rounds: Sequence[Round], peers: Sequence[str]) -> dict[str, Any]:
    """How many times better ours is than each peer: the median of the rounds' own ratios.

    A ratio compares what was measured in the same round, minutes apart: a machine that others slow down for a while
    slows both. Rates: ours by the peer's; memory, times: the peer's by ours.
    """
    told: dict[str, Any] = {
        name: {peer: _ratio(rounds, (OURS, figure), (peer, figure)) for peer in peers}
        for name, figure in (("one_connection", "rate_1"), ("connections_32", "rate_32"))
    }
    told |= {
        name: {peer: _ratio(rounds, (peer, figure), (OURS, figure)) for peer in peers}
        for name, figure in (
            ("memory", "megabytes"),
            ("cold_start", "cold_start_seconds"),
            ("p99_one_connection", "p99_1"),
        )
    }
    told["fallback_64"] = {peer: _ratio(rounds, (FALLBACK, "rate_64"), (peer, "rate_64")) for peer in peers}
    told["look_up"] = {
        "one_connection": _ratio(rounds, (LOOK_UP, "rate_1"), (OURS, "rate_1")),
        "connections_32": _ratio(rounds, (LOOK_UP, "rate_32"), (OURS, "rate_32")),
    }
    told["p99_by_p50_at_half_load"] = {
        server: _ratio(rounds, (server, "p99_half"), (server, "p50_half")) for server in (OURS, LOOK_UP)
    }
    return _without_none(told)


def _ratio(rounds: Sequence[Round], above: tuple[str, str], below: tuple[str, str]) -> float | None:
    found = [
        each[above[0]][above[1]] / each[below[0]][below[1]]
        for each in rounds
        if above[1] in each.get(above[0], {}) and each.get(below[0], {}).get(below[1])
    ]
    return round(median(found), 4) if found else None


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
    """A Markdown table: one line a server."""
    lines = ["| server | " + " | ".join(title for title, _ in COLUMNS.values()) + " |"]
    lines.append("|---|" + "--:|" * len(COLUMNS))
    for server, measured in figures.items():
        cells = [format(measured[name], form) if name in measured else "" for name, (_, form) in COLUMNS.items()]
        lines.append(f"| {server} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def told(ratios: Mapping[str, Any]) -> str:
    """A line for each kind of ratio."""
    return "\n".join(
        f"{name}: " + ", ".join(f"{peer} {value:,.2f}" for peer, value in each.items()) for name, each in ratios.items()
    )
