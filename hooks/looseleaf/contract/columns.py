"""Decide what each column is: the time of a row, a key, an input, or not usable."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from lifecycle.contract.declare import EXACT_INTEGER, FLOAT32_MAX, MAX_TEXT, RESERVED
from lifecycle.contract.schema import Kind
from lifecycle.errors import LifecycleError
from looseleaf.contract.plan import Field, Notes, Wishes
from looseleaf.contract.profile import Profile, Table, sql_of
from looseleaf.contract.prompts import Chooser

# Patterns of names that identify something, that are times, and that are times but not those of a row.
ID = re.compile(r"(^|[^a-z])(id|ids|key|uuid|guid|index|idx|instant|rownames?|row_?(number|num|id)|unnamed: 0)$", re.I)
CAMEL_ID = re.compile(r"[a-z](ID|Id|Key|UUID|Guid)$")
ENTITY_ID = re.compile(r"(^|[^a-z])(id|uuid|guid)$|[a-z](ID|Id)$", re.I)
ROW_TIME = re.compile(r"date|time|timestamp|created|opened|ordered|called|day|(^|_)(ts|dt|at)$|month", re.I)
OTHER_TIME = re.compile(r"birth|dob|born|expir|valid|due", re.I)
EPOCH = re.compile(r"(^|[^a-z])(ts|time|timestamp|epoch|unixtime)$|(time|Time|stamp)$", re.I)
COORDINATES = {"latitude": 90, "longitude": 180}

# In a smaller table, any column may have a different value in every row.
LEAST_UNIQUE = 20
SEQUENCE_ROWS = 50
REPEATS = (1.05, 100)
FREE_TEXT_WORDS, NAMES_SHARE, MANY_LEVELS, LISTED_LEVELS = 4, 0.5, 1000, 30
# Ranges of seconds and of milliseconds since 1970, by divisor.
EPOCH_RANGES = {1: (1e8, 4.1e9), 1000: (1e11, 4.1e12)}
DAY = 86_400


def choose_time(
    profiles: dict[str, Profile], wishes: Wishes, table: Table, notes: Notes, chooser: Chooser
) -> tuple[str | None, str]:
    """Return the column that holds the time of a row and its SQL; later rows are held out."""
    times = {
        name: sql
        for name, profile in profiles.items()
        if (sql := _seconds_sql(profile, table, named=name == wishes.time))
    }
    if wishes.time:
        if wishes.time not in times:
            kind = profiles[wishes.time].kind if wishes.time in profiles else "the label"
            problem = f"TIME={wishes.time} is read as {kind}"
            raise LifecycleError(problem, "Name a column of dates, of timestamps, or of seconds since 1970.")
        return wishes.time, times[wishes.time]
    likely = [name for name in times if not OTHER_TIME.search(name) and profiles[name].nulls <= 0.01 * table.rows]
    if not likely:
        return None, ""
    chosen = next((name for name in likely if ROW_TIME.search(name)), likely[0])
    if len(likely) > 1:
        options = {name: name for name in likely} | {"": "none of them: rows are held out by a hash"}
        chosen = chooser.choose("Which column holds the time of a row? Later rows are held out.", options, chosen)
        others = [name for name in likely if name != chosen]
        notes.unsure.append(f"{chosen or 'no column'} was taken as the time; TIME={others[0]} selects another")
    elif chosen:
        notes.decided.append(f"{chosen} is the time of a row: later rows are held out (TIME selects another column)")
    if chosen and profiles[chosen].nulls:
        notes.unsure.append(f"{profiles[chosen].nulls} rows have no {chosen}: they are not used for training")
    if chosen:
        notes.decided += [f"{chosen}: {note}" for note in profiles[chosen].reading.notes]
        notes.unsure += [f"{chosen}: {note}" for note in profiles[chosen].reading.unsure]
    return chosen or None, times.get(chosen, "")


def _seconds_sql(profile: Profile, table: Table, named: bool) -> str | None:
    """Return SQL for whole seconds since 1970 if a column can be a time."""
    sql = sql_of(profile.name, profile.reading, table.source)
    if profile.distinct < 2:
        return None
    if profile.kind == "time":
        return f"CAST(floor({sql}) AS BIGINT)"
    if profile.kind in ("integer", "number") and (named or EPOCH.search(profile.name)):
        for divisor, (low, high) in EPOCH_RANGES.items():
            if low <= profile.low and profile.high <= high:
                return f"CAST(floor({sql}{f' / {divisor}' if divisor > 1 else ''}) AS BIGINT)"
        # An order without a calendar, such as a step or a year, is accepted if the user names it.
        if named and profile.kind == "integer":
            return f"CAST({sql} AS BIGINT)"
    return None


def choose_keys(profiles: dict[str, Profile], wishes: Wishes, notes: Notes, chooser: Chooser) -> list[str]:
    """Return the key columns, which are never model inputs; the first one keeps the holdout's entities together."""
    unique = [name for name, profile in profiles.items() if _is_unique(profile)]
    repeated = [name for name, profile in profiles.items() if _is_entity(profile)]
    if wishes.key:
        profile = profiles.get(wishes.key)
        if profile is None:
            raise LifecycleError(f"KEY={wishes.key} is the label or the time", "Name another column.")
        if profile.nulls:
            problem = f"KEY={wishes.key} is null in {profile.nulls} of {profile.rows} rows"
            raise LifecycleError(problem, "Name a column that every row has, or fill it.")
        return [wishes.key]
    keys = []
    if repeated:
        most = max(repeated, key=lambda name: profiles[name].distinct)
        notes.decided.append(
            f"{most} repeats ({profiles[most].distinct} values in {len(profiles[most].sample)} rows): it is the key, "
            "and the holdout keeps its rows together where there is no time"
        )
        keys.append(most)
    named = [name for name in unique if ID.search(name) or CAMEL_ID.search(name)]
    if chosen := next(iter(named or unique), None):
        if len(unique) > 1 and not repeated:
            options = {name: name for name in unique} | {"": "none of them"}
            chosen = chooser.choose("Which column is the key that identifies a row?", options, chosen)
            others = ", ".join(name for name in unique if name != chosen)
            notes.unsure.append(
                f"{chosen or 'no column'} was taken as the key; {others} could be one as well (KEY={others})"
            )
        elif chosen:
            notes.decided.append(
                f"{chosen} is different in every row: it is {'a' if keys else 'the'} key, not an input"
            )
        keys += [chosen] if chosen else []
    for name in unique:
        if name not in keys and name not in wishes.keep:
            notes.exclude(name, "an id: it is different in every row")
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


