"""How the columns of a file are written: `src/model/data.py` declares it, and `make contract` proposes the declaration.

A value that is written otherwise is an error, which names it; only empty values and the words of `missing` are null.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from lifecycle.contract.schema import Kind
from lifecycle.contract.tables import NUMBERS, UNREADABLE, text

# Words for a missing number, truth value or time in any spelling; in a text they may be a level.
MISSING = (
    *("?", "-", "--", "—", ".", "na", "n/a", "#n/a", "#ref!", "#div/0!", "#value!", "#name?", "#null!", "#num!", "\\n"),
    *("nan", "nat", "null", "none", "nil", "missing", "unknown", "inf", "-inf", "infinity", "-infinity"),
)
BLANKS = " \t\u00a0"
# Abbreviations of time zones that DuckDB does not know.
OFFSETS = {"CEST": "+02", "EEST": "+03", "BST": "+01", "EDT": "-04", "CDT": "-05", "MDT": "-06", "PDT": "-07"}
# pandas holds no other times, and files use such dates for "no end" and "unknown".
EARLIEST, LATEST = "1678-01-01", "2262-01-01"


@dataclass(frozen=True, kw_only=True)
class Text:
    """A column of text, without the blanks around it unless `strip` is false.

    `header` is its name in the file if it is another, values in `missing` are null, and `same` maps spellings.
    """

    header: str = ""
    strip: bool = True
    missing: tuple[str, ...] = ()
    same: Mapping[str, str] = field(default_factory=dict)
    kind: ClassVar[Kind] = "category"
    null_words: ClassVar[tuple[str, ...]] = ()
    noun: ClassVar[str] = "text"

    def value(self, raw: str, sql_type: str, where: str = "") -> str:
        """Return SQL of the typed value of a column, of its SQL `raw` and its type in DuckDB.

        `where` names the column in the error that an invalid value raises; without it, an invalid value gives null.
        """
        plain = stripped(raw) if self.strip else raw
        parsed = self._parsed(plain) if sql_type == "VARCHAR" else self._converted(raw, sql_type)
        if self.missing:
            is_missing = is_one_of(stripped(f"CAST({raw} AS VARCHAR)"), self.missing)
            parsed = f"CASE WHEN {is_missing} THEN NULL ELSE {parsed} END"
        if not where or type(self) is Text:
            return parsed
        shown = f"concat({text(f'{UNREADABLE}{where} is not {self.noun}: ')}, CAST({raw} AS VARCHAR))"
        # DuckDB evaluates the second part only for the rows in which the first one is null.
        return f"coalesce({parsed}, CASE WHEN NOT {self.is_given(raw)} THEN NULL ELSE error({shown}) END)"

    def is_given(self, raw: str) -> str:
        """Return SQL that says whether a column has a value that is neither empty nor a word for null."""
        word = stripped(f"CAST({raw} AS VARCHAR)")
        words = [is_one_of(f"lower({word})", self.null_words), is_one_of(word, self.missing)]
        return f"NOT coalesce({' OR '.join(words)} OR {word} IS NULL, TRUE)"

    def _parsed(self, plain: str) -> str:
        cases = " ".join(f"WHEN {text(word)} THEN {text(usual)}" for word, usual in self.same.items())
        return f"CASE {plain} {cases} ELSE {plain} END" if cases else plain

    def _converted(self, raw: str, sql_type: str) -> str:
        return f"CAST({raw} AS VARCHAR)"


@dataclass(frozen=True, kw_only=True)
class Number(Text):
    """A column of numbers.

    `thousands` holds the signs that may separate groups of digits. `affixes` may precede or follow a number and are
    removed, and `factors` are suffixes that multiply it (`{"k": 1000}`). With `accounting`, `(5)` and `5-` are
    negative. With any option but `whole`, the minus sign may be U+2212. A fraction is invalid among `whole` numbers.
    """

    decimal: str = "."
    thousands: str = ""
    affixes: tuple[str, ...] = ()
    factors: Mapping[str, float] = field(default_factory=dict)
    accounting: bool = False
    whole: bool = False
    null_words: ClassVar[tuple[str, ...]] = MISSING

    kind = property(lambda self: "integer" if self.whole else "number")
    noun = property(lambda self: "a whole number" if self.whole else "a number")

    def _parsed(self, plain: str) -> str:
        if (self.decimal, self.thousands, self.affixes, len(self.factors), self.accounting) == (".", "", (), 0, False):
            return self._converted(plain, "VARCHAR")
        found = f"regexp_extract({plain}, {text(self._pattern)}, ['open', 'sign', 'number', 'suffix', 'close'])"
        number = self._converted(f"translate({found}.number, {text(self.decimal + self.thousands)}, '.')", "VARCHAR")
        cases = " ".join(f"WHEN {text(suffix)} THEN {factor!r}" for suffix, factor in self.factors.items())
        number = f"{number} * CASE {found}.suffix {cases} ELSE 1 END" if cases else number
        is_negative = f"{found}.sign IN ('-', '\u2212') OR {found}.open <> '' AND {found}.close = ')' OR "
        is_negative += f"{found}.open = '' AND {found}.close = '-'"
        # One parenthesis without the other is not a number.
        is_odd = f"({found}.open = '') <> ({found}.close <> ')')"
        return f"CASE WHEN {is_odd} THEN NULL WHEN {is_negative} THEN -1 ELSE 1 END * {number}"

    @property
    def _pattern(self) -> str:
        affix = "|".join(map(re.escape, self.affixes)) or "\\b\\B"
        suffix = "|".join(map(re.escape, (*self.factors, *self.affixes))) or "\\b\\B"
        group = f"[{re.escape(self.thousands)}]" if self.thousands else "\\b\\B"
        # The last group has three digits, the others two or three: Indian numbers have groups of two.
        number = f"(?:[0-9]{{1,3}}(?:{group}[0-9]{{2,3}})*{group}[0-9][0-9][0-9]|[0-9]+|)"
        number += f"(?:{re.escape(self.decimal)}[0-9]*)?(?:[eE][+-]?[0-9]+)?"
        blank = "[ \u00a0\u202f\u2009]*"
        first, last = ("(\\(?)", "([)-]?)") if self.accounting else ("()", "()")
        sign = "([+\u2212-]?)"
        return f"^{first}{blank}(?:{affix})?{blank}{sign}{blank}(?:{affix})?{blank}({number}){blank}({suffix}|){last}$"

    def _converted(self, raw: str, sql_type: str) -> str:
        if self.whole:
            # Through a decimal: `3.0` is a whole number, and an id of 18 digits keeps all of them.
            exact = f"TRY_CAST({raw} AS DECIMAL(38, 9))"
            return f"CASE WHEN {exact} = trunc({exact}) THEN TRY_CAST({exact} AS BIGINT) END"
        number = f"TRY_CAST({raw} AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN {number} END"


@dataclass(frozen=True, kw_only=True)
class Boolean(Text):
    """A column of truth values; the words of `true` and `false` may be in upper or lower case."""

    true: tuple[str, ...] = ("true", "t", "1", "yes", "y")
    false: tuple[str, ...] = ("false", "f", "0", "no", "n")
    kind: ClassVar[Kind] = "boolean"
    null_words: ClassVar[tuple[str, ...]] = MISSING
    noun: ClassVar[str] = "true or false"

    def _parsed(self, plain: str) -> str:
        sides = ((self.true, "TRUE"), (self.false, "FALSE"))
        cases = " ".join(f"WHEN {is_one_of(f'lower({plain})', words)} THEN {value}" for words, value in sides)
        return f"CASE {cases} END"

    def _converted(self, raw: str, sql_type: str) -> str:
        if sql_type.startswith(NUMBERS):
            raw = f"CASE WHEN {raw} = trunc({raw}) THEN TRY_CAST({raw} AS BIGINT) END"
        return raw if sql_type == "BOOLEAN" else self._parsed(f"CAST({raw} AS VARCHAR)")


@dataclass(frozen=True, kw_only=True)
class Time(Text):
    """A column of dates or timestamps, read as timestamps in UTC.

    `formats` are tried in their order, in the notation of `strptime`; without one, ISO 8601. `unit` is that of numbers
    since 1970: s, ms, us or ns. `last_year` is the latest year of two digits, at most and by default 2068 (69 is 1969).
    """

    formats: tuple[str, ...] = ()
    unit: str = ""
    last_year: int | None = None
    kind: ClassVar[Kind] = "time"
    null_words: ClassVar[tuple[str, ...]] = MISSING
    noun: ClassVar[str] = "a date or time as declared"

    def _parsed(self, plain: str) -> str:
        if self.unit:
            return self._converted(f"TRY_CAST({plain} AS DOUBLE)", "DOUBLE")
        if self.formats:
            if self.last_year is None:
                return _valid_time(f"try_strptime({plain}, [{', '.join(map(text, self.formats))}])")
            return _valid_time(f"coalesce({', '.join(self._in_century(plain, each) for each in self.formats)})")
        for zone, offset in OFFSETS.items():
            plain = f"replace({plain}, ' {zone}', '{offset}')"
        return _valid_time(f"TRY_CAST({plain} AS TIMESTAMPTZ)")

    def _in_century(self, plain: str, pattern: str) -> str:
        time = f"try_strptime({plain}, {text(pattern)})"
        shifted = f"({time} - to_years(CASE WHEN year({time}) > {self.last_year} THEN 100 ELSE 0 END))"
        return shifted if "%y" in pattern else time

    def _converted(self, raw: str, sql_type: str) -> str:
        if self.unit and sql_type.startswith(NUMBERS):
            divisor = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[self.unit]
            return _valid_time(f"TRY(to_timestamp({raw} / {divisor}))")
        return _valid_time(raw) if not sql_type.startswith(NUMBERS) else self._parsed(f"CAST({raw} AS VARCHAR)")


# How a file is read that is written as the contract says: ISO 8601, decimal points, and texts with their blanks.
PLAIN: dict[Kind, Text] = {"number": Number(), "integer": Number(whole=True), "boolean": Boolean(), "time": Time()}
PLAIN["category"] = Text(strip=False)


def stripped(raw: str) -> str:
    """Return SQL of a text without the blanks around it, null if it is empty."""
    return f"nullif(trim({raw}, {text(BLANKS)}), '')"


def is_one_of(value: str, words: Collection[str]) -> str:
    """Return SQL that says whether a text is one of these words."""
    # DuckDB joins with the words of an IN, which takes minutes for a thousand columns.
    return f"list_contains([{', '.join(map(text, words))}], {value})" if words else "FALSE"


def _valid_time(value: str) -> str:
    time = f"CAST({value} AS TIMESTAMPTZ)"
    return f"CASE WHEN {time} >= '{EARLIEST}' AND {time} < '{LATEST}' THEN CAST({time} AS TIMESTAMP) END"
