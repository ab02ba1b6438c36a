"""Errors whose message is meant for the user, and the commands of make that messages suggest."""

import re

# The commands of make that take REASON, and those that take ENVIRONMENT.
TAKE_REASON = {"train", "promote", "retrain"}
TAKE_ENVIRONMENT = TAKE_REASON | {"config", "approve", "rollback", "collect", "labels", "erase", "monitor", "accept"}
TAKE_ENVIRONMENT |= {"history", "features", "serve", "client", "score", "image", "bundle", "ready"}
TAKE_ENVIRONMENT |= {"up", "down", "sbom", "scheduled"}


class LifecycleError(Exception):
    """A problem that the user can fix: what is wrong, where, and a `hint` what to do. The command exits with code 1."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}\n  {hint}" if hint else problem)


class Refused(LifecycleError):
    """A check or gate refused the operation; nothing is broken and nothing was changed."""


class NotHere(LifecycleError):
    """The tables are missing on this machine; the command line exits with code 3, which CI treats differently."""


def complete_commands(text: str, environment: str, reason: str | None = None) -> str:
    """Return a text whose commands of make, such as `make train`, name environment and `reason`, if not the default."""

    def completed(command: re.Match[str]) -> str:
        goals, missing = {*command[1].split()}, ""
        if goals & TAKE_REASON and reason not in (None, "manual") and " REASON=" not in command[0]:
            missing = f" REASON={reason}"
        if goals & TAKE_ENVIRONMENT and environment != "local" and " ENVIRONMENT=" not in command[0]:
            missing += f" ENVIRONMENT={environment}"
        return f"`make {command[1]}{missing}`"

    return re.sub(r"`make ([^`]+)`", completed, text)
