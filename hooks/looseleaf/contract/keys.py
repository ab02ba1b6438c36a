"""Decide which columns hold the time of a row, the time of its label, and what identifies entities and rows."""

import re
import shlex

import numpy as np
import pandas as pd

from lifecycle.contract.reader import Text, Time
from looseleaf.contract.leaks import FEW_TERMS
from looseleaf.contract.plan import Plan
from looseleaf.contract.profile import Profile
from looseleaf.contract.texts import note, refused

# Patterns of names that identify something, that are times, and that are times but not those of a row.
ID = re.compile(r"(^|[^a-z])(id|ids|key|uuid|guid|index|idx|instant|rownames?|row_?(number|num|id)|unnamed: 0)$", re.I)
CAMEL_ID = re.compile(r"[a-z](ID|Id|Key|UUID|Guid)$")
ENTITY_ID = re.compile(r"(^|[^a-z])(id|uuid|guid)$|[a-z](ID|Id)$", re.I)
# Names of numbers of customers, accounts and the like, where the values are codes.
ENTITY_CODE = re.compile(r"(nummer|number|(^|[^a-z])(nr|no|num|ref))$", re.I)
ROW_TIME = re.compile(r"date|time|timestamp|created|opened|ordered|called|day|(^|_)(ts|dt|at)$|month", re.I)
OTHER_TIME = re.compile(r"birth|dob|born|expir|valid|due", re.I)
EPOCH = re.compile(r"(^|[^a-z])(ts|time|timestamp|epoch|unixtime)$|(time|Time|stamp)$", re.I)
# In a smaller table, any column may have a different value in every row.
LEAST_UNIQUE = 20
SEQUENCE_ROWS = 50
REPEATS = (1.05, 100)
# Ranges of seconds and of milliseconds since 1970.
EPOCH_RANGES = {"s": (1e8, 4.1e9), "ms": (1e11, 4.1e12)}
# The date of a label is filled, and not before the row, in this share of labelled rows.
SEEN_SHARE = 0.995
# The label delay covers this share of them.
LABEL_DAYS_SHARE = 0.95
DAY = 86_400


def choose_time(plan: Plan, profiles: dict[str, Profile]) -> tuple[str | None, Text | None]:
    """Return the column that holds the time of a row, by which later rows are held out, and how it is read."""
    wishes = plan.wishes
    others = {wishes.id, wishes.seen, *wishes.key, *wishes.drop, *wishes.log_only} - {wishes.time}
    times = {
        name: how
        for name, profile in profiles.items()
        if name not in others and (how := _as_time(profile, named=name == wishes.time))
    }
    if wishes.time:
        if wishes.time not in times:
            kind = profiles[wishes.time].kind if wishes.time in profiles else "the label"
            raise refused("time_kind", name=wishes.time, kind=kind)
        return wishes.time, times[wishes.time]
    likely = [name for name in times if not OTHER_TIME.search(name) and profiles[name].nulls <= 0.01 * plan.table.rows]
    if not likely:
        return None, None
    chosen = next((name for name in likely if ROW_TIME.search(name)), likely[0])
    if len(likely) > 1:
        options = {name: name for name in likely} | {"": "none of them: rows are held out by a hash"}
        chosen = plan.chooser.choose("Which column holds the time of a row? Later rows are held out.", options, chosen)
        other = next(name for name in likely if name != chosen)
        plan.unsure.append(note("several_times", chosen=chosen or "no column", other=shlex.quote(other)))
    elif chosen:
        plan.decided.append(note("one_time", chosen=chosen))
    if chosen and profiles[chosen].nulls:
        plan.unsure.append(note("rows_without_time", rows=profiles[chosen].nulls, name=chosen))
    if chosen:
        plan.decided += [f"{chosen}: {each}" for each in profiles[chosen].reading.notes]
        plan.unsure += [f"{chosen}: {each}" for each in profiles[chosen].reading.unsure]
    return chosen or None, times.get(chosen)


def _as_time(profile: Profile, named: bool) -> Text | None:
    """Return how a column is read as a time, or None if it is none."""
    if profile.distinct < 2:
        return None
    if profile.kind == "time":
        return profile.reading.how
    if profile.kind in ("integer", "number") and (named or EPOCH.search(profile.name)):
        for unit, (low, high) in EPOCH_RANGES.items():
            if low <= profile.low and profile.high <= high:
                return Time(unit=unit)
        # An order without a calendar, such as a step or a year, is accepted if the user names it.
        if named and profile.kind == "integer":
            return profile.reading.how
    return None


