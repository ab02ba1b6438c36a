"""The branch of the updates in the repository that origin names: seen, compared and moved, never overwritten."""

import os
import re
import subprocess
from pathlib import Path

from looseleaf.hosts import Token
from looseleaf.snapshot import git
from looseleaf.steps import StepFailed

BRANCH = "looseleaf-update"
REF = f"refs/heads/{BRANCH}"
# By whom the commits of that branch are: those of everybody else are kept.
MAIL = "looseleaf@invalid"
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "looseleaf"), ("EMAIL", MAIL))
}
LONGEST_SECONDS = 300
WORKFLOWS = "GITHUB_TOKEN never is. Make LOOSELEAF_TOKEN a secret that has the right `workflows`."


class Remote:
    """The repository that origin names, asked without what its address may hold before the @."""

    def __init__(self, root: Path, token: Token) -> None:
        self._root, self._token = root, token
        # The address that GitLab checks out from carries a token that may not push; git's helper has the other one.
        try:
            url = git("remote", "get-url", "--push", "origin", folder=root)
        except subprocess.CalledProcessError as error:
            raise StepFailed("git knows no remote origin to push to", "Run git remote add origin URL.") from error
        self._url = re.sub(r"^(https?://)[^/@]+@", r"\1", url)

    def branch(self) -> str:
        """The commit of the branch, or an empty text where there is none."""
        return self._git("ls-remote", self._url, REF).split("\t")[0].strip()

    def foreign(self, there: str, base: str) -> str:
        """Commits of the branch that are neither on its base nor made by this command, a line each."""
        shallow = git("rev-parse", "--is-shallow-repository", folder=self._root) == "true"
        self._git("fetch", "--quiet", "--no-tags", *(("--unshallow",) if shallow else ()), self._url, base, REF)
        # The base may have moved since it was checked out; git fetch notes it first.
        told = git("log", "--format=%ce %h %s", there, "^HEAD", "^FETCH_HEAD", folder=self._root)
        return "\n".join(line.split(" ", 1)[1] for line in told.splitlines() if not line.startswith(f"{MAIL} "))

    def push(self, commit: str, there: str, rights: str) -> None:
        """Move the branch to a commit, unless it is no longer where it was seen."""
        try:
            self._git(
                "push", "--quiet", "--no-verify", f"--force-with-lease={REF}:{there}", self._url, f"{commit}:{REF}"
            )
        except StepFailed as failed:
            if "workflow" in f"{failed}":
                failed.hint = f"{self._token.variable} may not change .github/workflows: {WORKFLOWS}"
            elif "stale info" in f"{failed}":
                failed.hint = "Somebody has just pushed to it: the next run looks again."
            else:
                failed.hint = f"The token in {self._token.variable} needs {rights}."
            raise

    def _git(self, *arguments: str) -> str:
        """Run git against the remote, asking nobody; raises StepFailed with its words, no token in them."""
        command = ["git", "-C", str(self._root), *arguments]
        try:
            done = subprocess.run(
                command, env=os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, errors="replace", timeout=LONGEST_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise StepFailed(
                f"git {arguments[0]} took longer than {LONGEST_SECONDS} s", "The next run tries again."
            ) from None
        if done.returncode:
            said = " ".join(self._token.hide(done.stderr).split())
            raise StepFailed(f"git {arguments[0]} was refused: {said[:500]}", "git's own words say why.")
        return done.stdout
