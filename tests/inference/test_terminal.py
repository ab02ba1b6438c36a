"""Questions in a real terminal: what the user sees, and what remains after they stop."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pexpect
import pyte
import pytest

from support import PATIENCE
from support.rendering import Template, tool

CURSOR = b"\x1b[6n"
ENTER, CLEAR, STOP, DOWN, SPACE = "\r", "\x15", "\x03", "\x1b[B", " "


class Terminal:
    """A program in a terminal of 80 columns, and its screen."""

    def __init__(self, *command: str) -> None:
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        environment = os.environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
        self._program = pexpect.spawn(
            command[0], [*command[1:]], env=environment, dimensions=(24, 80), timeout=PATIENCE, echo=False
        )

    def press(self, keys: str) -> None:
        """Send keys."""
        self._program.send(keys)

    def wait_for(self, text: str, whole: bool = False) -> None:
        """Wait until the text is on the screen; fail with the screen otherwise.

        With `whole`, fail at once when the line of a reason has no column left, because it is cut.
        """
        while text not in self.text:
            if whole and re.search(r"^Validation error.*\S$", "\n".join(self.screen.display), re.MULTILINE):
                pytest.fail(f"{text!r} is cut:\n{self.text}")
            try:
                self._read()
            except (pexpect.EOF, pexpect.TIMEOUT):
                pytest.fail(f"{text!r} was never shown:\n{self.text}")

    def exit_code(self) -> int | None:
        """Wait for the end; returns None after a signal."""
        try:
            while True:
                self._read()
        except pexpect.EOF:
            self._program.close()
        return self._program.exitstatus

    @property
    def text(self) -> str:
        """The text on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display).strip()

    def _read(self) -> None:
        data: bytes = self._program.read_nonblocking(4096, timeout=PATIENCE)  # type: ignore[assignment]
        self._stream.feed(data)
        if CURSOR in data:
            # The program queries the position of the cursor, which a terminal returns.
            self.press(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")


@pytest.fixture
def copy(template: Template, tmp_path: Path) -> Callable[[], Terminal]:
    """Start `copier copy` into tmp_path / "project"."""
    return lambda: Terminal(tool("copier"), "copy", template.url, str(tmp_path / "project"))


def test_the_questions_lead_to_the_next_command(copy: Callable[[], Terminal], tmp_path: Path) -> None:
    terminal = copy()
    terminal.wait_for("How will predictions be used?")
    terminal.press(SPACE + DOWN + SPACE + ENTER)
    terminal.wait_for("[online], [batch] or [online, batch]")
    terminal.press(SPACE + ENTER)
    terminal.wait_for("What is the name of the model?")
    terminal.press(CLEAR + "Card Fraud" + ENTER)
    terminal.wait_for("lower-case words, joined by hyphens")
    terminal.press(CLEAR + "card-fraud" + ENTER)
    terminal.wait_for("Which decision does a prediction improve")
    terminal.press(ENTER)
    terminal.wait_for("Who owns it?")
    terminal.press(CLEAR + "@ana" + ENTER)
    terminal.wait_for("Which host runs the checks")
    terminal.press(DOWN + ENTER)
    terminal.wait_for("Which platform")
    terminal.press(ENTER)
    terminal.wait_for("card-fraud is rendered. Next, in")
    terminal.wait_for("git init && make setup")
    terminal.wait_for("make score")
    assert terminal.exit_code() == 0
    assert (tmp_path / "project/.gitlab-ci.yml").exists()
    assert not (tmp_path / "project/lifecycle/src/lifecycle/serving").exists()
    assert 'name = "card-fraud-model"' in (tmp_path / "project/pyproject.toml").read_text(encoding="utf-8")


def test_questions_and_reasons_can_be_read_whole_in_80_columns(copy: Callable[[], Terminal]) -> None:
    terminal = copy()
    terminal.wait_for("(space, then Enter).")
    terminal.wait_for("batch: everyone is scored as of a date")
    terminal.press(ENTER)
    questions = [
        ("joined by hyphens.", "x" * 41, "at most 40 characters"),
        ("One sentence.", " ", "one sentence is required"),
        ("science, engineering, product).", "ana", "@ana; or @ana, @bo, @cy; or nobody yet"),
    ]
    for end_of_question, wrong, reason in questions:
        terminal.wait_for(end_of_question)
        terminal.press(CLEAR + wrong + ENTER)
        terminal.wait_for(reason, whole=True)
        terminal.press(STOP if wrong == "ana" else CLEAR + "a" + ENTER)
    assert terminal.exit_code() == 1


def test_stopping_leaves_no_folder_and_is_reported(copy: Callable[[], Terminal], tmp_path: Path) -> None:
    terminal = copy()
    terminal.wait_for("How will predictions be used?")
    terminal.press(ENTER)
    terminal.wait_for("What is the name of the model?")
    terminal.press(STOP)
    assert terminal.exit_code() == 1
    assert "Execution stopped by user" in terminal.text
    assert not (tmp_path / "project").exists()


@pytest.fixture
def contract(template: Template, tmp_path: Path) -> Callable[..., Terminal]:
    """Start `looseleaf contract infer` on a table with two possible keys and a column that equals the label."""
    project = template.copy(tmp_path / "project")
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/ruff").symlink_to(tool("ruff"))
    rows = [f"{at},u-{at:04},{at * 7919 % 101},{at % 2},{'ny'[at % 2]}" for at in range(60)]
    (tmp_path / "table.csv").write_text("\n".join(["id,uuid,x,copy,label", *rows]) + "\n")
    code = f"import os, sys; os.chdir({str(project)!r}); from looseleaf.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [tool("python"), "-c", code, "contract", "infer", "--data", str(tmp_path / "table.csv")]
    return lambda *options: Terminal(*command, *options)


def test_a_user_is_prompted_where_a_choice_matters(contract: Callable[..., Terminal], tmp_path: Path) -> None:
    terminal = contract()
    terminal.wait_for("Which column is to be predicted?")
    terminal.press(ENTER)  # the last one
    terminal.wait_for("Which column is the key")
    terminal.press(DOWN + ENTER)
    terminal.wait_for("Keep it?")
    terminal.press(DOWN + ENTER)
    terminal.wait_for("next: make check test train promote score")
    assert terminal.exit_code() == 0
    written = (tmp_path / "project/src/model/contract.py").read_text(encoding="utf-8")
    assert "uuid: Annotated[str, Key()]" in written
    assert "copy_: Annotated[bool" in written


def test_accepting_all_defaults_shows_no_question(contract: Callable[..., Terminal], tmp_path: Path) -> None:
    terminal = contract("--label", "label", "--yes")
    terminal.wait_for("next: make check test train promote score")
    assert terminal.exit_code() == 0
    assert "copy_:" not in (tmp_path / "project/src/model/contract.py").read_text(encoding="utf-8")


def test_ctrl_c_at_a_question_writes_nothing(contract: Callable[..., Terminal], tmp_path: Path) -> None:
    before = (tmp_path / "project/contract.json").read_bytes()
    terminal = contract("--label", "label")
    terminal.wait_for("Which column is the key")
    terminal.press(STOP)
    terminal.wait_for("nothing was written")
    assert terminal.exit_code() == 130
    assert (tmp_path / "project/contract.json").read_bytes() == before
    assert not (tmp_path / "project/data").exists()
