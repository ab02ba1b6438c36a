"""The questions, chosen key by key without a terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from support.rendering import Template, questions

ENTER, CLEAR, DOWN, SPACE = "\r", "\x15", "\x1b[B", " "


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    """Yield an input; text that is sent to it is typed."""
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys


def recorded_choices(template: Template, folder: Path) -> dict[str, Any]:
    """Render into a folder with the typed choices, and return the recorded ones."""
    copier.run_copy(template.url, folder, quiet=True, unsafe=False)
    content = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
    return {name: value for name, value in content.items() if not name.startswith("_")}


def test_enter_selects_the_default_of_each_question(template: Template, keyboard: PipeInput, tmp_path: Path) -> None:
    keyboard.send_text(ENTER * len(questions()))
    recorded = recorded_choices(template, tmp_path / "project")
    assert recorded == {name: question["default"] for name, question in questions().items()}


def test_typed_choices_are_recorded(template: Template, keyboard: PipeInput, tmp_path: Path) -> None:
    typed = {"model_name": "card-fraud", "decision": "Welche Karte sperren wir? 😀", "owners": "@ana, @bo, @cy"}
    keyboard.send_text(f"{SPACE}{ENTER}")
    for value in typed.values():
        keyboard.send_text(f"{CLEAR}{value}{ENTER}")
    keyboard.send_text(f"{DOWN}{ENTER}" * 2)
    chosen = {"usage": ["batch"], "ci": "gitlab", "platform": "kubernetes"}
    assert recorded_choices(template, tmp_path / "project") == typed | chosen


def test_an_invalid_choice_can_be_corrected(template: Template, keyboard: PipeInput, tmp_path: Path) -> None:
    """Each first attempt is refused: its Enter has no effect, and the text stays for correction."""
    keyboard.send_text(f"{SPACE}{DOWN}{SPACE}{ENTER}{SPACE}{ENTER}")
    attempts = [("Card Fraud", "card-fraud"), ("  ", "Which card?"), ("ana", "@ana")]
    for invalid, valid in attempts:
        keyboard.send_text(f"{CLEAR}{invalid}{ENTER}{CLEAR}{valid}{ENTER}")
    keyboard.send_text(ENTER * 2)
    recorded = recorded_choices(template, tmp_path / "project")
    assert [*recorded.values()] == ["github", "Which card?", "card-fraud", "@ana", "none", ["batch"]]


def test_ctrl_c_at_a_question_leaves_no_files(template: Template, keyboard: PipeInput, tmp_path: Path) -> None:
    keyboard.send_text(f"{ENTER}\x03")
    with pytest.raises(KeyboardInterrupt):
        recorded_choices(template, tmp_path / "project")
    assert not (tmp_path / "project").exists()
