"""The notebook runs, and its outputs are not committed."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from project import ROOT, Project

PATH = ROOT / "notebooks" / "first_look.ipynb"


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(PATH, as_version=4)


def test_the_notebook_runs_from_top_to_bottom(
    notebook: Any, folder: Path, trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_DATA", str(folder))
    monkeypatch.setenv("LIFECYCLE_STORAGE", str(trained.storage))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(PATH.parent)}}).execute()
    shown = {cell.id: str(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"}
    assert trained.newest.version in shown["metrics"]
    assert "prediction" in shown["prediction"]


def test_no_output_is_committed(notebook: Any) -> None:
    stored = [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
    assert stored == [], "clear the outputs before you commit: they may hold people's data"
