"""Helpers for tests of jobs: promotion, reading of scores, and a team with other queries."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb

from lifecycle.jobs.promote import promote
from lifecycle.registry import Identity
from lifecycle.registry.deployments import Deployment
from lifecycle.settings import Settings
from support.teams import sample_team

ANA, BO = Identity("ana", "login"), Identity("bo", "login")


def promoted(settings: Settings, **given: Any) -> Deployment:
    """Promote the newest version of the sample's team in local, unless other arguments are given."""
    usual = {
        "environment": "local",
        "version": None,
        "threshold": None,
        "who": ANA,
        "why": "",
        "root": settings.storage,
    }
    return promote(settings, sample_team().data, **usual | given)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file."""
    found = duckdb.connect().execute(f"FROM read_parquet('{path}', hive_partitioning = false)")
    names = [each[0] for each in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def with_queries(team: Any, **sql: Callable[[str], str]) -> Any:
    """Return a team whose data queries are rewritten."""
    data = SimpleNamespace(**{name: getattr(team.data, name) for name in ("tables", "labels", "population", "latest")})
    for name, rewrite in sql.items():
        usual = getattr(team.data, name)
        setattr(data, name, lambda connection, usual=usual, rewrite=rewrite: rewrite(usual(connection)))
    return replace(team, data=data)
