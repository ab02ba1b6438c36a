"""The errors that a user of `looseleaf` reads. Standard library only: an interrupted update is restored with it."""

# Lines of a failed command's output that are kept.
TAIL = 25
# Exit code of an update that needs a manual decision.
NEEDS_A_PERSON = 3


class StepFailed(Exception):
    """A step of a command failed; `hint` says what to do, `tail` is the end of its output."""

    def __init__(self, problem: str, hint: str = "", tail: str = "") -> None:
        super().__init__(problem)
        self.problem, self.hint, self.tail = problem, hint, "\n".join(tail.splitlines()[-TAIL:])


class UpdateError(StepFailed):
    """An update is not possible; nothing was changed."""

    def __str__(self) -> str:
        return "\n".join(part for part in (self.tail, self.problem, self.hint and f"  {self.hint}") if part)
