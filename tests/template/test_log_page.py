"""The prediction log in `lifecycle/docs/monitoring.md`: query, columns, settings and commands are those of the code."""

import re
from pathlib import Path

import duckdb
import pytest

from lifecycle.contract.schema import Target
from lifecycle.monitoring.collect import collect
from lifecycle.registry import labels, predictions
from lifecycle.settings import Settings
from lifecycle.storage import Store
from support.logs import line, write
from support.rendering import TEMPLATE
from support.storages import Storage

PAGE = (TEMPLATE / "lifecycle/docs/monitoring.md").read_text(encoding="utf-8").partition("## Prediction log")[2]
SEGMENTS = "storage/predictions/<environment>/segments/"


def test_the_query_reads_what_was_collected_and_the_columns_are_the_documented_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage(Store(Settings().storage), Settings().storage / "drafts")
    segment = write(storage.store, "a.jsonl", line(storage.publish().version))
    assert segment.parent.as_posix() + "/" == SEGMENTS.replace("<environment>", "local")
    assert SEGMENTS in PAGE
    collect(storage.store, "local")
    (query,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    found = duckdb.sql(query)
    documented = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE.split("### Labels")[0], re.MULTILINE)))
    )
    assert documented == {*predictions.FACTS, "prediction"}
    assert documented < set(found.columns)
    assert "probability" in predictions.prediction_columns(Target("binary", "x", ("a", "b")))


def test_settings_labels_and_commands_are_there() -> None:
    named = re.findall(r"`(log|monitor)\.(\w+)`", PAGE)
    assert {name for section, name in named if section == "log"} == set(Settings().log.model_dump())
    assert all(hasattr(getattr(Settings(), section), name) for section, name in named)
    assert set(labels.COLUMNS) - {"key"} <= set(re.findall(r"`(\w+)`", PAGE))
    targets = "".join(path.read_text(encoding="utf-8") for path in (TEMPLATE / "lifecycle").glob("*.mk"))
    for target, option in re.findall(r"`make (\w+)(?: (\w+)=)?", PAGE):
        assert re.search(rf"^{target}: .*{option}", targets, re.MULTILINE), target
