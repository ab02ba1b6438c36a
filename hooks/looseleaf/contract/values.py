"""Recognise the content of a text column: formatted numbers, booleans, times, or categories.

The functions examine distinct values and their counts, and return SQL over one placeholder, `{x}`: the stripped text,
null if empty. A value that the SQL cannot convert is an error when rows are read, so that nothing is lost silently.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from lifecycle.contract.tables import text

Kind = Literal["number", "integer", "boolean", "category", "time"]
Counts = Mapping[str, int]

# Words for a missing value among numbers and times, and those that mean it even among categories.
MISSING = frozenset(
    ("?", "-", "--", "—", ".", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing", "unknown", "inf", "-inf")
)
MISSING_CATEGORY = frozenset(("?", "n/a", "#n/a", "nan", "null", "\\n"))
# A column is numeric if all but this share of its rows are numbers and the rest are a few words.
STRAY_SHARE, STRAY_WORDS = 0.02, 5

PAIRS = (("yes", "no"), ("y", "n"), ("true", "false"), ("t", "f"), ("1", "0"))
PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
WHOLE = re.compile(r"[+-]?[0-9]+")
# So many digits fit a BIGINT.
DIGITS = 19
CODE = re.compile(r"0[0-9]+")
SYMBOLS = {"$": "$", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₩": "KRW", "₺": "TRY", "฿": "THB"}
WORDS = ("USD", "EUR", "GBP", "JPY", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "INR", "AUD", "CAD", "CNY", "kr", "zł")
SPACES = " \u00a0\u202f\u2009"
QUOTES = "'\u2019"
AMERICAN = re.compile(r"[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)(\.[0-9]*)?")
EUROPEAN = re.compile(r"[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]+)(,[0-9]+)?")
GROUPED = re.compile(rf"[+-]?[0-9]{{1,3}}([{SPACES}{QUOTES}][0-9]{{3}})+([.,][0-9]+)?")

CLOCK = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?( ?(Z|[+-][0-9]{2}(:?[0-9]{2})?))?"
ISO = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}({CLOCK})?")
MONTH = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
DATEISH = re.compile(
    rf"[0-9]{{1,4}}[./-][0-9]{{1,2}}[./-][0-9]{{1,4}}|^[0-9]{{4}}-[0-9]{{2}}$|[0-9]{{1,2}}[ -]({MONTH})"
    rf"|({MONTH})[a-z]*[.]?[ -][0-9]{{1,4}}",
    re.I,
)
DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y"),
    *("%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y"),
    *("%Y-%m", "%b-%Y", "%b %Y", "%B %Y", "%b-%y"),
)
# Parsing is slow: so many distinct values select the pattern, with which the whole file is read.
MOST_TIMES = 5000
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")


@dataclass(frozen=True)
class Reading:
    """How a column is read: its kind, the SQL over `{x}`, and notes for the report."""

    kind: Kind
    sql: str = "{x}"
    unit: str = ""
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()


def read(counts: Counts, semicolons: bool = False) -> Reading:
    """Return how a column with these values is read.

    Args:
        counts: number of rows of each distinct value.
        semicolons: whether the file is separated by semicolons, so that commas are decimal marks.
    """
    given = {value: count for value, count in counts.items() if value.casefold() not in MISSING}
    blank = tuple(sorted(value for value in counts if value.casefold() in MISSING))
    found = _boolean(given) or _number(given, semicolons) or _time(given)
    if found is None:
        blank = tuple(sorted(value for value in counts if value.casefold() in MISSING_CATEGORY))
        found = Reading("category")
    return without(found, (*found.missing, *blank))


def without(found: Reading, missing: tuple[str, ...]) -> Reading:
    """Return the reading with these words read as null."""
    if not missing:
        return found
    words = ", ".join(text(word) for word in missing)
    known = f"CASE WHEN {{x}} NOT IN ({words}) THEN {{x}} END"
    note = f"{', '.join(repr(word) for word in missing[:6])} {'is' if len(missing) == 1 else 'are'} read as null"
    return Reading(found.kind, found.sql.replace("{x}", known), found.unit, missing, (*found.notes, note), found.unsure)


def _boolean(counts: Counts) -> Reading | None:
    words = {value.casefold() for value in counts}
    for pair in PAIRS:
        if words == set(pair):
            return Reading("boolean", "CAST({x} AS BOOLEAN)", notes=(f"{pair[0]}/{pair[1]} is read as true/false",))
    return None


def _number(counts: Counts, semicolons: bool) -> Reading | None:
    if not counts:
        return None
    strays = tuple(sorted(value for value in counts if not any(sign.isdecimal() for sign in value)))
    lost = sum(counts[value] for value in strays)
    if len(strays) > STRAY_WORDS or lost > STRAY_SHARE * sum(counts.values()):
        return None
    numbers = [value for value in counts if value not in strays]
    if not numbers:
        return None
    found = _plain(numbers) or _formatted(numbers, semicolons)
    if found is None or not strays:
        return found
    word = f"{', '.join(repr(each) for each in strays)} in {lost} rows is not a number and is read as null"
    return Reading(found.kind, found.sql, found.unit, strays, found.notes, (*found.unsure, word))


def _plain(numbers: list[str]) -> Reading | None:
    if not all(PLAIN.fullmatch(value) for value in numbers):
        return None
    if all(WHOLE.fullmatch(value) for value in numbers):
        if any(CODE.fullmatch(value) for value in numbers):
            return Reading("category", notes=("digits with leading zeros are codes, not numbers",))
        if all(len(value) < DIGITS for value in numbers):
            # Read as a double, so that the contract rejects a fraction in a later row: a cast to BIGINT rounds.
            return Reading("integer", "CAST({x} AS DOUBLE)")
    return Reading("number", "CAST({x} AS DOUBLE)")


def _formatted(numbers: list[str], semicolons: bool) -> Reading | None:
    """Read currency, percent, thousands, decimal commas and negative numbers in parentheses."""
    bare, units, dropped = [], set(), set()
    for value in numbers:
        left, unit, drop = _bare(value)
        if left is None:
            return None
        bare.append(left)
        units.add(unit)
        dropped |= drop
    if len(units - {""}) > 1:
        return None
    american = all(AMERICAN.fullmatch(value) for value in bare)
    european = all(EUROPEAN.fullmatch(value) for value in bare)
    if not (american or european):
        return None
    commas = any("," in value for value in bare)
    comma_is_decimal = european and (not american or (semicolons and commas))
    unit = max(units)
    word = next((each for each in WORDS if each in dropped), "")
    signs = "".join(sorted(dropped - {word, "(", ")"}))
    parentheses = "(" if "(" in dropped else ""
    if comma_is_decimal:
        sql = f"translate({{x}}, {text(',' + parentheses + signs + ')' * bool(parentheses) + '.')}"
        sql += f", {text('.' + '-' * bool(parentheses))})"
    else:
        gone = parentheses + signs + ")" * bool(parentheses) + "," * commas
        sql = f"translate({{x}}, {text(gone)}, {text('-' * bool(parentheses))})" if gone else "{x}"
    if word:
        sql = sql.replace("{x}", f"replace({{x}}, {text(word)}, '')")
    notes = [f"the unit is {unit}"] if unit else []
    notes += ["the decimal mark is a comma"] if comma_is_decimal and commas else []
    notes += ["commas separate thousands"] if commas and not comma_is_decimal else []
    unsure = ("commas may be decimal marks or separate thousands",) if american and european and commas else ()
    return Reading("number", f"CAST({sql} AS DOUBLE)", unit, (), tuple(notes), unsure)


def _bare(value: str) -> tuple[str | None, str, set[str]]:
    """Return a number without decoration (None if it is not one), its unit, and the removed signs and words."""
    dropped: set[str] = set()
    unit = ""
    if value.startswith("(") and value.endswith(")"):
        value, dropped = "-" + value[1:-1], {"(", ")"}
    for word in WORDS:
        if value.startswith(word) or value.endswith(word):
            value, unit = value.removeprefix(word).removesuffix(word), word.upper() if len(word) == 3 else word
            dropped.add(word)
            break
    for sign in {*value} & {*SYMBOLS, "%"}:
        if value.count(sign) > 1 or unit or not re.fullmatch(rf"[+-]?{re.escape(sign)}.*|.*{re.escape(sign)}", value):
            return None, "", set()
        value, unit = value.replace(sign, ""), SYMBOLS.get(sign, "percent")
        dropped.add(sign)
    stripped = value.strip(SPACES)
    dropped |= {*value} & {*SPACES} if stripped != value else set()
    if GROUPED.fullmatch(stripped):
        dropped |= {*stripped} & {*SPACES, *QUOTES}
        stripped = re.sub(f"[{SPACES}{QUOTES}]", "", stripped)
    stripped = re.sub(rf"^([+-])[{SPACES}]+", r"\1", stripped)
    return (stripped, unit, dropped) if any(sign.isdigit() for sign in stripped) else (None, "", set())


def _time(counts: Counts) -> Reading | None:
    values = list(counts)[:MOST_TIMES]
    if not values:
        return None
    if all(ISO.fullmatch(value) for value in values) and all(_iso(value) for value in values):
        return Reading("time", "epoch(CAST({x} AS TIMESTAMPTZ))")
    if sum(DATEISH.search(value) is not None for value in values[:50]) < len(values[:50]):
        return None
    formats: list[list[str]] = []
    left = values
    while left:
        fitting = [(sum(_fits(each, value) for value in left), each) for each in _formats(left[0])]
        most = max((count for count, _ in fitting), default=0)
        if not most or len(formats) == 4:
            return None
        formats += [[each for count, each in fitting if count == most]]
        left = [value for value in left if not _fits(formats[-1][0], value)]
    chosen = [each[0] for each in formats]
    alternatives = [each for each in formats[0][1:] if _order(each) != _order(chosen[0])]
    unsure = [f"the dates may be {alternatives[0]} as well as {chosen[0]}"] if alternatives else []
    unsure += [f"the dates come in several orders: {', '.join(chosen)}, tried in this order"] if len(chosen) > 1 else []
    listed = ", ".join(text(each) for each in chosen)
    sql = f"epoch(strptime({{x}}, {listed if len(chosen) == 1 else f'[{listed}]'}))"
    return Reading("time", sql, notes=(f"dates are written as {', '.join(chosen)}",), unsure=tuple(unsure))


def _formats(value: str) -> list[str]:
    return [day + clock for day in DAYS for clock in CLOCKS if _fits(day + clock, value)]


def _fits(pattern: str, value: str) -> bool:
    return _parsed(value, lambda: datetime.strptime(value, pattern))


def _iso(value: str) -> bool:
    return _parsed(value, lambda: datetime.fromisoformat(re.sub(r" (?=[Z+-])", "", value)))


def _parsed(value: str, parse: Callable[[], datetime]) -> bool:
    try:
        return parse().year >= 1000 and value.isascii()
    except ValueError:
        return False


def _order(pattern: str) -> str:
    return "".join(sign for sign in pattern if sign in "ymdYbB").casefold()
