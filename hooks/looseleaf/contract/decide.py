"""From what a file holds to a contract: which column is what, which is left out, and what nobody can be sure of."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from lifecycle.contract.declare import EXACT_INTEGER, FLOAT32_MAX, MAX_TEXT
from lifecycle.contract.names import python_name
from lifecycle.contract.schema import Kind, Target
from lifecycle.errors import LifecycleError
from lifecycle.settings import Gate, Train
from looseleaf.contract import leaks, names
from looseleaf.contract.leaks import Label, Leak
from looseleaf.contract.profile import Profile, Table, sql_of
from looseleaf.contract.target import Labels, read_label

if TYPE_CHECKING:
    import duckdb

# Which names say that a column identifies something, is a moment, or is one that has nothing to do with asking.
ID = re.compile(r"(^|[^a-z])(id|ids|key|uuid|guid|index|idx|instant|rownames?|row_?(number|num|id)|unnamed: 0)$", re.I)
CAMEL_ID = re.compile(r"[a-z](ID|Id|Key|UUID|Guid)$")
ENTITY_ID = re.compile(r"(^|[^a-z])(id|uuid|guid)$|[a-z](ID|Id)$", re.I)
ASKED = re.compile(r"date|time|timestamp|created|opened|ordered|asked|day|moment|(^|_)(ts|dt|at)$|month", re.I)
BORN = re.compile(r"birth|dob|born|expir|valid|due", re.I)
EPOCH = re.compile(r"(^|[^a-z])(ts|time|timestamp|epoch|unixtime)$|(time|Time|stamp)$", re.I)
PLACES = {"latitude": 90, "longitude": 180}

LEAST_UNIQUE = 20  # with fewer rows, any column may have a value of its own in each
SEQUENCE_ROWS = 50
REPEATS = (1.05, 100)
FREE_WORDS, NAMES_SHARE, MANY_LEVELS, LISTED_LEVELS = 4, 0.5, 1000, 30
# The share that is held out varies with the hash, or with whole days: so much more than enough is aimed at.
MARGIN, MOST_HELD = 1.25, 0.4
SECONDS = {1: (1e8, 4.1e9), 1000: (1e11, 4.1e12)}
DAY = 86_400


@dataclass(frozen=True)
class Wishes:
    """What the person said; None where it is for us to find out. `keep` are suspected leaks to keep."""

    label: str
    key: str | None = None
    time: str | None = None
    task: Literal["number", "classes"] | None = None
    keep: frozenset[str] = frozenset()


class Ask(Protocol):
    """Somebody who may know better, or nobody: then the default is taken."""

    def choose(self, question: str, options: dict[str, str], default: str) -> str:
        """One of the options, by its name; they are told in words."""


@dataclass(frozen=True)
class Field:
    """A column of the contract, and the SQL from the file to its value."""

    column: str
    name: str
    kind: Kind
    sql: str
    is_key: bool = False
    nullable: bool = False
    unit: str = ""
    expected: tuple[float | str, ...] = ()
    limit: float | None = None
    max_length: int | None = None


@dataclass(frozen=True)
class Excluded:
    """A column that the contract leaves out, and why; a leak may be kept."""

    column: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """All that was decided about a table. `time_sql` gives whole seconds since 1970; `label` is as read."""

    table: Table
    wishes: Wishes
    fields: tuple[Field, ...]
    target: Target
    labels: Labels
    time: str | None
    time_sql: str
    excluded: tuple[Excluded, ...]
    decided: tuple[str, ...]
    unsure: tuple[str, ...]
    holdout: str
    share: float
    min_rows: int


@dataclass
class _Draft:
    """What is being decided."""

    excluded: list[Excluded] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)

    def leave_out(self, column: str, reason: str) -> None:
        self.excluded.append(Excluded(column, reason))


def decide(
    table: Table, wishes: Wishes, connection: "duckdb.DuckDBPyConnection", ask: Ask, is_settled: bool = False
) -> Plan:
    """What each column is; raises LifecycleError where there is nothing to learn, or a wish cannot be met.

    `is_settled`: which column is the label has been asked already.
    """
    for word, wish in (("LABEL", wishes.label), ("KEY", wishes.key), ("TIME", wishes.time), *_kept(wishes)):
        if wish is not None and wish not in table.source.columns:
            raise _unknown(word, wish, table)
    if len(table.source.columns) == 1:
        raise LifecycleError(f"{table.source.path.name} has only the label", "Give a file with columns to learn from.")
    if not table.rows:
        raise LifecycleError(f"{table.source.path.name} has names and no rows", "Give a file with labelled rows.")
    draft = _Draft()
    for name, kind in table.unread.items():
        draft.leave_out(name, f"{kind} is nothing that a model takes as it is")
    if wishes.label in table.unread:
        raise LifecycleError(f"the label {wishes.label} is {table.unread[wishes.label]}", "Give a column of values.")
    labels = read_label(table, wishes.label, wishes.task, connection)
    draft.decided += labels.decided
    draft.unsure += labels.unsure
    left = {name: profile for name, profile in table.profiles.items() if name != wishes.label}
    time, time_sql = _time(left, wishes, table, draft, ask)
    left = {name: profile for name, profile in left.items() if name != time}
    keys = _keys(left, wishes, draft, ask)
    gone = {*keys, *(each.column for each in draft.excluded)}
    left = {name: profile for name, profile in left.items() if name not in gone}
    left = dict(_inputs(left, wishes, draft))
    found = _leaks(left, wishes, time, table, labels, draft, ask, is_settled)
    if isinstance(found, str):
        return decide(table, replace(wishes, label=found), connection, ask, is_settled=True)
    left = {name: profile for name, profile in left.items() if name not in found}
    if not left:
        told = "\n  ".join(f"{each.column}: {each.reason}" for each in draft.excluded)
        problem = f"{table.source.path.name} has no column left to learn from:\n  {told}"
        raise LifecycleError(problem, "Give more columns, or keep one of these with KEEP=column.")
    return _plan(table, wishes, left, keys, labels, time, time_sql, draft)


def _plan(
    table: Table,
    wishes: Wishes,
    left: dict[str, Profile],
    keys: list[str],
    labels: Labels,
    time: str | None,
    time_sql: str,
    draft: _Draft,
) -> Plan:
    columns = [*keys, *(name for name in table.profiles if name in left), wishes.label]
    wire = names.wire(columns)
    for column, name in wire.items():
        if column != name:
            draft.decided.append(f"{column} is called {name} on the wire: lifecycle uses that name itself")
    for name, own in table.source.renamed.items():
        draft.decided.append(f"{own or 'a column without a name'} is called {name}: SQL cannot tell it from another")
    fields = [_field(table.profiles[name], wire[name], table, is_key=True) for name in keys]
    fields += [_field(left[name], wire[name], table) for name in left]
    for name in left:
        draft.decided += [f"{name}: {note}" for note in left[name].reading.notes]
        draft.unsure += [f"{name}: {note}" for note in left[name].reading.unsure]
    target = replace(labels.target, label=wire[wishes.label])
    holdout = "a stable hash of the whole row"
    if time:
        holdout = f"the later part, by {time}"
    elif keys:
        holdout = f"a stable hash of {keys[0]}, so that an entity is never on both sides"
    share, fewest = _sizes(labels.rows)
    if share > Train().holdout:
        draft.unsure.append(f"{labels.rows} labelled rows are few: {share:.0%} are held out (config/base.yaml)")
    if fewest < Gate().min_rows:
        draft.unsure.append(
            f"the gate decides from {fewest} held-out rows on in the environment local (config/local.yaml); elsewhere "
            f"it wants {Gate().min_rows}, and decides nothing on this table"
        )
    if time and keys and table.profiles[keys[0]].distinct < len(table.profiles[keys[0]].sample):
        draft.unsure.append(
            f"{keys[0]} repeats over {time}: score answers every row from before its date; where the last one of each "
            "is meant, say so in population() of src/model/data.py"
        )
    if table.duplicates:
        draft.unsure.append(
            f"{table.duplicates} rows stand there more than once{' in the sample' if table.is_sample else ''}"
        )
    if table.is_sample:
        draft.decided.append(
            f"{table.sampled:,} of {table.rows:,} rows were drawn to find levels, ranges and leaks; nulls, limits and "
            "spellings were looked up in all of them"
        )
    return Plan(
        table, wishes, tuple(fields), target, labels, time, time_sql, tuple(draft.excluded), tuple(draft.decided),
        tuple(draft.unsure), holdout, share, fewest,
    )  # fmt: skip


def _sizes(rows: int) -> tuple[float, int]:
    """The share to hold out, larger for a small table, and how few held-out rows the gate has to decide on."""
    share, enough = Train().holdout, Gate().min_rows
    while share < MOST_HELD and share * rows < MARGIN * enough:
        share = round(share + 0.05, 2)
    return share, enough if share * rows >= MARGIN * enough else max(1, int(share * rows / MARGIN / 1.5))


def _kept(wishes: Wishes) -> list[tuple[str, str]]:
    return [("KEEP", name) for name in sorted(wishes.keep)]


def _unknown(word: str, name: str, table: Table) -> LifecycleError:
    there = list(table.source.columns)
    folded = {each.casefold(): each for each in there}
    near = [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    hint = f"Nearest there: {', '.join(near)}." if near else f"It has {', '.join(there[:12])}{' …' * (len(there) > 12)}"
    return LifecycleError(f"{table.source.path.name} has no column {name!r}, which {word} names", hint)


def _time(left: dict[str, Profile], wishes: Wishes, table: Table, draft: _Draft, ask: Ask) -> tuple[str | None, str]:
    """The column that says when a row was asked about, and its SQL; later rows are held out."""
    found = {
        name: sql for name, profile in left.items() if (sql := _seconds(profile, table, named=name == wishes.time))
    }
    if wishes.time:
        if wishes.time not in found:
            problem = f"TIME={wishes.time} is read as {left[wishes.time].kind if wishes.time in left else 'the label'}"
            raise LifecycleError(problem, "Give a column of dates, of moments, or of seconds since 1970.")
        return wishes.time, found[wishes.time]
    likely = [name for name in found if not BORN.search(name) and left[name].nulls <= 0.01 * table.rows]
    if not likely:
        return None, ""
    chosen = next((name for name in likely if ASKED.search(name)), likely[0])
    if len(likely) > 1:
        options = {name: name for name in likely} | {"": "none of them: rows are held out by a hash"}
        chosen = ask.choose("Which column says when a row was asked about? Later rows are held out.", options, chosen)
        others = ", ".join(name for name in likely if name != chosen)
        draft.unsure.append(
            f"{chosen or 'no column'} was taken for the time; TIME={others.split(', ')[0]} takes another"
        )
    elif chosen:
        draft.decided.append(f"{chosen} is the time of a row: the later part is held out (TIME names another column)")
    if chosen and left[chosen].nulls:
        draft.unsure.append(f"{left[chosen].nulls} rows have no {chosen}: they do not train")
    if chosen:
        draft.decided += [f"{chosen}: {note}" for note in left[chosen].reading.notes]
        draft.unsure += [f"{chosen}: {note}" for note in left[chosen].reading.unsure]
    return chosen or None, found.get(chosen, "")


def _seconds(profile: Profile, table: Table, named: bool) -> str | None:
    """SQL to whole seconds since 1970, where a column can say a moment."""
    sql = sql_of(profile.name, profile.reading, table.source)
    if profile.distinct < 2:
        return None
    if profile.kind == "moment":
        return f"CAST(floor({sql}) AS BIGINT)"
    if profile.kind in ("integer", "number") and (named or EPOCH.search(profile.name)):
        for scale, (low, high) in SECONDS.items():
            if low <= profile.low and profile.high <= high:
                return f"CAST(floor({sql}{f' / {scale}' if scale > 1 else ''}) AS BIGINT)"
        # An order without a calendar (a step, a year) is one, too.
        if named and profile.kind == "integer":
            return f"CAST({sql} AS BIGINT)"
    return None


def _keys(left: dict[str, Profile], wishes: Wishes, draft: _Draft, ask: Ask) -> list[str]:
    """The entity and the row: what identifies, and never reaches the model. The first one keeps the holdout whole."""
    unique = [name for name, profile in left.items() if _is_unique(profile)]
    repeated = [name for name, profile in left.items() if _is_entity(profile)]
    if wishes.key:
        profile = left.get(wishes.key)
        if profile is None:
            raise LifecycleError(f"KEY={wishes.key} is the label or the time", "Give another column.")
        if profile.nulls:
            problem = f"KEY={wishes.key} is null in {profile.nulls} of {profile.rows} rows"
            raise LifecycleError(problem, "Give a column that every row has, or fill it.")
        return [wishes.key]
    keys = []
    if repeated:
        most = max(repeated, key=lambda name: left[name].distinct)
        draft.decided.append(
            f"{most} repeats ({left[most].distinct} values in {len(left[most].sample)} rows): it is the key, and the "
            "holdout keeps its rows together where there is no time"
        )
        keys.append(most)
    named = [name for name in unique if ID.search(name) or CAMEL_ID.search(name)]
    if chosen := next(iter(named or unique), None):
        if len(unique) > 1 and not repeated:
            options = {name: name for name in unique} | {"": "none of them"}
            chosen = ask.choose("Which column is the key: what identifies a row for those who ask?", options, chosen)
            others = ", ".join(name for name in unique if name != chosen)
            draft.unsure.append(f"{chosen or 'no column'} was taken for the key; {others} could be one (KEY={others})")
        elif chosen:
            draft.decided.append(f"{chosen} is different in every row: it is {'a' if keys else 'the'} key, no input")
        keys += [chosen] if chosen else []
    for name in unique:
        if name not in keys and name not in wishes.keep:
            draft.leave_out(name, "an id: it is different in every row")
    return keys


def _is_unique(profile: Profile) -> bool:
    rows = len(profile.sample)
    if profile.nulls or profile.distinct < rows or profile.kind not in ("category", "integer"):
        return False
    if ID.search(profile.name) or CAMEL_ID.search(profile.name):
        return True
    if profile.kind == "integer":
        return rows >= SEQUENCE_ROWS and profile.high - profile.low + 1 == profile.rows
    has_digits = profile.sample.str.contains(r"\d").mean() > 0.9 and not profile.sample.str.contains(r"\s").any()
    return bool(rows >= LEAST_UNIQUE and profile.high <= 64 and has_digits)


def _is_entity(profile: Profile) -> bool:
    repeats = len(profile.sample) / max(1, profile.distinct)
    return (
        profile.kind in ("category", "integer")
        and not profile.nulls
        and ENTITY_ID.search(profile.name) is not None
        and profile.distinct >= LEAST_UNIQUE
        and REPEATS[0] <= repeats <= REPEATS[1]
    )


def _inputs(left: dict[str, Profile], wishes: Wishes, draft: _Draft) -> Iterator[tuple[str, Profile]]:
    """The columns that a model can learn from."""
    for name, profile in left.items():
        reason = None if name in wishes.keep else _useless(profile)
        if reason:
            draft.leave_out(name, reason)
            continue
        if profile.kind == "category" and profile.distinct > MANY_LEVELS:
            draft.unsure.append(f"{name} has {profile.distinct:,} levels; those not seen in training count as unseen")
        yield name, profile


def _useless(profile: Profile) -> str | None:
    rows = len(profile.sample)
    if profile.distinct == 0:
        return "it is empty"
    if profile.distinct == 1 and not profile.nulls:
        return "it is constant"
    if profile.kind in ("number", "integer") and not max(abs(profile.low), abs(profile.high)) <= FLOAT32_MAX:
        return "it holds numbers beyond ±3.4e38, which no model here takes"
    if profile.kind != "category":
        return None
    known = profile.sample.dropna()
    words = known.str.count(r"\s+").mean() + 1
    if profile.high > MAX_TEXT or (words >= FREE_WORDS and profile.distinct > LEAST_UNIQUE + 0.3 * len(known)):
        return f"free text ({words:.0f} words a row): a `python` bundle can take it, a matrix cannot"
    if profile.distinct > LEAST_UNIQUE and profile.distinct > NAMES_SHARE * len(known):
        return f"a name for (almost) each row ({profile.distinct:,} values in {rows:,} rows): nothing to learn repeats"
    return None


def _leaks(
    left: dict[str, Profile],
    wishes: Wishes,
    time: str | None,
    table: Table,
    labels: Labels,
    draft: _Draft,
    ask: Ask,
    is_settled: bool,
) -> set[str] | str:
    """The columns left out because they tell the label; or the name of the column that is meant as the label."""
    label = labels.sample
    known = ~np.isnan(label)
    columns = {name: profile.sample[known] for name, profile in left.items() if name not in wishes.keep}
    found, near = leaks.find(columns, Label(label[known], labels.target.classes))
    found += list(_later(left, wishes, time, table, labels))
    found += [leak for leak in near if _named_like(leak.columns[0], wishes.label)]
    gone: set[str] = set()
    for leak in found:
        if gone.issuperset(leak.columns):
            continue
        options = {"leave out": "leave it out", "keep": "keep it: it is known before the label"}
        if leak.is_twin and not is_settled:
            options["label"] = f"it is the label, and {wishes.label} goes out"
        answer = ask.choose(f"{leak.told}. What now?", options, "leave out")
        if answer == "label":
            return leak.columns[0]
        if answer == "keep":
            draft.unsure.append(f"{leak.told}; it was kept")
            continue
        gone.update(leak.columns)
        for name in leak.columns:
            draft.leave_out(name, f"a leak: {leak.how}")
    for leak in near:
        if not gone.issuperset(leak.columns):
            draft.unsure.append(f"{leak.told}; it was kept. Is it known before the label?")
    return gone


def _later(left: dict[str, Profile], wishes: Wishes, time: str | None, table: Table, labels: Labels) -> Iterator[Leak]:
    """Moments after the time of the row: nobody knew them when the question was asked."""
    if time is None or table.profiles[time].kind != "moment":
        return
    asked = table.profiles[time].sample
    for name, profile in left.items():
        if profile.kind == "moment" and name not in wishes.keep:
            both = profile.sample.notna() & asked.notna()
            after = float((profile.sample[both] > asked[both]).mean()) if both.any() else 0.0
            if after >= leaks.SURE:
                yield Leak((name,), f"it lies after {time} in {after:.1%} of rows: known only later", after)


def _named_like(name: str, label: str) -> bool:
    one, two = python_name(name), python_name(label)
    return min(len(one), len(two)) >= 4 and (two in one or one in two)


def _field(profile: Profile, name: str, table: Table, is_key: bool = False) -> Field:
    kind, unit = profile.kind, profile.reading.unit
    sql = sql_of(profile.name, profile.reading, table.source)
    if is_key:
        sql = sql.replace(" AS DOUBLE)", " AS BIGINT)")
        if kind != "integer":
            kind = "category"
            raw = replace(profile.reading, kind="category", sql="{x}")
            sql = sql_of(profile.name, raw, table.source)
            if table.source.columns[profile.name] != "VARCHAR":
                sql = f"CAST({sql} AS VARCHAR)"
        length = None if kind == "integer" or profile.high <= MAX_TEXT else int(2 * profile.high)
        return Field(profile.name, name, kind, sql, is_key=True, max_length=length)
    if kind == "moment":
        kind, unit, sql = "number", "days since 1970-01-01", f"({sql}) / {DAY}"
    if kind == "integer" and max(abs(profile.low), abs(profile.high)) > EXACT_INTEGER:
        kind = "number"
    if kind == "number" and not sql.startswith("CAST"):
        sql = f"CAST({sql} AS DOUBLE)"
    limit = None
    if kind in ("number", "integer"):
        place = PLACES.get(name.lower())
        limit = place if place and place >= max(abs(profile.low), abs(profile.high)) else None
    return Field(
        profile.name, name, kind, sql, False, profile.nulls > 0, unit, _expected(profile, kind), limit
    )  # fmt: skip


def _expected(profile: Profile, kind: Kind) -> tuple[float | str, ...]:
    known = profile.sample.dropna()
    if kind in ("number", "integer") and len(known):
        low, high = (float(each) for each in np.quantile(known.astype(float), (0.001, 0.999)))
        if profile.kind == "moment":
            low, high = low / DAY, high / DAY
        low, high = _rounded(low, np.floor), _rounded(high, np.ceil)
        return (int(low), int(high)) if kind == "integer" else (low, high)
    if kind == "category":
        counts = known.value_counts()
        # What stands once may be somebody's.
        usual = [str(level) for level in counts[counts >= max(2, 0.0005 * len(known))].index]
        return tuple(usual) if len(counts) <= LISTED_LEVELS else ()
    return ()


def _rounded(value: float, towards: "np.ufunc") -> float:
    """Two digits that count, so that a bound is nobody's own value."""
    if value == 0 or not np.isfinite(value):
        return 0.0
    digits = 10.0 ** (np.floor(np.log10(abs(value))) - 1)
    return float(f"{towards(value / digits) * digits:.12g}")
