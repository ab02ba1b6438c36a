"""`lifecycle check`: what is in order, what is missing, and what is only a warning."""

from pathlib import Path

import pytest

from lifecycle.contract.compatibility import release
from lifecycle.errors import LifecycleError
from lifecycle.jobs.check import check, warnings
from support.teams import sample_team, settings_in


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
