"""Errors whose message is meant for the user."""


class LifecycleError(Exception):
    """A problem that the user can fix. The command line prints it without a traceback and exits with code 1.

    Args:
        problem: what is wrong, and where.
        hint: what to do about it.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}\n  {hint}" if hint else problem)


class Refused(LifecycleError):
    """A check or gate refused the operation; nothing is broken and nothing was changed."""


class NotHere(LifecycleError):
    """The tables are missing on this machine; the command line exits with code 3, which CI treats differently."""
