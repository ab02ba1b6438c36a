"""Read the label: a number, one of two classes, or one of several."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from lifecycle import timestamps
from lifecycle.contract.reader import Number, Text
from lifecycle.contract.schema import Target
from lifecycle.contract.tables import quoted
from looseleaf.contract.profile import SAMPLE, Profile, Table
from looseleaf.contract.prompts import Wishes
from looseleaf.contract.source import Connection
from looseleaf.contract.texts import WORDS, note, refused

# Up to so many distinct whole numbers are read as classes, and up to so many distinct texts.
FEW_NUMBERS, MOST_CLASSES = 10, 100
# A class with fewer rows is excluded: a model cannot learn it, and the holdout may contain none of it.
LEAST_OF_CLASS = 10
RARE = 0.05
POSITIVE = {*WORDS["positive"], *(word for word in WORDS["true"] if len(word) > 1)}


@dataclass(frozen=True)
class Labels:
    """The label of a table.

    `how` reads it, and `is_text` says whether its values become text then. `only` names the classes that are used where
    some are excluded. `sample` holds class codes or numbers of the sampled rows, NaN without a label; `rows` counts the
    labelled rows of the file.
    """

    target: Target
    how: Text
    is_text: bool
    sample: npt.NDArray[np.float64]
    rows: int
    counts: dict[str, int]
    only: tuple[str, ...]
    decided: tuple[str, ...]
    unsure: tuple[str, ...]


def read_label(table: Table, wishes: Wishes, connection: Connection) -> Labels:
    """Return how the label is read; raises LifecycleError if it is constant, empty or of a wrong type."""
    profile, task = table.profiles[wishes.label], wishes.task
    where = f"{table.source.path.name}: the label {wishes.label}"
    if profile.nulls == table.rows:
        raise refused("label_empty", where=where)
    if profile.kind == "time" and task != "classification":
        raise refused("label_date", where=where)
    if task == "regression" and profile.kind not in ("number", "integer", "boolean"):
        raise refused("label_text", where=where, kind=profile.kind, distinct=profile.distinct)
    if task != "classification" and _is_number(profile, task):
        return _number(table, profile, where, task is not None)
    return _classes(table, profile, where, connection, wishes)


def _is_number(profile: Profile, task: str | None) -> bool:
    if task == "regression":
        return True
    if profile.kind == "number":
        return profile.distinct > 2
    return profile.kind == "integer" and (profile.distinct > FEW_NUMBERS or profile.distinct * 5 > len(profile.sample))


def _number(table: Table, profile: Profile, where: str, task_is_set: bool) -> Labels:
    if profile.low == profile.high:
        raise refused("label_constant", where=where, low=profile.low, rows=table.rows - profile.nulls)
    if not max(abs(profile.low), abs(profile.high)) < 1e150:
        raise refused("label_huge", where=where)
    sample = profile.sample.to_numpy(dtype=np.float64, na_value=np.nan)
    decided = [note("number", name=profile.name, low=profile.low, high=profile.high)]
    decided += [f"{profile.name}: {each}" for each in profile.reading.notes]
    unsure = [f"{profile.name}: {each}" for each in profile.reading.unsure]
    if profile.nulls:
        decided.append(note("unlabelled", rows=profile.nulls))
    if not task_is_set and profile.distinct <= 2 * FEW_NUMBERS:
        unsure.append(note("few_values", name=profile.name, distinct=profile.distinct))
    target = Target("regression", profile.name, (), profile.reading.unit)
    how = replace(profile.reading.how, whole=False) if isinstance(profile.reading.how, Number) else Number()
    return Labels(target, how, False, sample, table.rows - profile.nulls, {}, (), tuple(decided), tuple(unsure))


def _classes(table: Table, profile: Profile, where: str, connection: Connection, wishes: Wishes) -> Labels:
    chosen = wishes.positive
    how, is_text = _as_text(profile), profile.kind in ("number", "integer")
    sql = f"CAST({how.value(quoted(profile.name), table.source.columns[profile.name])} AS VARCHAR)"
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
        how = replace(how, same=other)
        sql = f"CAST({how.value(quoted(profile.name), table.source.columns[profile.name])} AS VARCHAR)"
        unsure.append(", ".join(f"{word!r} counts as {usual!r}" for word, usual in other.items()))
        for word, usual in other.items():
            counts[usual] += counts.pop(word)
    if len(counts) == 1:
        ((word, number),) = counts.items()
        raise refused("label_one_class", where=where, word=word, rows=number)
    if len(counts) > MOST_CLASSES:
        count = f"{'more than ' if len(found) == 10 * MOST_CLASSES else ''}{len(counts)}"
        raise refused("label_many", where=where, count=count, most=MOST_CLASSES)
    if nulls:
        decided.append(note("unlabelled", rows=nulls))
    kept = {word: number for word, number in counts.items() if len(counts) == 2 or number >= LEAST_OF_CLASS}
    if len(kept) < 2:
        kept = dict(sorted(counts.items(), key=lambda each: -each[1])[: max(2, len(kept))])
    rare = [number for word, number in counts.items() if word not in kept]
    if rare:
        # Their names are not reported: a value that occurs once may identify a person.
        unsure.append(note("rare_classes", classes=len(rare), rows=sum(rare)))
    classes = sorted(kept)
    if chosen is not None and (chosen not in kept or len(kept) != 2):
        raise refused("positive", chosen=chosen, name=profile.name, classes=", ".join(sorted(kept)[:12]))
    if len(kept) == 2:
        positive, sure = (chosen, True) if chosen else _positive(kept)
        classes = [word for word in classes if word != positive] + [positive]
        decided.append(note("two_classes", name=profile.name, positive=positive))
        unsure += [] if sure else [note("rarer", positive=positive)]
    else:
        shown = ", ".join(classes[:12]) + " …" * (len(kept) > 12)
        decided.append(note("several_classes", name=profile.name, count=len(kept), classes=shown))
        unsure += [note("numbers_as_classes", name=profile.name)] if is_text and not wishes.task else []
    total = sum(kept.values())
    for word, number in kept.items():
        if number < RARE * total:
            unsure.append(note("rare", word=word, rows=number, total=total, share=number / total))
    task: Literal["binary", "multiclass"] = "binary" if len(kept) == 2 else "multiclass"
    target = Target(task, profile.name, tuple(classes))
    ordered = connection.execute(f"SELECT {sql} AS label FROM {SAMPLE}").df()["label"]
    sample = ordered.map({word: float(code) for code, word in enumerate(classes)})
    only = tuple(classes) if rare else ()
    return Labels(
        target, how, is_text, np.asarray(sample, dtype=np.float64), total, kept, only, tuple(decided), tuple(unsure)
    )


def without_late_classes(labels: Labels, seconds: npt.NDArray[np.float64], share: float) -> Labels:
    """Leave out the classes that appear in the newest period only, from whose rows no model can learn.

    `seconds` has the times of the sampled rows, NaN where unknown; `share` is that of the rows in the newest period.
    """
    known, classes = ~np.isnan(labels.sample) & ~np.isnan(seconds), labels.target.classes
    codes, times = labels.sample[known], seconds[known].astype(np.int64)
    if not classes or len(np.unique(times)) < 2:
        return labels
    start, _ = timestamps.newest_period(times, share)
    first = {name: int(times[codes == code].min()) for code, name in enumerate(classes) if (codes == code).any()}
    late = {name: since for name, since in first.items() if since >= start}
    kept = tuple(name for name in classes if name not in late)
    what = note("late_dropped" if len(kept) > 1 else "late_kept")
    notes = (note("late", name=name, date=timestamps.date_of(since), what=what) for name, since in late.items())
    labels = replace(labels, unsure=(*labels.unsure, *notes))
    if not late or len(kept) < 2:
        return labels
    places = {float(classes.index(name)): float(code) for code, name in enumerate(kept)}
    sample = np.array([places.get(code, np.nan) for code in labels.sample])
    counts = {name: labels.counts[name] for name in kept}
    target = replace(labels.target, classes=kept)
    return replace(labels, target=target, sample=sample, rows=sum(counts.values()), counts=counts, only=kept)


def _as_text(profile: Profile) -> Text:
    """Return the reading that gives the class of each row, as a text or a number."""
    how = profile.reading.how
    if isinstance(how, Number):
        whole = profile.sample.dropna().mod(1).eq(0).all() and max(abs(profile.low), abs(profile.high)) < 2**53
        return replace(how, whole=bool(whole))
    return Text(missing=profile.reading.blank)


def _positive(counts: dict[str, int]) -> tuple[str, bool]:
    """Return the positive class of two, and whether its name makes it certain."""
    positive = [word for word in counts if word.casefold() in POSITIVE]
    if len(positive) == 1:
        return positive[0], True
    return min(counts, key=lambda word: (counts[word], word)), False
