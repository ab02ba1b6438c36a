"""The notebook runs, and its outputs are not committed."""

from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from project import ROOT, Project

PATH = ROOT / "notebooks" / "first_look.ipynb"


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(PATH, as_version=4)


def test_the_notebook_runs_from_top_to_bottom(notebook: Any, trained: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFECYCLE_DATA", str(trained.data))
    monkeypatch.setenv("LIFECYCLE_STORAGE", str(trained.storage))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(PATH.parent)}}).execute()
    outputs = {cell.id: str(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"}
    assert trained.newest.version in outputs["metrics"]
    assert "probability" in outputs["offers"]


def test_no_output_is_stored(notebook: Any) -> None:
    stored = [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
    assert stored == [], "clear the outputs before you commit: they may contain personal data"