def choose_seen(plan: Plan, profiles: dict[str, Profile], time: str | None) -> tuple[str | None, int | None]:
    """Return the column that says when a label became known, and how many days after the row that usually is."""
    wishes, labelled = plan.wishes, ~np.isnan(plan.labels.sample)
    if wishes.seen and profiles[wishes.seen].kind != "time":
        raise refused("seen_kind", name=wishes.seen, kind=profiles[wishes.seen].kind)
    if time is None or profiles[time].kind != "time":
        return wishes.seen, None
    row_times, delays = profiles[time].sample, {}
    for name, profile in profiles.items():
        if profile.kind == "time" and name != time and name not in wishes.keep | wishes.drop | wishes.log_only:
            known = (profile.sample.notna() & row_times.notna()).to_numpy()
            # A date without a clock is not before a time on the same day.
            delay = (profile.sample // DAY - row_times // DAY)[known & labelled]
            # Every label has a date, on which it is not always known at once.
            covers = known[labelled].mean() >= SEEN_SHARE if labelled.any() else False
            is_later = covers and (delay >= 0).mean() >= SEEN_SHARE and delay.median() > 0
            # A term that was agreed on, such as a due date, has few lengths and is known for rows without a label, too.
            is_empty_without = not labelled.all() and (~known[~labelled]).mean() >= SEEN_SHARE
            is_term = delay.nunique() <= FEW_TERMS and not is_empty_without
            if name == wishes.seen and len(delay) and (delay >= 0).mean() <= 0.5:
                raise refused("seen_before", name=name, time=time)
            if name == wishes.seen or (is_later and not is_term and not OTHER_TIME.search(name)):
                delays[name] = delay.quantile(LABEL_DAYS_SHARE)
    if not delays:
        return wishes.seen, None
    chosen = wishes.seen or max(delays, key=lambda name: delays[name])
    days = max(0, int(np.ceil(delays[chosen]))) if np.isfinite(delays[chosen]) else None
    if not wishes.seen:
        plan.unsure.append(note("seen", chosen=chosen, time=time, days=days, quoted=shlex.quote(chosen)))
    return chosen, days


def choose_keys(plan: Plan, profiles: dict[str, Profile]) -> tuple[list[str], str]:
    """Return the columns that identify the entity, and the one that identifies a row ('' without one).

    None of them is a model input; the keys keep the holdout's rows of an entity together.
    """
    wishes = plan.wishes
    for variable, name in [("KEY", name) for name in wishes.key] + ([("ID", wishes.id)] if wishes.id else []):
        if name not in profiles:
            raise refused("key_taken", variable=variable, name=name)
        if profiles[name].nulls:
            nulls, rows = profiles[name].nulls, profiles[name].rows
            raise refused("key_null", variable=variable, name=name, nulls=nulls, rows=rows)
    free = {name: profile for name, profile in profiles.items() if name not in wishes.log_only}
    unique = [name for name, profile in free.items() if _is_unique(profile)]
    repeated = [name for name, profile in free.items() if _is_entity(profile)]
    keys, row_id = list(wishes.key), wishes.id or ""
    if not keys and repeated:
        most = max(repeated, key=lambda name: profiles[name].distinct)
        distinct, rows = profiles[most].distinct, len(profiles[most].sample)
        plan.decided.append(note("repeated_key", name=most, distinct=distinct, rows=rows))
        keys.append(most)
    candidates = [name for name in unique if name not in (*keys, row_id)]
    named = [name for name in candidates if ID.search(name) or CAMEL_ID.search(name)]
    chosen = next(iter(named or candidates), "")
    if chosen and not keys:
        if len(candidates) > 1:
            options = {name: name for name in candidates} | {"": "none of them"}
            chosen = plan.chooser.choose("Which column is the key that identifies a row?", options, chosen)
            others = ", ".join(name for name in candidates if name != chosen)
            plan.unsure.append(note("several_keys", chosen=chosen or "no column", others=others))
        else:
            plan.decided.append(note("unique_key", name=chosen))
        keys += [chosen] if chosen else []
    elif chosen and not row_id and repeat(profiles, keys):
        plan.decided.append(note("unique_id", name=chosen))
        row_id = chosen
    for name in unique:
        if name not in (*keys, row_id) and name not in wishes.keep:
            plan.exclude(name, "an id: it is different in every row")
    return keys, row_id


def repeat(profiles: dict[str, Profile], keys: list[str]) -> bool:
    """Return whether several rows have the same keys, so that these do not identify a row."""
    return bool(pd.DataFrame({name: profiles[name].sample for name in keys}).duplicated().any())


def _is_unique(profile: Profile) -> bool:
    rows = len(profile.sample)
    if profile.nulls or profile.distinct < rows or profile.kind not in ("category", "integer"):
        return False
    if ID.search(profile.name) or CAMEL_ID.search(profile.name):
        return True
    if profile.kind == "integer":
        return rows >= SEQUENCE_ROWS and profile.high - profile.low + 1 == profile.rows
    return rows >= LEAST_UNIQUE and profile.high <= 64 and are_codes(profile)


def are_codes(profile: Profile) -> bool:
    """Return whether the values of a column look like codes: texts with digits and without blanks."""
    if profile.kind != "category":
        return False
    known = profile.sample.dropna()
    return bool(known.str.contains(r"\d").mean() > 0.9 and not known.str.contains(r"\s").any())


def _is_entity(profile: Profile) -> bool:
    repeats = len(profile.sample) / max(1, profile.distinct)
    return (
        profile.kind in ("category", "integer")
        and not profile.nulls
        and bool(ENTITY_ID.search(profile.name) or (ENTITY_CODE.search(profile.name) and are_codes(profile)))
        and profile.distinct >= LEAST_UNIQUE
        and REPEATS[0] <= repeats <= REPEATS[1]
    )
