"""`contract.json` is the last released contract: it follows compatible changes and refuses breaking ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from lifecycle.contract.compatibility import compare, release
from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError, Refused
from lifecycle.jobs.check import check, warnings
from support.teams import sample_team, settings_in

CONTRACT = sample_team().contract
OPTIONAL = replace(CONTRACT, columns=(*CONTRACT.columns, Column("note", "request", "category", required=False)))
REQUIRED = replace(CONTRACT, columns=(*CONTRACT.columns, Column("note", "request", "category")))


def test_a_released_contract_is_up_to_date_and_written_once(tmp_path: Path) -> None:
    assert release(CONTRACT, tmp_path)
    assert not release(CONTRACT, tmp_path)
    compare(CONTRACT, tmp_path)


def test_a_compatible_change_is_pointed_out_and_released(tmp_path: Path) -> None:
    release(CONTRACT, tmp_path)
    with pytest.raises(LifecycleError, match="breaks no caller") as caught:
        compare(OPTIONAL, tmp_path)
    assert "make contract" in caught.value.hint
    assert release(OPTIONAL, tmp_path)
    compare(OPTIONAL, tmp_path)


def test_a_breaking_change_needs_a_new_version(tmp_path: Path) -> None:
    release(CONTRACT, tmp_path)
    before = (tmp_path / "contract.json").read_text()
    for decide in (compare, release):
        with pytest.raises(Refused, match="the new request field note is required"):
            decide(REQUIRED, tmp_path)
    assert (tmp_path / "contract.json").read_text() == before
    assert release(replace(REQUIRED, version=2), tmp_path)
    with pytest.raises(Refused, match="VERSION is lower"):
        release(replace(REQUIRED, version=1), tmp_path)


def test_check_says_what_is_in_order_and_names_what_is_missing(tmp_path: Path) -> None:
    team, settings = sample_team(), settings_in(tmp_path)
    with pytest.raises(LifecycleError, match=r"contract\.json is missing"):
        check(team.contract, team.features_sql, team.data, settings, tmp_path)
    release(team.contract, tmp_path)
    output = check(team.contract, team.features_sql, team.data, settings, tmp_path)
    assert [line.split(":")[0] for line in output] == ["config", "contract", "features.sql"]
    settings.storage.mkdir()
    assert warnings(settings.store) == []
    settings.store.audit.write_text('{"after": ""}\n{"aft')
    check(team.contract, team.features_sql, team.data, settings, tmp_path)
    [warning] = warnings(settings.store)
    assert str(warning).startswith(f"warning: {settings.store.audit}:2: incomplete line")
    settings.store.audit.unlink()
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "production.yaml").write_text("storag: x")
    with pytest.raises(LifecycleError, match=r"config/production\.yaml"):
        check(team.contract, team.features_sql, team.data, settings, tmp_path)
