"""The error that a person is meant to read."""


class UpdateError(Exception):
    """What is wrong and where, and how to fix it; nothing was changed."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}\n  {hint}" if hint else problem)
