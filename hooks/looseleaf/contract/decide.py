"""Decide what a table's contract is: its label, time, keys and inputs, what is excluded, and what stays uncertain."""

import difflib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lifecycle.contract.compatibility import python_name
from lifecycle.errors import LifecycleError
from lifecycle.settings import Gate, Train
from looseleaf.contract import columns, leaks
from looseleaf.contract.leaks import Label, Leak
from looseleaf.contract.plan import Notes, Plan, Wishes
from looseleaf.contract.profile import SAMPLE, Profile, Table
from looseleaf.contract.prompts import Chooser
from looseleaf.contract.target import Labels, read_label, without_late_classes

if TYPE_CHECKING:
    import duckdb

# The held-out share varies with the hash or with whole days, so somewhat more than the required rows are planned.
MARGIN, MOST_HELD = 1.25, 0.4
# The newest period has the rows that choose a model, too: half as many as are held out.
NEWEST = 1.5
# Entities of which none is on both sides of the division; fewer cannot be divided into three parts.
FEWEST_ENTITIES, FEW_ENTITIES = 3, 20


def decide(
    table: Table,
    wishes: Wishes,
    connection: "duckdb.DuckDBPyConnection",
    chooser: Chooser,
    label_is_settled: bool = False,
) -> Plan:
    """Return the plan of a table.

    Args:
        table: the profiled file.
        wishes: what the user specified.
        connection: the connection that has read the file.
        chooser: decides where several choices are plausible.
        label_is_settled: whether the user has already been offered another label.

    Raises:
        LifecycleError: there is nothing to learn, or a wish cannot be met.
    """
    for variable, name in (
        ("LABEL", wishes.label),
        ("KEY", wishes.key),
        ("TIME", wishes.time),
        *(("KEEP", name) for name in sorted(wishes.keep)),
    ):
        if name is not None and name not in table.source.columns:
            raise _unknown_column(variable, name, table)
    if len(table.source.columns) == 1:
        raise LifecycleError(f"{table.source.path.name} has only the label", "Add columns to learn from.")
    if not table.rows:
        raise LifecycleError(f"{table.source.path.name} has names and no rows", "Add labelled rows.")
    notes = Notes()
    for name, kind in table.unread.items():
        notes.exclude(name, f"the type {kind} cannot be a model input")
    if wishes.label in table.unread:
        problem = f"the label {wishes.label} has the type {table.unread[wishes.label]}"
        raise LifecycleError(problem, "Use a column of plain values.")
    labels = read_label(table, wishes.label, wishes.task, connection)
    notes.decided += labels.decided
    profiles = {name: profile for name, profile in table.profiles.items() if name != wishes.label}
    time, time_sql = columns.choose_time(profiles, wishes, table, notes, chooser)
    profiles = {name: profile for name, profile in profiles.items() if name != time}
    if time:
        seconds = connection.execute(f"SELECT CAST({time_sql} AS DOUBLE) AS ts FROM {SAMPLE}").df()["ts"].to_numpy()
        labels = without_late_classes(labels, seconds, _holdout_size(labels.rows)[0] * NEWEST)
    notes.unsure += labels.unsure
    keys = columns.choose_keys(profiles, wishes, notes, chooser)
    _check_entities(table, keys, time, notes)
    taken = {*keys, *(each.column for each in notes.excluded)}
    profiles = {name: profile for name, profile in profiles.items() if name not in taken}
    profiles = dict(columns.usable_inputs(profiles, wishes, notes))
    leaking = _exclude_leaks(profiles, wishes, time, table, labels, notes, chooser, label_is_settled)
    if isinstance(leaking, str):
        return decide(table, replace(wishes, label=leaking), connection, chooser, label_is_settled=True)
    profiles = {name: profile for name, profile in profiles.items() if name not in leaking}
    if not profiles:
        reasons = "\n  ".join(f"{each.column}: {each.reason}" for each in notes.excluded)
        problem = f"{table.source.path.name} has no column left to learn from:\n  {reasons}"
        raise LifecycleError(problem, "Add columns, or keep one of these with KEEP=column.")
    return _plan(table, wishes, profiles, keys, labels, time, time_sql, notes)


def _check_entities(table: Table, keys: list[str], time: str | None, notes: Notes) -> None:
    """Report a key with few values, by which the rows are divided; raise LifecycleError where they cannot be."""
    few = table.profiles[keys[0]].distinct if keys and not time else FEW_ENTITIES
    if few < FEWEST_ENTITIES:
        problem = f"{keys[0]} has {few} values: rows of one value stay together, so that none can be held out"
        raise LifecycleError(problem, f"Leave out KEY={keys[0]}, so that {keys[0]} is an input, or name another key.")
    if few < FEW_ENTITIES:
        notes.unsure.append(f"{keys[0]} has {few} values and rows of one stay together: is it an input?")


