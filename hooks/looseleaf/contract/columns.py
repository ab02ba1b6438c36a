"""Decide what each column is: the time of a row, a key, an input, or not usable."""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from lifecycle.contract.declare import EXACT_INTEGER, FLOAT32_MAX, MAX_TEXT, RESERVED
from lifecycle.contract.reader import Number, Text
from lifecycle.contract.schema import Kind
from looseleaf.contract.keys import LEAST_UNIQUE, are_codes
from looseleaf.contract.plan import Field, Plan, Source
from looseleaf.contract.profile import Profile
from looseleaf.contract.texts import WORDS, note

COORDINATES = {"latitude": 90, "longitude": 180}
SIGNED = re.compile(rf"(^|[^a-z])({'|'.join(WORDS['signed'])})($|[^a-z])", re.I)
FREE_TEXT_WORDS, NAMES_SHARE, MANY_LEVELS, LISTED_LEVELS = 4, 0.5, 1000, 30
MANY_CODES = 100


def usable_inputs(plan: Plan, profiles: dict[str, Profile]) -> Iterator[tuple[str, Profile]]:
    """Yield the columns from which a model can learn, and exclude the others with a reason."""
    for name, profile in profiles.items():
        if name in plan.wishes.drop:
            plan.exclude(name, "DROP names it")
            continue
        reason = None if name in plan.wishes.keep else _unusable(profile)
        if reason:
            plan.exclude(name, reason)
            continue
        if profile.kind == "category" and profile.distinct > MANY_LEVELS:
            plan.unsure.append(note("many_levels", name=name, distinct=profile.distinct))
        if MANY_CODES < profile.distinct <= MANY_LEVELS and are_codes(profile):
            plan.unsure.append(note("many_codes", name=name, distinct=profile.distinct, quoted=shlex.quote(name)))
        if profile.kind == "integer" and max(abs(profile.low), abs(profile.high)) > EXACT_INTEGER:
            plan.unsure.append(note("rounded", name=name, most=EXACT_INTEGER))
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


def contract_field(profile: Profile, name: str, source: Source) -> Field:
    """Return the contract's field for a column, under the name that requests use."""
    how, unit = profile.reading.how, profile.reading.unit
    if source in ("key", "id"):
        how = Number(whole=True) if profile.kind == "integer" else Text()
        length = None if how.kind == "integer" or profile.high <= MAX_TEXT else int(2 * profile.high)
        return Field(profile.name, name, how, source, max_length=length)
    if isinstance(how, Number) and how.whole and max(abs(profile.low), abs(profile.high)) > EXACT_INTEGER:
        how = replace(how, whole=False)
    expected, limits = _expected(profile, how.kind), _limits(profile, name, how.kind)
    return Field(profile.name, name, how, source, profile.nulls > 0, unit, expected, limits)


def _limits(profile: Profile, name: str, kind: Kind) -> tuple[int | None, int | None]:
    """Return the lowest and the highest valid value, None where unknown."""
    bound = COORDINATES.get(name.lower())
    if bound and kind in ("number", "integer") and bound >= max(abs(profile.low), abs(profile.high)):
        return -bound, bound
    # A count, a term or a year is never negative, other numbers may be.
    return (0 if kind == "integer" and profile.low >= 0 and not SIGNED.search(name) else None), None


def _expected(profile: Profile, kind: Kind) -> tuple[float | str, ...]:
    known = profile.sample.dropna()
    if kind in ("number", "integer") and len(known):
        low, high = (float(each) for each in np.quantile(known.astype(float), (0.001, 0.999)))
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
