"""Decide what a table's contract is: its label, time, keys and inputs, what is excluded, and what stays uncertain."""

import difflib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lifecycle.contract.compatibility import python_name
from lifecycle.contract.reader import Text
from lifecycle.settings import Gate, Train
from looseleaf.contract import columns, keys, leaks
from looseleaf.contract.evidence import Label
from looseleaf.contract.plan import Plan, Source
from looseleaf.contract.profile import SAMPLE, Profile, Table, sql_of
from looseleaf.contract.prompts import Chooser, Wishes
from looseleaf.contract.reading import Reading
from looseleaf.contract.source import Connection
from looseleaf.contract.target import read_label, without_late_classes
from looseleaf.contract.texts import note, refused

# The held-out share varies with the hash or with whole days, so somewhat more than the required rows are planned.
MARGIN, MOST_HELD = 1.25, 0.4
# The newest period has the rows that choose a model, too: half as many as are held out.
NEWEST = 1.5
# Entities of which none is on both sides of the division; fewer cannot be divided into three parts.
FEWEST_ENTITIES, FEW_ENTITIES = 3, 20


def decide(
    table: Table, wishes: Wishes, connection: Connection, chooser: Chooser, label_is_settled: bool = False
) -> Plan:
    """Return the plan of a table; raises LifecycleError if there is nothing to learn, or a wish cannot be met.

    The connection has read the file. `label_is_settled`: another label has already been offered to the user.
    """
    _check(table, wishes)
    labels = read_label(table, wishes, connection)
    plan = Plan(table, wishes, chooser, labels)
    for name, kind in table.unread.items():
        plan.exclude(name, f"the type {kind} cannot be a model input")
    plan.unsure += table.source.unsure
    plan.decided += labels.decided
    profiles = {name: profile for name, profile in table.profiles.items() if name != wishes.label}
    time, time_how = keys.choose_time(plan, profiles)
    if time and time_how:
        # Seconds since 1970, or places in an order without a calendar.
        value = sql_of(time, Reading(time_how), table.source)
        seconds = connection.execute(f"SELECT CAST({value} AS DOUBLE) AS ts FROM {SAMPLE}").df()["ts"].to_numpy()
        plan.labels = without_late_classes(labels, seconds, _holdout_size(labels.rows)[0] * NEWEST)
    plan.unsure += plan.labels.unsure
    seen, plan.label_days = keys.choose_seen(plan, profiles, time)
    profiles = {name: profile for name, profile in profiles.items() if name not in (time, seen)}
    key, row_id = keys.choose_keys(plan, profiles)
    _check_entities(plan, key, time)
    logged = [name for name in profiles if name in wishes.log_only]
    taken = {*key, row_id, *logged, *plan.excluded}
    profiles = {name: profile for name, profile in profiles.items() if name not in taken}
    profiles = dict(columns.usable_inputs(plan, profiles))
    leaking = _leaking(plan, profiles, time, label_is_settled)
    if isinstance(leaking, str):
        return decide(table, replace(wishes, label=leaking), connection, chooser, label_is_settled=True)
    profiles = {name: profile for name, profile in profiles.items() if name not in leaking}
    if not profiles:
        reasons = "\n  ".join(f"{name}: {reason}" for name, reason in plan.excluded.items())
        raise refused("no_input", file=table.source.path.name, reasons=reasons)
    sources: dict[str, Source] = {**dict.fromkeys(key, "key"), **({row_id: "id"} if row_id else {})}
    sources |= {**dict.fromkeys(logged, "logged"), **{name: "request" for name in table.profiles if name in profiles}}
    complete(plan, sources, time, time_how, seen)
    return plan


