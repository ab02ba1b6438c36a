"""Is a converted model the one that was trained? Each entry of the table becomes a right graph, or falls back."""

import pytest

from support.exports import TABLE, Entry, exported, fitted, wrong_on_fresh_rows


def test_the_table_is_long_enough() -> None:
    assert len({entry.name for entry in TABLE}) == len(TABLE) >= 60


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_a_graph_is_right_on_rows_that_nobody_compared_or_it_falls_back(entry: Entry) -> None:
    model = fitted(entry)
    found = exported(model, entry.nulls)
    if found.graph is not None:
        assert wrong_on_fresh_rows(model, found.graph, entry.nulls) == 0
    else:
        assert found.report["reason"]
        assert found.report["step"]
    assert found.report["kind"] == entry.kind, found.summary
