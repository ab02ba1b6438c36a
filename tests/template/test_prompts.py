"""The questions as a person answers them, key by key, without a terminal."""

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
    """What is sent here is typed."""
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys


def answers(template: Template, folder: Path) -> dict[str, Any]:
    """Render into a folder with what was typed, and return the answers that are remembered."""
    copier.run_copy(template.url, folder, quiet=True, unsafe=False)
    told = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
    return {name: value for name, value in told.items() if not name.startswith("_")}


def test_enter_at_each_question_is_the_default(template: Template, keyboard: PipeInput, tmp_path: Path) -> None:
    keyboard.send_text(ENTER * len(questions()))
    told = answers(template, tmp_path / "project")
    assert told == {name: question["default"] for name, question in questions().items()}


def test_what_is_typed_is_what_is_remembered(template: Template, keyboard: PipeInput, tmp_path: Path) -> None:
    typed = {"model_name": "card-fraud", "decision": "Welche Karte sperren wir? 😀", "owners": "@ana, @bo, @cy"}
    keyboard.send_text(f"{SPACE}{ENTER}")
    for answer in typed.values():
        keyboard.send_text(f"{CLEAR}{answer}{ENTER}")
    keyboard.send_text(f"{DOWN}{ENTER}")
    assert answers(template, tmp_path / "project") == typed | {"usage": ["batch"], "ci": "gitlab"}


def test_a_wrong_answer_is_asked_again(template: Template, keyboard: PipeInput, tmp_path: Path) -> None:
    """Each first attempt is refused, so its Enter does not count and the text stays to be fixed."""
    keyboard.send_text(f"{SPACE}{DOWN}{SPACE}{ENTER}{SPACE}{ENTER}")
    attempts = [("Card Fraud", "card-fraud"), ("  ", "Which card?"), ("ana", "@ana")]
    for wrong, right in attempts:
        keyboard.send_text(f"{CLEAR}{wrong}{ENTER}{CLEAR}{right}{ENTER}")
    keyboard.send_text(ENTER)
    told = answers(template, tmp_path / "project")
    assert [*told.values()] == ["github", "Which card?", "card-fraud", "@ana", ["batch"]]


def test_stopping_in_the_middle_leaves_nothing_behind(template: Template, keyboard: PipeInput, tmp_path: Path) -> None:
    keyboard.send_text(f"{ENTER}\x03")
    with pytest.raises(KeyboardInterrupt):
        answers(template, tmp_path / "project")
    assert not (tmp_path / "project").exists()
