"""`lifecycle check`: what is in order, what is missing, and what is only a warning."""

from pathlib import Path

import pytest

from lifecycle import cli
from lifecycle.contract.compatibility import release
from support.teams import sample_team, settings_in


def test_check_reports_what_is_valid_and_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    team, store = sample_team(), settings_in(tmp_path).store
    (tmp_path / "lifecycle/tools").mkdir(parents=True)
    for name in ("owners.py", "interop"):
        (tmp_path / "lifecycle/tools" / name).symlink_to(Path(cli.__file__).parents[3] / "tools" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFECYCLE_STORAGE", str(store.root))
    monkeypatch.setattr("lifecycle.contract.team.load_contract", lambda: (team.contract, team.features_sql))
    monkeypatch.setattr("lifecycle.contract.team.load_data", lambda: team.data)
    assert cli.main(["check"]) == 1
    assert "contract.json is missing" in capsys.readouterr().err
    release(team.contract, tmp_path)
    assert cli.main(["check"]) == 0
    output = capsys.readouterr()
    assert [line.split(":")[0] for line in output.out.splitlines()] == [
        "ok  config",
        "ok  contract",
        "ok  features.sql",
    ]
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "production.yaml").write_text("storag: x")
    assert cli.main(["check"]) == 1
    assert "config/production.yaml" in capsys.readouterr().err
