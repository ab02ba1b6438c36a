"""The error that a person is meant to read."""


class UpdateError(Exception):
    """What is wrong and where, and how to mend it; nothing was changed."""

    def __init__(self, problem: str, mend: str = "") -> None:
        self.problem = problem
        self.mend = mend
        super().__init__(f"{problem}\n  {mend}" if mend else problem)
