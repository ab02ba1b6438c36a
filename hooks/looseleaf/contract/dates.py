"""Recognise how dates and timestamps are written."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from lifecycle.contract.readings import EARLIEST, LATEST, OFFSETS, Time
from looseleaf.contract.reading import Counts, Reading
from looseleaf.contract.texts import WORDS

ZONE = rf"Z|UTC|GMT|CET|EET|WET|MET|EST|CST|MST|PST|{'|'.join(OFFSETS)}|[+-][0-9]{{2}}(:?[0-9]{{2}})?"
CLOCK = rf"[T ][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]{{1,9}})?)?( ?({ZONE}))?"
ISO = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})({CLOCK})?")
MONTH = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
DATEISH = re.compile(
    rf"[0-9]{{1,4}}[./-][0-9]{{1,2}}[./-][0-9]{{1,4}}|^[0-9]{{4}}-[0-9]{{2}}$|[0-9]{{1,2}}[ -]?({MONTH})"
    rf"|({MONTH})[a-z]*[.]?[ -][0-9]{{1,4}}",
    re.I,
)
# Parsing is slow: so many distinct values select the pattern, with which the whole file is read.
MOST_TIMES = 5000
# Digits alone are dates if they have at least so many different values, all of them valid.
LEAST_DIGITS = 10
MOST_STRAYS = 5
MOST_FORMATS = 4
MOST_YEARS_AHEAD = 20


# How dates are read, or None, and the values that are not dates, with their number of rows.
Dates = tuple[Reading | None, Counts]


def read_digits(counts: Counts) -> Dates:
    """Return the reading of digits that are dates, such as 20230115."""
    valid = [value for value in counts if re.fullmatch("(19|20)[0-9]{6}", value) and _fits("%Y%m%d", value)]
    if len(valid) < LEAST_DIGITS or len(valid) < len(counts) - MOST_STRAYS:
        return None, {}
    strays = {value: count for value, count in counts.items() if value not in set(valid)}
    return Reading(Time(formats=("%Y%m%d",)), notes=("digits such as 20230115 are dates",)), strays


def read(counts: Counts) -> Dates:
    """Return how these distinct values are read as times."""
    some = dict(list(counts.items())[:MOST_TIMES])
    strays = {value: count for value, count in some.items() if not (ISO.fullmatch(value) and _iso(value))}
    if len(strays) < len(some) and len(strays) <= MOST_STRAYS:
        return Reading(Time()), strays
    first = list(some)[:50]
    if sum(DATEISH.search(value) is not None for value in first) < 0.9 * len(first) or not first:
        return None, {}
    formats: list[list[str]] = []
    left, strays = list(some), {}
    while left:
        fitting = [(sum(_fits(each, value) for value in left), each) for each in _formats(left[0])]
        most = max((count for count, _ in fitting), default=0)
        if not most:
            stray = left.pop(0)
            strays[stray] = some[stray]
        else:
            formats += [[each for count, each in fitting if count == most]]
            left = [value for value in left if not _fits(formats[-1][0], value)]
        if len(formats) > MOST_FORMATS or len(strays) > MOST_STRAYS:
            return None, {}
    if not formats:
        return None, {}
    # DuckDB reads two digits as a year of four, and not the other way round.
    chosen = tuple(sorted((each[0] for each in formats), key=lambda each: "%y" not in each))
    alternatives = [each for each in formats[0][1:] if _order(each) != _order(formats[0][0])]
    unsure = [f"the dates may be {alternatives[0]} as well as {formats[0][0]}"] if alternatives else []
    unsure += [f"the dates come in several orders: {', '.join(chosen)}, tried in this order"] if len(chosen) > 1 else []
    last_year = None
    if short := [each for each in chosen if "%y" in each]:
        newest = max(datetime.strptime(value, each).year for each in short for value in some if _fits(each, value))
        # Two-digit dates so far ahead are more likely of the previous century, for example dates of birth.
        last_year = this_year if newest > (this_year := datetime.now(UTC).year) + MOST_YEARS_AHEAD else None
        last = (last_year or 2068) % 100
        years = f"00 to {last} are read as 2000 to 20{last}, and {last + 1} to 99 as 19{last + 1} to 1999"
        unsure.append(f"years have two digits: {years} (last_year in src/model/data.py)")
    how, notes = Time(formats=chosen, last_year=last_year), (f"dates are written as {', '.join(chosen)}",)
    return Reading(how, notes=notes, unsure=tuple(unsure)), strays


def _formats(value: str) -> list[str]:
    return [day + clock for day in WORDS["days"] for clock in WORDS["clocks"] if _fits(day + clock, value)]


def _fits(pattern: str, value: str) -> bool:
    return _is_valid(value, lambda: datetime.strptime(value, pattern))


def _iso(value: str) -> bool:
    # Python reads no names of zones.
    return _is_valid(
        value, lambda: datetime.fromisoformat(re.sub(r" ?(?=[+-]\d\d(:?\d\d)?$)| ?[A-Z]{1,4}$", "", value))
    )


def _is_valid(value: str, parse: Callable[[], datetime]) -> bool:
    try:
        return EARLIEST <= f"{parse():%Y-%m-%d}" < LATEST and value.isascii()
    except ValueError:
        return False


def _order(pattern: str) -> str:
    return "".join(sign for sign in pattern if sign in "ymdYbB").casefold()