def _plan(
    table: Table,
    wishes: Wishes,
    inputs: dict[str, Profile],
    keys: list[str],
    labels: Labels,
    time: str | None,
    time_sql: str,
    notes: Notes,
) -> Plan:
    wire = columns.wire_names([*keys, *(name for name in table.profiles if name in inputs), wishes.label])
    for column, name in wire.items():
        if column != name:
            notes.decided.append(f"{column} is called {name} in requests, because the runtime reserves its name")
    for name, own in table.source.renamed.items():
        own = own or "a column without a name"
        notes.decided.append(f"{own} is called {name}, because SQL cannot distinguish it from another column")
    fields = [columns.contract_field(table.profiles[name], wire[name], table, is_key=True) for name in keys]
    fields += [columns.contract_field(inputs[name], wire[name], table) for name in inputs]
    for name in inputs:
        notes.decided += [f"{name}: {note}" for note in inputs[name].reading.notes]
        notes.unsure += [f"{name}: {note}" for note in inputs[name].reading.unsure]
    holdout = "a stable hash of the whole row"
    if time:
        holdout = f"the later part, by {time}"
    elif keys:
        holdout = f"a stable hash of {keys[0]}, so that an entity is never on both sides"
    share, min_rows = _holdout_size(labels.rows)
    notes.unsure += _warnings(table, keys, labels, time, share, min_rows)
    if table.is_sample:
        notes.decided.append(
            f"{table.sampled:,} of {table.rows:,} rows were sampled to find levels, ranges and leaks; nulls, limits "
            "and spellings were checked in all of them"
        )
    return Plan(
        table=table,
        wishes=wishes,
        fields=tuple(fields),
        target=replace(labels.target, label=wire[wishes.label]),
        labels=labels,
        time=time,
        time_sql=time_sql,
        excluded=tuple(notes.excluded),
        decided=tuple(notes.decided),
        unsure=tuple(notes.unsure),
        holdout=holdout,
        share=share,
        min_rows=min_rows,
    )


def _warnings(
    table: Table, keys: list[str], labels: Labels, time: str | None, share: float, min_rows: int
) -> Iterator[str]:
    if share > Train().holdout:
        yield f"{labels.rows} labelled rows are few: {share:.0%} are held out (config/base.yaml)"
    if min_rows < Gate().min_rows:
        yield (
            f"the gate accepts {min_rows} held-out rows in the environment local (config/local.yaml); elsewhere it "
            f"requires {Gate().min_rows}, which this table cannot give"
        )
    if time and keys and table.profiles[keys[0]].distinct < len(table.profiles[keys[0]].sample):
        yield (
            f"{keys[0]} repeats over {time}: score predicts for every row from before its date; if only the last row "
            "of each is meant, select it in population() of src/model/data.py"
        )
    if table.duplicates:
        yield f"{table.duplicates} rows occur more than once{' in the sample' if table.is_sample else ''}"


def _holdout_size(rows: int) -> tuple[float, int]:
    """Return the share to hold out, larger for a small table, and the held-out rows that the gate requires."""
    share, required = Train().holdout, Gate().min_rows
    while share < MOST_HELD and share * rows < MARGIN * required:
        share = round(share + 0.05, 2)
    return share, required if share * rows >= MARGIN * required else max(1, int(share * rows / MARGIN / 1.5))


def _unknown_column(variable: str, name: str, table: Table) -> LifecycleError:
    known = list(table.source.columns)
    folded = {each.casefold(): each for each in known}
    near = [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    hint = f"Similar: {', '.join(near)}." if near else f"It has {', '.join(known[:12])}{' …' * (len(known) > 12)}"
    return LifecycleError(f"{table.source.path.name} has no column {name!r} ({variable}={name})", hint)


def _exclude_leaks(
    profiles: dict[str, Profile],
    wishes: Wishes,
    time: str | None,
    table: Table,
    labels: Labels,
    notes: Notes,
    chooser: Chooser,
    label_is_settled: bool,
) -> set[str] | str:
    """Return the columns excluded because they leak the label, or the name of the column that is the real label."""
    known = ~np.isnan(labels.sample)
    inputs = {name: profile.sample[known] for name, profile in profiles.items() if name not in wishes.keep}
    found, near = leaks.find(inputs, Label(labels.sample[known], labels.target.classes))
    found += list(_later_times(profiles, wishes, time, table))
    found += [leak for leak in near if _similar_name(leak.columns[0], wishes.label)]
    excluded: set[str] = set()
    for leak in found:
        if excluded.issuperset(leak.columns):
            continue
        options = {"leave out": "leave it out", "keep": "keep it: it is known before the label"}
        if leak.is_twin and not label_is_settled:
            options["label"] = f"it is the label, and {wishes.label} is left out"
        choice = chooser.choose(f"{leak.description}. Keep it?", options, "leave out")
        if choice == "label":
            return leak.columns[0]
        if choice == "keep":
            notes.unsure.append(f"{leak.description}; it was kept")
            continue
        excluded.update(leak.columns)
        for name in leak.columns:
            notes.exclude(name, f"a leak: {leak.how}")
    for leak in near:
        if not excluded.issuperset(leak.columns):
            notes.unsure.append(f"{leak.description}; it was kept. Is it known before the label?")
    return excluded


def _later_times(profiles: dict[str, Profile], wishes: Wishes, time: str | None, table: Table) -> Iterator[Leak]:
    """Yield columns whose times are after the time of the row, so that they were unknown at prediction time."""
    if time is None or table.profiles[time].kind != "time":
        return
    row_times = table.profiles[time].sample
    for name, profile in profiles.items():
        if profile.kind == "time" and name not in wishes.keep:
            both = profile.sample.notna() & row_times.notna()
            after = float((profile.sample[both] > row_times[both]).mean()) if both.any() else 0.0
            if after >= leaks.SURE:
                yield Leak((name,), f"it lies after {time} in {after:.1%} of rows: known only later", after)


def _similar_name(name: str, label: str) -> bool:
    one, two = python_name(name), python_name(label)
    return min(len(one), len(two)) >= 4 and (two in one or one in two)
