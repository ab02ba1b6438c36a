"""Compare the lifted function with the notebook, and its predictions for rows alone, in batches and as JSON."""

from __future__ import annotations

import collections
import json
import random
from typing import Any

import numpy as np
import pandas as pd

from . import labels
from .values import as_json, comparable, compared, frequent, line_of, module, placeholder, plain, row_keys, rows, short

SAMPLE, GOLDEN, FEW = 25, 40, 500


class Verification:
    """The lifted function of a job, compared with a prediction that the tracer recorded."""

    def __init__(self, job: Any, tracer: Any, report: Any) -> None:
        self.job, self.tracer, self.report = job, tracer, report
        self.prediction = tracer.recorder.predictions[job["prediction"]]
        self.method = self.prediction["method"]
        self.raw = self._requests()
        self.module = module("model.learned", job["learned"])
        self.features = module("model.lifted", job["text"]).features
        facts = ((name, str(each.dtype), bool(each.isna().any())) for name, each in self.raw.items())
        self.columns: dict[str, Any] = {str(name): {"dtype": dtype, "nulls": nulls} for name, dtype, nulls in facts}
        self.values: dict[str, Any] = {}
        self.label, self.inverse = job.get("label") or "", ""
        self.placeholder: Any = None
        self.levels: Any = {}

    def result(self) -> dict[str, Any]:
        """Return every comparison with its counts, learned values, unused columns and suspected leaks.

        A comparison that cannot run differs, with its error.
        """
        parities = {}
        for name in ("slice", "batch", "rows", "json", "retrain"):
            self.report({"step": f"the comparison {name}"})
            try:
                parities[name] = getattr(self, f"_{name}")()
            except Exception as error:
                text = f"{type(error).__name__}: {error}"[:300]
                parities[name] = {"equal": False, "error": f"{text}{line_of(error, self.job)}"}
            if not parities[name]["equal"] and name in ("slice", "batch"):
                break
        columns = self._columns() if all(each["equal"] for each in parities.values()) else {}
        values = {key: short(value) for key, value in self.values.items()}
        facts = {"label": self.label, "inverse": self.inverse, "values": values, "columns": self.columns}
        return {"parities": parities, "classes": self.prediction["classes"], **facts, **columns}

    def _slice(self) -> dict[str, Any]:
        """Train with the random states of the notebook; the predictions must be the notebook's own."""
        learned = self._trained(self._training_table())
        self.values = learned.values
        return self._like_notebook(learned)

    def _trained(self, table: Any) -> Any:
        """Return what training learns with the random states of the notebook."""
        states = self.tracer.states

        def restore(at: int) -> None:
            np.random.set_state(states[at][0])
            random.setstate(states[at][1])

        trained = module("model.lifted_with_states", self.job["text_with_states"], __restore__=restore)
        learned = self.module.Learned(files=True)
        trained.features(table, learned)
        return learned

    def _batch(self) -> dict[str, Any]:
        """Predict all raw rows without their label; the notebook's rows must have the notebook's predictions."""
        _, target, _ = self.tracer.recorder.fits.get(self.prediction["identity"], (None, None, None))
        facts = labels.search(self._training_table(), target, self.label, self._by_content)
        self.label, inverse, self.placeholder, self.levels = facts
        self.inverse = "" if self.prediction["classes"] else inverse
        table, outputs, rejected = self._serve(self.raw)
        if outputs is None and self.raw.get(self.label, pd.Series()).isna().any():
            # The notebook predicts the rows whose label is missing.
            self.placeholder = np.nan
            table, outputs, rejected = self._serve(self.raw)
        if outputs is None or rows(table) != len(self.raw) - len(rejected):
            problem = f"{rows(table)} rows for {len(self.raw) - len(rejected)} requests"
            return {"equal": False, "error": f"the rows that are predicted are not the rows of the table: {problem}"}
        self.accepted = [at for at in range(len(self.raw)) if at not in rejected]
        self.rejected, self.outputs, self.inputs = rejected, comparable(outputs), comparable(table)
        self.names = list(map(str, getattr(table, "columns", ())))
        positions = self._positions(self.inputs)
        missing = sum(at is None for at in positions)
        found = [at for at in positions if at is not None]
        expected = self.prediction["outputs"][[at is not None for at in positions]]
        inputs = self.prediction["inputs"][[at is not None for at in positions]]
        result = compared(expected, self.outputs[found], (inputs, self.inputs[found], self.names))
        if 0 < missing <= 1.5 * self.job["resampled"] * len(positions):
            # Resampling such as SMOTE generates rows that are not in the table; a random split has about their share.
            result["note"], missing = f"{missing} rows that resampling generated were not compared", 0
        result.update(rows=len(found) + missing, equal=result["equal"] and not missing, rejected=len(rejected))
        if missing:
            result["error"] = f"{missing} of {len(positions)} rows of the notebook's prediction are not among them"
        return result

    def _rows(self) -> dict[str, Any]:
        """Predict rows one at a time."""
        return self._alone(lambda row: row)

    def _json(self) -> dict[str, Any]:
        """Predict rows one at a time that were written and read as JSON."""
        return self._alone(lambda row: self.module.as_table(pd.DataFrame(json.loads(as_json(row))), self.columns))

    def _retrain(self) -> dict[str, Any]:
        """Train again; without a seed the predictions may differ."""
        learned = self.module.Learned(files=True)
        self.features(self._training_table(), learned)
        result = self._like_notebook(learned)
        if not result["equal"] and self.job["random"]:
            result.pop("error", None)
            result.update(equal=True, note=f"{self.job['random']}: predictions differ")
        return result

    def _requests(self) -> Any:
        """Return the rows to predict, with every column of the table of the fit."""
        tables = self.tracer.recorder.tables
        whole, found = tables[self.job["source"]], tables[self.job["request"]].reset_index(drop=True)
        for name in whole.columns.difference(found.columns):
            found[name] = pd.Series([frequent(whole[name])] * len(found)).astype(whole[name].dtype)
        return found[list(whole.columns)]

    def _like_notebook(self, learned: Any) -> dict[str, Any]:
        outputs = comparable(getattr(learned.model, self.method)(learned.model_input))
        names = list(map(str, getattr(learned.model_input, "columns", ())))
        inputs = (self.prediction["inputs"], comparable(learned.model_input), names)
        return compared(self.prediction["outputs"], outputs, inputs)

    def _by_content(self, table: Any, _: Any) -> Any:
        """Return for each row of the fit the position of the only row of the table from which it is computed, or -1."""
        inputs, _, rejected = self._serve(table.reset_index(drop=True))
        accepted = [at for at in range(len(table)) if at not in rejected]
        if rows(inputs) != len(accepted):
            return None
        found: dict[bytes, list[int]] = {}
        for at, key in zip(accepted, row_keys(comparable(inputs))):
            found.setdefault(key, []).append(at)
        fitted = row_keys(comparable(self.tracer.recorder.fits[self.prediction["identity"]][0]))
        return np.array([found[key][0] if len(found.get(key, ())) == 1 else -1 for key in fitted])

    def _alone(self, convert: Any) -> dict[str, Any]:
        chosen = np.random.RandomState(0).permutation(len(self.accepted))[:SAMPLE]
        outputs, tables = [], []
        for at in chosen:
            row = self.raw.iloc[[self.accepted[at]]].reset_index(drop=True)
            table, output, rejected = self._serve(convert(row))
            if rejected:
                return {"equal": False, "error": f"a row is rejected alone and not in a batch: {rejected[0]}"}
            outputs.append(comparable(output)[0])
            tables.append(comparable(table)[0])
        is_same = len({each.shape for each in tables}) == 1
        inputs = (self.inputs[chosen], np.array(tables), self.names) if is_same else None
        return compared(self.outputs[chosen], np.array(outputs), inputs)

    def _serve(self, raw: Any, values: Any = None) -> Any:
        table = raw.copy()
        if self.label in table:
            # A request has no label: a frequent one that the conditions for the fit accept takes its place.
            value = frequent(self.raw[self.label]) if self.placeholder is None else self.placeholder
            table[self.label] = pd.Series([value] * len(table), table.index).astype(self.raw[self.label].dtype)
        return self.module.serve(self.features, table, values or self.values, self.method)

    def _training_table(self) -> Any:
        return self.tracer.recorder.tables[self.job["source"]].copy()

    def _positions(self, table: Any) -> list[int | None]:
        """Return for each row of the notebook's prediction its position in the batch, by its label or its content."""
        index, count = self.prediction["index"], len(self.prediction["outputs"])
        original, found = self.tracer.recorder.tables[self.job["request"]].index, None
        same = row_keys(self.prediction["inputs"])
        here = row_keys(table)
        if index is not None and original.is_unique and original.dtype.kind in "iuf":
            place = dict(zip(original.astype("float64"), range(len(original))))
            batch = {at: number for number, at in enumerate(self.accepted)}
            found = [batch.get(place.get(each, -1)) for each in index]
            if all(at is not None and here[at] == key for at, key in zip(found, same)):
                return found
        numbers = dict(zip(here, range(len(here))))
        by_content = [numbers.get(key) for key in same[:count]]
        # Where contents differ, the labels of the rows show which.
        return found if None in by_content and found and None not in found else by_content

    def _columns(self) -> dict[str, Any]:
        """Find columns whose values do not matter, and the rows that are rejected."""
        unused = []
        # A table is often sorted, so that the first rows have one value of a column.
        few = self.raw.iloc[self.accepted[:: len(self.accepted) // FEW + 1]].reset_index(drop=True)
        # Probabilities change where a decision does not.
        model = self.prediction["object"]
        self.method = "predict_proba" if hasattr(model, "predict_proba") else self.method
        before = comparable(self._serve(few)[1])
        for name in self.raw.columns:
            changed = few.copy()
            changed[name] = np.roll(few[name].to_numpy(), len(few) // 2 + 1)
            try:
                _, outputs, rejected = self._serve(changed)
                if not rejected and compared(before, comparable(outputs))["equal"]:
                    unused.append(str(name))
            except Exception:
                continue
        unused = labels.droppable(unused, self.label, self._predicted)
        for name in {*unused, self.label} & self.columns.keys():
            # A request does not have it, and the author's lines may name it.
            self.columns[name]["value"] = placeholder(self.raw[name].iloc[self.accepted])
        if self.placeholder is not None:
            self.columns[self.label]["value"] = plain(self.placeholder)
        used = [name for name in self.raw.columns if str(name) not in unused]
        rules, unruled = labels.rules(self.raw, self.rejected)
        facts: dict[str, Any] = {"unused": unused, "rejected": dict(collections.Counter(self.rejected.values()))}
        leaks = labels.leaks(self._training_table(), used, self.label)
        facts.update(leaks=leaks, rules=rules, unruled=unruled, method=self.method)
        facts["levels"] = labels.levels(self.prediction["classes"], self.levels, self.raw.get(self.label))
        return {**facts, "golden": self._golden([each for each in used if each != self.label])}

    def _predicted(self, dropped: list[str]) -> Any:
        """Train and predict all accepted rows without these columns; None where that fails."""
        if set(dropped) <= {self.label} and not self.rejected:
            return self.outputs
        self.report({"step": "the search for unused columns"})
        table, few = self._training_table(), self.raw.iloc[self.accepted]
        # In the repository, training does not have the rows that are rejected.
        table = table.iloc[self.accepted] if self.job["source"] == self.job["request"] else table
        try:
            table = table.drop(columns=[name for name in dropped if name != self.label])
            columns = {name: {**facts, "value": placeholder(few[name])} for name, facts in self.columns.items()}
            values = self._trained(self.module.as_table(table, columns)).values
            _, outputs, rejected = self._serve(self.module.as_table(few.drop(columns=dropped), columns), values)
            return None if rejected else comparable(outputs)
        except Exception:
            return None

    def _golden(self, used: list[Any]) -> list[dict[str, Any]]:
        """Return rows of which no two values are of the same person, each with what the notebook's model predicts."""
        few = self.raw.iloc[np.random.RandomState(0).permutation(self.accepted)]
        mixed = pd.DataFrame({name: np.roll(few[name].to_numpy(), at)[:GOLDEN] for at, name in enumerate(used)})
        _, outputs, rejected = self._serve(self.module.as_table(mixed, self.columns))
        rows = [row for at, row in enumerate(json.loads(as_json(mixed))) if at not in rejected]
        found = np.atleast_1d(getattr(np, self.inverse or "asarray")(comparable(outputs))).tolist()
        return [{"row": row, "output": output} for row, output in zip(rows, found)]
