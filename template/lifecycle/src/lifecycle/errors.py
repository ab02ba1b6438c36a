"""The one error that a person is meant to read."""


class LifecycleError(Exception):
    """What is wrong and where (`problem`), and how to fix it (`hint`).

    The command line prints both without a traceback and ends with exit code 1.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}\n  {hint}" if hint else problem)


class Refused(LifecycleError):
    """A gate decided no: nothing was broken and nothing was changed."""


class NotHere(LifecycleError):
    """The tables are not where this runs; the command line ends with exit code 3, so that CI can tell it apart."""