def usable_inputs(profiles: dict[str, Profile], wishes: Wishes, notes: Notes) -> Iterator[tuple[str, Profile]]:
    """Yield the columns from which a model can learn, and exclude the others with a reason."""
    for name, profile in profiles.items():
        reason = None if name in wishes.keep else _unusable(profile)
        if reason:
            notes.exclude(name, reason)
            continue
        if profile.kind == "category" and profile.distinct > MANY_LEVELS:
            notes.unsure.append(f"{name} has {profile.distinct:,} levels; those not seen in training count as unseen")
        yield name, profile


def _unusable(profile: Profile) -> str | None:
    rows = len(profile.sample)
    if profile.distinct == 0:
        return "it is empty"
    if profile.distinct == 1 and not profile.nulls:
        return "it is constant"
    if profile.kind in ("number", "integer") and not max(abs(profile.low), abs(profile.high)) <= FLOAT32_MAX:
        return "it contains numbers beyond ±3.4e38, which a float32 matrix cannot hold"
    if profile.kind != "category":
        return None
    known = profile.sample.dropna()
    words = known.str.count(r"\s+").mean() + 1
    if profile.high > MAX_TEXT or (words >= FREE_TEXT_WORDS and profile.distinct > LEAST_UNIQUE + 0.3 * len(known)):
        return f"free text ({words:.0f} words a row): a `python` bundle can use it, a matrix cannot"
    if profile.distinct > LEAST_UNIQUE and profile.distinct > NAMES_SHARE * len(known):
        return f"a name for (almost) each row ({profile.distinct:,} values in {rows:,} rows): too few values repeat"
    return None


def contract_field(profile: Profile, name: str, table: Table, is_key: bool = False) -> Field:
    """Return the contract's field for a column, under the name that requests use."""
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
    if kind == "time":
        kind, unit, sql = "number", "days since 1970-01-01", f"({sql}) / {DAY}"
    if kind == "integer" and max(abs(profile.low), abs(profile.high)) > EXACT_INTEGER:
        kind = "number"
    if kind == "number" and not sql.startswith("CAST"):
        sql = f"CAST({sql} AS DOUBLE)"
    limit = None
    if kind in ("number", "integer"):
        bound = COORDINATES.get(name.lower())
        limit = bound if bound and bound >= max(abs(profile.low), abs(profile.high)) else None
    expected = _expected(profile, kind)
    return Field(profile.name, name, kind, sql, False, profile.nulls > 0, unit, expected, limit)


def _expected(profile: Profile, kind: Kind) -> tuple[float | str, ...]:
    known = profile.sample.dropna()
    if kind in ("number", "integer") and len(known):
        low, high = (float(each) for each in np.quantile(known.astype(float), (0.001, 0.999)))
        if profile.kind == "time":
            low, high = low / DAY, high / DAY
        low, high = _rounded(low, np.floor), _rounded(high, np.ceil)
        return (int(low), int(high)) if kind == "integer" else (low, high)
    if kind == "category":
        counts = known.value_counts()
        # A value that occurs once may identify a person.
        usual = [str(level) for level in counts[counts >= max(2, 0.0005 * len(known))].index]
        return tuple(usual) if len(counts) <= LISTED_LEVELS else ()
    return ()


def _rounded(value: float, towards: "np.ufunc") -> float:
    """Round to two significant digits, so that a bound is not a person's own value."""
    if value == 0 or not np.isfinite(value):
        return 0.0
    digits = 10.0 ** (np.floor(np.log10(abs(value))) - 1)
    return float(f"{towards(value / digits) * digits:.12g}")


def wire_names(names: Iterable[str]) -> dict[str, str]:
    """Return the name of each column in requests and tables: its own, unless the runtime reserves it."""
    names = list(names)
    taken, chosen = {name.casefold() for name in names}, {}
    for name in names:
        candidate = name
        while (
            (is_prefixed := candidate.lower().startswith(("lifecycle_", "probabilities_")))
            or candidate.lower() in RESERVED
            or (candidate != name and candidate.casefold() in taken)
        ):
            candidate = f"column_{candidate}" if is_prefixed else f"{candidate}_value"
        taken.add(candidate.casefold())
        chosen[name] = candidate
    return chosen
