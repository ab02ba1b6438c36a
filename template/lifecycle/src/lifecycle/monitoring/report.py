"""The monitoring report as a page for people."""

from collections.abc import Iterator
from typing import Any

from lifecycle import timestamps
from lifecycle.monitoring.drift import Found
from lifecycle.monitoring.judge import Findings, Window
from lifecycle.monitoring.quality import Quality
from lifecycle.reports import html_page

MEANS = {
    "ok": "Nothing is asked of anybody.",
    "watch": "Nothing is broken; look at what is below.",
    "retrain": "A retrain is asked for; the gate decides whether its model answers.",
    "incident": "The data are broken: hint them first. Nothing is trained on them.",
}
MOST_BINS = 12


def page_of(document: dict[str, Any], found: Findings) -> str:
    """The report: what was decided, why, and every figure that it was decided by."""
    verdict, last = str(document["verdict"]), found.windows[-1]
    body = [
        html_page.verdict(verdict, MEANS[verdict]),
        html_page.listing(f"{each['verdict']}: {each['text']}" for each in document["reasons"]),
    ]
    if last.columns:
        body.append(html_page.section("Inputs and answers", *_inputs(last)))
    body.append(html_page.section("Windows", _windows(found.windows)))
    if found.quality is not None:
        body.append(html_page.section("Quality", *_quality(found.quality)))
    body.append(html_page.section("Features computed again", _skew(found)))
    lead = f"{document['version']} in {document['environment']}, looked at as of {document['moment']}"
    return html_page.page(f"Monitoring of {document['environment']}", "\n".join(body), lead)


def _inputs(last: Window) -> Iterator[str]:
    """Small multiples, the strangest first: training grey, the last window in colour."""
    told = f"{last.rows} rows from {_day(last.first)} to {_day(last.last)} in colour; grey: the training rows."
    yield html_page.paragraph(told)
    strangest = sorted(last.columns.items(), key=lambda each: (each[1].broken is None, -each[1].psi))
    yield html_page.figures(
        html_page.bars(name, *_most(column), note=_note(column)) for name, column in strangest if column.bins
    )
    rows = (
        (
            name,
            f"{column.psi:.3f}",
            f"{column.limit:.3f}",
            f"{column.nulls:.1%}",
            f"{column.unseen:.1%}",
            f"{column.outside:.1%}",
            column.broken or ("drifted" if column.drifted else "as in training"),
        )
        for name, column in strangest
    )
    headers = ("column", "PSI", "limit", "null", "unseen", "outside expected", "found")
    yield html_page.table(headers, rows, "Every column of the last window")


def _most(column: Found) -> tuple[list[str], list[float], list[float]]:
    """The bins that are drawn: of many levels, those with the largest shares."""
    order = range(len(column.bins))
    kept = sorted(sorted(order, key=lambda at: -max(column.reference[at], column.current[at]))[:MOST_BINS])
    return [column.bins[at] for at in kept], [column.reference[at] for at in kept], [column.current[at] for at in kept]


def _note(column: Found) -> str:
    word = "broken" if column.broken else "drifted" if column.drifted else "as in training"
    return f"{word}: PSI {column.psi:.3f}, limit {column.limit:.3f}"


def _windows(windows: list[Window]) -> str:
    rows = (
        (
            f"{_day(window.first)} to {_day(window.last)}",
            window.rows,
            ", ".join(window.drifted()) or "nothing",
            ", ".join(name for name, column in window.columns.items() if column.broken) or "nothing",
        )
        for window in windows
    )
    return html_page.table(("window", "rows", "drifted", "broken"), rows, "Oldest first")


def _quality(found: Quality) -> Iterator[str]:
    yield html_page.paragraph(
        f"{found.predictions} answers, {found.mature} of them old enough for a label, {found.labelled} labelled."
    )
    if found.whole is not None:
        each = [("all", found.whole), *found.slices.items()]
        rows = ((name, m.rows, f"{m.value:.3f}", f"{m.lower:.3f} to {m.upper:.3f}") for name, m in each)
        yield html_page.table(("rows of", "labelled", found.metric, "interval"), rows, "By the labels that came later")
    if found.expected is not None and found.bound is not None:
        yield html_page.paragraph(
            f"The holdout promised a {found.metric} of {found.expected:.3f}; below {found.bound:.3f}, "
            "a retrain is asked for."
        )
    if found.estimate is not None:
        told = f"Without labels, the probabilities themselves promise an accuracy of {found.estimate:.3f}."
        yield html_page.paragraph(told + " They cannot see that the truth has changed, so nothing is decided by this.")


def _skew(found: Findings) -> str:
    if found.skew_fault:
        return html_page.paragraph(found.skew_fault)
    if found.skew is None:
        return html_page.paragraph("There was nothing to compute again.")
    told = f"{found.skew.different} of {found.skew.rows} logged rows are computed otherwise now."
    return html_page.paragraph(told + "".join(f" {name}: {count}." for name, count in found.skew.columns.items()))


def _day(moment: int) -> str:
    return str(timestamps.date_of(moment))