def _check(table: Table, wishes: Wishes) -> None:
    file, known = table.source.path.name, list(table.source.columns)
    for variable, names in wishes.columns.items():
        for name in names:
            if name not in known:
                folded = {each.casefold(): each for each in known}
                near = [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
                hint = f"It has {', '.join(known[:12])}{' …' * (len(known) > 12)}"
                hint = f"Similar: {', '.join(near)}." if near else hint
                raise refused("no_column", file=file, name=name, variable=variable, hint=hint)
    if len(known) == 1:
        raise refused("only_label", file=file)
    if not table.rows:
        raise refused("no_rows", file=file)
    if kind := table.unread.get(wishes.label):
        raise refused("label_type", name=wishes.label, kind=kind)


def _check_entities(plan: Plan, keys: list[str], time: str | None) -> None:
    """Report a key with few values, by which the rows are divided; raise LifecycleError where they cannot be."""
    few = plan.table.profiles[keys[0]].distinct if len(keys) == 1 and not time else FEW_ENTITIES
    if few < FEWEST_ENTITIES:
        raise refused("no_entities", name=keys[0], few=few)
    if few < FEW_ENTITIES:
        plan.unsure.append(note("few_entities", name=keys[0], few=few))


def complete(plan: Plan, sources: dict[str, Source], time: str | None, how: Text | None, seen: str | None) -> None:
    """Add what follows from the source of each column and from the columns with the times of a row and its label."""
    table, labels, label = plan.table, plan.labels, plan.wishes.label
    wire = columns.wire_names([*sources, *filter(None, (time, seen)), label])
    for column, name in wire.items():
        if column != name:
            plan.decided.append(note("reserved", column=column, name=name))
    for name, own in table.source.renamed.items():
        plan.unsure.append(note("renamed", own=own or "a column without a name", name=name))
    plan.fields = [columns.contract_field(table.profiles[name], wire[name], each) for name, each in sources.items()]
    for name, profile in table.profiles.items():
        if sources.get(name) in ("request", "logged"):
            plan.decided += [f"{name}: {each}" for each in profile.reading.notes]
        if sources.get(name) not in ("key", "id") and name not in (time, label):
            plan.unsure += [f"{name}: {each}" for each in profile.reading.unsure]
    if counts := [each.name for each in plan.fields if each.is_input and each.limits == (0, None)]:
        plan.decided.append(note("counts", names=", ".join(counts)))
    key = [name for name, source in sources.items() if source == "key"]
    if time:
        plan.holdout = f"the later part, by {time}"
    elif key:
        plan.holdout = f"a stable hash of {' and '.join(key)}, so that an entity is never on both sides"
    plan.share, plan.min_rows = _holdout_size(labels.rows)
    plan.unsure += _warnings(plan, key, time)
    if table.is_sample:
        plan.decided.append(note("sampled", sampled=table.sampled, rows=table.rows))
    read = {each.column: each.how for each in plan.fields} | {label: labels.how}
    read |= {time: how} if time and how else {}
    read |= {seen: table.profiles[seen].reading.how} if seen else {}
    plan.declared = {wire[name]: replace(how, header=name * (name != wire[name])) for name, how in read.items()}
    plan.labels = replace(labels, target=replace(labels.target, label=wire[label]))
    plan.time, plan.seen = wire.get(time or ""), wire.get(seen or "")


def _warnings(plan: Plan, key: list[str], time: str | None) -> Iterator[str]:
    table = plan.table
    if plan.share > Train().holdout:
        yield note("few_rows", rows=plan.labels.rows, share=plan.share)
    if plan.min_rows < Gate().min_rows:
        yield note("few_held_out", rows=plan.min_rows, required=Gate().min_rows)
    if time and key and keys.repeat(table.profiles, key):
        repeated = f"{' and '.join(key)} {'repeat' if len(key) > 1 else 'repeats'}"
        yield note("key_over_time", key=repeated, time=time)
    if table.duplicates:
        yield f"{table.duplicates} rows occur more than once{' in the sample' if table.is_sample else ''}"


def _holdout_size(rows: int) -> tuple[float, int]:
    """Return the share to hold out, larger for a small table, and the held-out rows that the gate requires."""
    share, required = Train().holdout, Gate().min_rows
    while share < MOST_HELD and share * rows < MARGIN * required:
        share = round(share + 0.05, 2)
    return share, required if share * rows >= MARGIN * required else max(1, int(share * rows / MARGIN / 1.5))


def _leaking(plan: Plan, profiles: dict[str, Profile], time: str | None, label_is_settled: bool) -> set[str] | str:
    """Return the columns excluded because they leak the label, or the name of the column that is the real label."""
    labels, wishes, row_time = plan.labels, plan.wishes, plan.table.profiles.get(time or "")
    known = ~np.isnan(labels.sample)
    inputs = {name: profile.sample[known] for name, profile in profiles.items()}
    found, near = leaks.find(inputs, Label(labels.sample[known], labels.target.classes))
    if time and row_time and row_time.kind == "time":
        times = {name: profiles[name].sample for name in inputs if profiles[name].kind == "time"}
        for leak in leaks.later_times(times, row_time.sample, time):
            (found if leak.is_sure else near).append(leak)
    found += [leak for leak in near if _similar_name(leak.columns[0], wishes.label)]
    excluded, kept = set[str](), set[tuple[str, ...]]()
    for leak in found:
        if excluded.issuperset(leak.columns) or leak.columns in kept:
            continue
        wanted = {*leak.columns} - wishes.keep - excluded
        if not wanted:
            plan.unsure.insert(0, f"{leak.description}; it is kept, because KEEP names it")
            continue
        options = {"leave out": "leave it out", "keep": "keep it: it is known before the label"}
        if leak.is_twin and not label_is_settled:
            options["label"] = f"it is the label, and {wishes.label} is left out"
        choice = plan.chooser.choose(f"{leak.description}. Keep it?", options, "leave out")
        if choice == "label":
            return leak.columns[0]
        if choice == "keep":
            plan.unsure.append(f"{leak.description}; it was kept")
            kept.add(leak.columns)
            continue
        for name in sorted(wanted):
            plan.exclude(name, f"a leak: {leak.how}")
        excluded |= wanted
    # The first open points are printed, the others stand in the report only.
    plan.unsure[:0] = [
        f"{leak.description}; it was kept. Is it known before the label?"
        for leak in near
        if not {*leak.columns} <= excluded | wishes.keep and leak.columns not in kept
    ]
    return excluded


def _similar_name(name: str, label: str) -> bool:
    one, two = python_name(name), python_name(label)
    return min(len(one), len(two)) >= 4 and (two in one or one in two)
