"""Recognise how the values of a text column are written: as numbers, truth values, times, or categories.

The functions examine distinct values and their counts, and return a declaration that the repository's reader executes.
A few values that do not fit are declared as null and reported; with more of them, the column stays a text, and the
report names the first one.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from lifecycle.contract.readings import MISSING, Boolean, Number, Text
from looseleaf.contract import dates
from looseleaf.contract.reading import Counts
from looseleaf.contract.reading import Reading as Reading
from looseleaf.contract.texts import WORDS

MISSING_CATEGORY = frozenset(WORDS["missing"])
# A column is read in a way if all but this share of its rows are written so, and the rest are a few words.
STRAY_SHARE, STRAY_WORDS = 0.02, 5
# A text column with digits in so many rows is reported: it may be a number that is written in an unknown way.
DIGITS_SHARE = 0.9

TRUE, FALSE = frozenset(WORDS["true"]), frozenset(WORDS["false"])
BOOLEANS = TRUE | FALSE
PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
WHOLE = re.compile(r"[+-]?[0-9]+")
# So many digits fit a BIGINT.
DIGITS = 19
CODE = re.compile(r"0[0-9]+")
SYMBOLS = {"$": "$", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₩": "KRW", "₺": "TRY", "฿": "THB"}
CURRENCIES = SYMBOLS | {word: word for word in WORDS["currencies"]} | {"%": "percent"}
THOUSAND, MILLION, BILLION = ("k", "K"), ("M", "m", "Mio", "Mio."), ("B", "bn", "Mrd", "Mrd.")
FACTORS = dict.fromkeys(THOUSAND, 1e3) | dict.fromkeys(MILLION, 1e6) | dict.fromkeys(BILLION, 1e9)
SPACES = " \u00a0\u202f\u2009"
QUOTES = "'\u2019"
MINUS = "\u2212-"  # last in a class of signs
# A sign or parenthesis, a currency, the digits with their separators, and a unit.
SHAPE = re.compile(
    rf"(?P<open>\(?)(?P<sign>[+{MINUS}]?)[{SPACES}]*(?P<before>[^\d.,+({MINUS}]{{0,4}}?)[{SPACES}]*(?P<inner>[+{MINUS}]?)[{SPACES}]*"
    rf"(?P<number>[0-9.,][0-9.,{SPACES}{QUOTES}]*?(?:[eE][+-]?[0-9]+)?)[{SPACES}]*(?P<after>[^\d)+{MINUS}]\D{{0,14}}?)?(?P<close>[){MINUS}]?)"
)
AMERICAN = re.compile(r"([0-9]{1,3}(,[0-9]{2,3})*(,[0-9]{3})|[0-9]+)?(\.[0-9]*)?([eE][+-]?[0-9]+)?")
EUROPEAN = re.compile(r"([0-9]{1,3}(\.[0-9]{3})+|[0-9]+)?(,[0-9]*)?")
GROUPED = re.compile(rf"[0-9]{{1,3}}([{SPACES}{QUOTES}][0-9]{{3}})+([.,][0-9]+)?")
# Groups of exactly three digits after dots may be thousands. Rounded decimals would also end in fewer digits.
POINT, COMMA = (
    re.compile(r"[+-]?[0-9]+\.([0-9]{1,2}|[0-9]{4,})"),
    re.compile(r"[+-]?([0-9.]+,([0-9]{1,2}|[0-9]{4,})|0,[0-9]+)"),
)
DOTTED, MANY_DOTTED = re.compile(r"[1-9][0-9]{0,2}(\.[0-9]{3})+"), 30


def read(counts: Counts, is_european: bool = False) -> Reading:
    """Return how a column is read that has each value in so many rows.

    `is_european`: the file has decimal commas in other columns, or semicolons between columns.
    """
    given = {value: count for value, count in counts.items() if value.casefold() not in MISSING}
    blank = tuple(sorted(value for value in counts if value.casefold() in MISSING))
    found = _boolean(given) or read_digits(given) or _number(given, is_european) or _time(given, dates.read)
    if found is None:
        blank = tuple(sorted(value for value in counts if value.casefold() in MISSING_CATEGORY))
        found = Reading(Text(missing=blank), unsure=_reasons(given))
    if not blank:
        return found
    note = f"{', '.join(map(repr, blank[:6]))} {'is' if len(blank) == 1 else 'are'} read as null"
    # An error of a spreadsheet replaced a value.
    if any(word.startswith("#") and word.endswith(("!", "?")) for word in blank):
        return replace(found, blank=blank, unsure=(*found.unsure, note))
    return replace(found, blank=blank, notes=(*found.notes, note))


def read_digits(counts: Counts) -> Reading | None:
    """Return the reading of whole numbers that are dates, such as 20230115, or None."""
    return _time(counts, dates.read_digits)


def is_european(columns: Iterable[Counts], has_semicolons: bool) -> bool:
    """Return whether a file writes decimal commas: by its columns, or by its separator where they do not show it."""
    points = commas = False
    for counts in columns:
        points = points or any(POINT.fullmatch(value) for value in counts)
        commas = commas or any("," in value and COMMA.fullmatch(value) for value in counts)
    return commas if commas != points else has_semicolons


def without(found: Reading, strays: Counts) -> Reading:
    """Return the reading with these values declared as null and reported."""
    if not strays:
        return found
    words = tuple(sorted(strays))
    shown = f"{', '.join(map(repr, words))} ({sum(strays.values())} rows) is not {found.how.noun}: read as null"
    how = replace(found.how, missing=tuple(sorted({*found.how.missing, *words})))
    return replace(found, how=how, unsure=(*found.unsure, shown))


def few(strays: Counts, counts: Counts) -> bool:
    """Return whether values are so few that the rest decides how a column is read."""
    return len(strays) <= STRAY_WORDS and sum(strays.values()) <= max(1, STRAY_SHARE * sum(counts.values()))


def _reasons(given: Counts) -> tuple[str, ...]:
    """Return the note on a text column that contains digits almost everywhere, with the first value."""
    digits = [value for value in given if any(sign.isdecimal() for sign in value)]
    if not digits or sum(given[value] for value in digits) < DIGITS_SHARE * sum(given.values()):
        return ()
    odd = next((value for value in given if not SHAPE.fullmatch(value)), digits[0])
    return (f"its values contain digits and are read as text, because {odd!r} is not a number or a date",)


def _boolean(counts: Counts) -> Reading | None:
    strays = {value: count for value, count in counts.items() if value.casefold() not in BOOLEANS}
    words = {value.casefold() for value in counts if value not in strays}
    true, false = sorted(words & TRUE), sorted(words & FALSE)
    # A 2 together with 0 and 1 is a third number.
    if not (true and false and few(strays, counts)) or any(any(sign.isdigit() for sign in value) for value in strays):
        return None
    how = Boolean()
    if not (set(true) <= set(how.true) and set(false) <= set(how.false)):
        how = Boolean(true=tuple(true), false=tuple(false))
    note = f"{'/'.join(true)} and {'/'.join(false)} are read as true and false"
    return without(Reading(how, notes=(note,)), strays)


def _number(counts: Counts, is_european: bool) -> Reading | None:
    is_number = PLAIN.fullmatch if all(map(PLAIN.fullmatch, counts)) else SHAPE.fullmatch
    strays = {value: count for value, count in counts.items() if not is_number(value)}
    numbers = [value for value in counts if value not in strays]
    if not numbers or not few(strays, counts):
        return None
    found = _plain(numbers, is_european) or _formatted(numbers, is_european)
    return without(found, strays) if found else None


def _plain(numbers: list[str], is_european: bool) -> Reading | None:
    if not all(PLAIN.fullmatch(value) for value in numbers):
        return None
    dotted = [value.lstrip("+-") for value in numbers if "." in value]
    are_groups = bool(dotted) and all(DOTTED.fullmatch(value) for value in dotted)
    if are_groups and is_european:
        return None
    if all(WHOLE.fullmatch(value) for value in numbers):
        if any(CODE.fullmatch(value) for value in numbers):
            return Reading(Text(), notes=("digits with leading zeros are codes, not numbers",))
        if all(len(value) < DIGITS for value in numbers):
            return Reading(Number(whole=True))
    unsure = are_groups and len(dotted) >= MANY_DOTTED
    return Reading(Number(), unsure=("dots may separate thousands; they are read as decimal points",) * unsure)


def _formatted(numbers: list[str], is_european: bool) -> Reading | None:
    """Read currency, units, percent, thousands, decimal commas, and negative numbers of accounting."""
    parts = [match for value in numbers if (match := SHAPE.fullmatch(value))]
    affixes = {affix.strip(SPACES) for each in parts for affix in (each["before"], each["after"] or "")} - {""}
    # Alone, an m is more often a metre or a minute than a million.
    factors = {affix: FACTORS[affix] for affix in affixes if affix in FACTORS and (affix != "m" or len(affixes) > 1)}
    units = affixes - factors.keys()
    bare = sum(not (each["before"] or each["after"]) for each in parts)
    unsure = []
    if len(units) > 1 or any(each["before"] and each["before"].strip(SPACES) not in CURRENCIES for each in parts):
        return None
    if not units <= CURRENCIES.keys() and bare:
        return None
    if units == {"%"} and bare:
        factors, units = {**factors, "%": 0.01}, set()
        unsure.append("some values have a percent sign; these are divided by 100")
    digits = [each["number"].rstrip(SPACES) for each in parts]
    groups = {sign for each in digits if GROUPED.fullmatch(each) for sign in each if sign in SPACES + QUOTES}
    digits = [re.sub(f"[{SPACES}{QUOTES}]", "", each) if GROUPED.fullmatch(each) else each for each in digits]
    american = all(AMERICAN.fullmatch(each) and re.search("[0-9]", each) for each in digits)
    european = all(EUROPEAN.fullmatch(each) and re.search("[0-9]", each) for each in digits)
    if not (american or european):
        return None
    commas, dots = any("," in each for each in digits), any("." in each for each in digits)
    is_comma = european and (not american or (is_european and (commas or dots)))
    if american and european and (commas or dots):
        read_as = "decimal marks" if (commas and is_comma) or (dots and not is_comma) else "separators of thousands"
        unsure.append(f"{'commas' if commas else 'dots'} may be decimal marks or separate thousands: read as {read_as}")
    thousands = ("." * dots if is_comma else "," * commas) + "".join(sorted(groups))
    accounting = any(each["open"] or each["close"] or "\u2212" in each[0] for each in parts)
    unit = next((CURRENCIES.get(each, each) for each in units), "")
    decimal = "," if is_comma else "."
    how = Number(decimal=decimal, thousands=thousands, affixes=tuple(units), factors=factors, accounting=accounting)
    notes = [f"the unit is {unit}"] if unit else []
    notes += [f"{suffix!r} multiplies by {factor:g}" for suffix, factor in factors.items()]
    notes += ["the decimal mark is a comma"] if is_comma and commas else []
    notes += ["commas separate thousands"] if commas and not is_comma else []
    return Reading(how, unit, notes=tuple(notes), unsure=tuple(unsure))


def _time(counts: Counts, recognise: Callable[[Counts], dates.Dates]) -> Reading | None:
    found, strays = recognise(counts)
    return without(found, strays) if found and few(strays, counts) else None
