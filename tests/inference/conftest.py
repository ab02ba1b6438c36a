"""Fixtures of the inference tests."""

from pathlib import Path
from typing import Any

import pytest

from support.inference import LABEL, SIGNAL, Inferred, infer, written


@pytest.fixture(params=["csv", "parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """`table(column=values)` infers from a file with these columns, a signal and a label, in both formats."""

    def made(target: str = "label", wishes: dict[str, Any] | None = None, **columns: Any) -> Inferred:
        whole = {name: list(each) for name, each in columns.items()}
        rows = len(next(iter(whole.values())))
        given = {"signal": SIGNAL, "label": LABEL} if target == "label" else {"signal": SIGNAL}
        whole |= {name: list(each[:rows]) for name, each in given.items() if name not in whole}
        return infer(written(tmp_path, whole, f"table.{request.param}"), target, **(wishes or {}))

    return made
