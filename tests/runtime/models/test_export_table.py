"""Each estimator of the table becomes an equal graph, or its bundle falls back to skops."""

import pytest

from support.export_table import TABLE
from support.exports import Entry, differing_fresh_rows, exported, fitted


def test_the_table_has_at_least_60_different_estimators() -> None:
    assert len({entry.name for entry in TABLE}) == len(TABLE) >= 60


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_a_graph_is_equal_on_rows_that_were_not_compared_or_the_bundle_falls_back(entry: Entry) -> None:
    model = fitted(entry)
    found = exported(model, entry.nulls)
    if found.graph is not None:
        assert differing_fresh_rows(model, found.graph, entry.nulls) == 0
    else:
        assert found.report["reason"]
    assert found.report["kind"] == entry.kind, found.summary
