"""What the label says: a number, yes or no, or one of several classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from lifecycle.contract.schema import Target
from lifecycle.contract.tables import quoted, text
from lifecycle.errors import LifecycleError
from looseleaf.contract import values
from looseleaf.contract.profile import SAMPLE, Profile, Table, sql_of
from looseleaf.contract.values import Reading

if TYPE_CHECKING:
    import duckdb

# Whole numbers are taken for classes up to so many different ones, texts up to so many.
FEW_NUMBERS, MOST_CLASSES = 10, 100
# A class among several with fewer rows is left out: nothing can be learnt, and a holdout may hold none of it.
LEAST_OF_CLASS = 10
RARE = 0.05
POSITIVE = (
    *("yes", "y", "true", "t", "positive", "pos", "churn", "churned", "left", "fraud", "default", "defaulted"),
    *("bad", "fail", "failed", "failure", "dead", "died", "deceased", "cancelled", "canceled", "spam", "sick", "ill"),
    *(">50k", "high", "won", "win", "success", "approved", "accepted", "survived", "malignant", "poisonous"),
)


@dataclass(frozen=True)
class Labels:
    """The label as it is read. `sql` gives it; `only` are the classes that count where some are left out.

    `sample` are class codes or numbers of the sample's rows, NaN where there is no label; `rows` have one, of all.
    """

    target: Target
    sql: str
    sample: npt.NDArray[np.float64]
    rows: int
    counts: dict[str, int]
    only: tuple[str, ...]
    decided: tuple[str, ...]
    unsure: tuple[str, ...]


def read_label(
    table: Table, name: str, task: Literal["number", "classes"] | None, connection: "duckdb.DuckDBPyConnection"
) -> Labels:
    """How the label is read; raises LifecycleError where it says nothing, or what no answer can be."""
    profile = table.profiles[name]
    where = f"{table.source.path.name}: the label {name}"
    if profile.nulls == table.rows:
        raise LifecycleError(f"{where} is empty", "Give rows with a label.")
    if profile.kind == "moment" and task != "classes":
        raise LifecycleError(f"{where} is a date", "Turn it into a number of days or a class first.")
    if task == "number" and profile.kind not in ("number", "integer", "boolean"):
        example = f"it is read as {profile.kind}, {profile.distinct} different values"
        raise LifecycleError(f"{where} is no number: {example}", "Leave ANSWER=number out, or hint the values.")
    if task != "classes" and _is_number(profile, task):
        return _number(table, profile, where, asked=task is not None)
    return _classes(table, profile, where, connection, asked=task is not None)


def _is_number(profile: Profile, task: str | None) -> bool:
    if task == "number":
        return True
    if profile.kind == "number":
        return profile.distinct > 2
    return profile.kind == "integer" and (profile.distinct > FEW_NUMBERS or profile.distinct * 5 > len(profile.sample))


def _number(table: Table, profile: Profile, where: str, asked: bool) -> Labels:
    if profile.low == profile.high:
        rows = table.rows - profile.nulls
        raise LifecycleError(f"{where} is {profile.low:g} in all {rows} rows", "Give rows with different labels.")
    if not max(abs(profile.low), abs(profile.high)) < 1e150:
        raise LifecycleError(f"{where} holds numbers beyond 1e150", "Give it in another unit.")
    sql = f"CAST({sql_of(profile.name, profile.reading, table.source)} AS DOUBLE)"
    sample = profile.sample.to_numpy(dtype=np.float64, na_value=np.nan)
    decided = [f"{profile.name} is a number to predict, about {profile.low:.2g} to {profile.high:.2g}"]
    decided += [f"{profile.name}: {note}" for note in profile.reading.notes]
    unsure = [f"{profile.name}: {note}" for note in profile.reading.unsure]
    if profile.nulls:
        decided.append(f"{profile.nulls:,} rows have no label: they are scored and do not train")
    if not asked and profile.distinct <= 2 * FEW_NUMBERS:
        unsure.append(f"{profile.name} has {profile.distinct} values; ANSWER=classes takes each for a class")
    target = Target("regression", profile.name, (), profile.reading.unit)
    return Labels(target, sql, sample, table.rows - profile.nulls, {}, (), tuple(decided), tuple(unsure))


def _classes(
    table: Table, profile: Profile, where: str, connection: "duckdb.DuckDBPyConnection", asked: bool
) -> Labels:
    sql = _text(profile, table)
    query = f"SELECT {sql} AS label, count(*) FROM {table.source.sql} GROUP BY ALL ORDER BY count(*) DESC, label"
    found = connection.execute(f"{query} LIMIT {10 * MOST_CLASSES}").fetchall()
    counts = {str(word): int(number) for word, number in found if word is not None}
    nulls = sum(int(number) for word, number in found if word is None)
    spellings: dict[str, str] = {}
    for word in counts:
        spellings.setdefault(word.casefold(), word)
    other = {word: spellings[word.casefold()] for word in counts if spellings[word.casefold()] != word}
    decided, unsure = [], []
    if other:
        cases = " ".join(f"WHEN {text(word)} THEN {text(usual)}" for word, usual in other.items())
        sql = f"CASE {sql} {cases} ELSE {sql} END"
        unsure.append(f"{', '.join(f'{word!r} counts as {usual!r}' for word, usual in other.items())}")
        for word, usual in other.items():
            counts[usual] += counts.pop(word)
    if len(counts) == 1:
        ((word, number),) = counts.items()
        raise LifecycleError(f"{where} is {word!r} in all {number} rows that have one", "Give rows of every class.")
    if len(counts) > MOST_CLASSES:
        problem = f"{where} has {'more than ' if len(found) == 10 * MOST_CLASSES else ''}{len(counts)} different texts"
        raise LifecycleError(problem, f"At most {MOST_CLASSES} classes can be told apart: group them first.")
    if nulls:
        decided.append(f"{nulls:,} rows have no label: they are scored and do not train")
    kept = {word: number for word, number in counts.items() if len(counts) == 2 or number >= LEAST_OF_CLASS}
    if len(kept) < 2:
        kept = dict(sorted(counts.items(), key=lambda each: -each[1])[: max(2, len(kept))])
    rare = [number for word, number in counts.items() if word not in kept]
    if rare:
        # Their names are not told: what stands once may be somebody's.
        unsure.append(f"{len(rare)} classes have too few rows to learn ({sum(rare)}): they are scored and do not train")
    classes = sorted(kept)
    if len(kept) == 2:
        positive, sure = _positive(kept)
        classes = [word for word in classes if word != positive] + [positive]
        decided.append(f"{profile.name} is yes or no: the probability answered is that of {positive!r}")
        if not sure:
            unsure.append(f"{positive!r} was taken for the class to find, because it is rarer")
    else:
        decided.append(
            f"{profile.name} is one of {len(kept)} classes: {', '.join(classes[:12])}{' …' * (len(kept) > 12)}"
        )
        if profile.kind in ("integer", "number") and not asked:
            unsure.append(
                f"{profile.name} holds few whole numbers and was taken for classes; ANSWER=number says otherwise"
            )
    total = sum(kept.values())
    for word, number in kept.items():
        if number < RARE * total:
            unsure.append(f"{word!r} is rare: {number:,} of {total:,} rows ({number / total:.2%})")
    task: Literal["binary", "multiclass"] = "binary" if len(kept) == 2 else "multiclass"
    target = Target(task, profile.name, tuple(classes))
    ordered = connection.execute(f"SELECT {sql} AS label FROM {SAMPLE}").df()["label"]
    sample = ordered.map({word: float(code) for code, word in enumerate(classes)})
    only = tuple(classes) if rare else ()
    return Labels(target, sql, np.asarray(sample, dtype=np.float64), total, kept, only, tuple(decided), tuple(unsure))


def _text(profile: Profile, table: Table) -> str:
    """SQL to the label's own words."""
    if profile.kind == "number":
        number = sql_of(profile.name, profile.reading, table.source)
        whole = profile.sample.dropna().mod(1).eq(0).all() and max(abs(profile.low), abs(profile.high)) < 2**53
        return f"CAST(CAST({number} AS BIGINT) AS VARCHAR)" if whole else f"CAST({number} AS VARCHAR)"
    if table.source.columns[profile.name] == "VARCHAR":
        return sql_of(profile.name, values.without(Reading("category"), profile.reading.missing), table.source)
    return f"CAST({quoted(profile.name)} AS VARCHAR)"


def _positive(counts: dict[str, int]) -> tuple[str, bool]:
    """Which of two classes is the one to find, and whether its name says so."""
    said = [word for word in counts if word.casefold() in POSITIVE]
    if len(said) == 1:
        return said[0], True
    numbers: Sequence[str] = [word for word in counts if word.isdigit()]
    if set(numbers) == {"0", "1"}:
        return "1", True
    return min(counts, key=lambda word: (counts[word], word)), False
