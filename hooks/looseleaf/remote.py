"""The branch of the updates in the remote repository: replaced only where it has no commits of others."""

import os
import re
import subprocess
from pathlib import Path

from looseleaf.errors import StepFailed
from looseleaf.hosts import RETRY, Token
from looseleaf.snapshot import git, identity

BRANCH = "looseleaf-update"
REF = f"refs/heads/{BRANCH}"
# Commits of other authors on the branch are kept.
MAIL = "looseleaf@invalid"
IDENTITY = identity(NAME="looseleaf", EMAIL=MAIL)
TIMEOUT_SECONDS = 300


class Remote:
    """The repository that `origin` names, accessed without the credentials that its address may contain."""

    def __init__(self, root: Path, token: Token) -> None:
        self._root, self._token = root, token
        try:
            url = git("remote", "get-url", "--push", "origin", folder=root)
        except subprocess.CalledProcessError as error:
            raise StepFailed("there is no remote `origin` to push to", "Run git remote add origin URL.") from error
        # GitLab checks out from an address with a token that may not push; git's credential helper has the right one.
        self._url = re.sub(r"^(https?://)[^/@]+@", r"\1", url)

    def branch(self) -> str:
        """Return the commit of the branch, or an empty text when the branch does not exist."""
        return self._git("ls-remote", self._url, REF).split("\t")[0].strip()

    def foreign(self, tip: str, base: str) -> str:
        """Return the commits of the branch that are neither on its base nor made by this command, one a line."""
        shallow = git("rev-parse", "--is-shallow-repository", folder=self._root) == "true"
        self._git("fetch", "--quiet", "--no-tags", *(("--unshallow",) if shallow else ()), self._url, base, REF)
        # FETCH_HEAD starts with the base, which may have moved since the checkout.
        log = git("log", "--format=%ce %h %s", tip, "^HEAD", "^FETCH_HEAD", folder=self._root)
        return "\n".join(line.split(" ", 1)[1] for line in log.splitlines() if not line.startswith(f"{MAIL} "))

    def push(self, commit: str, expected: str, rights: str) -> None:
        """Move the branch to a commit, unless it is no longer at the expected one."""
        try:
            lease = f"--force-with-lease={REF}:{expected}"
            self._git("push", "--quiet", "--no-verify", lease, self._url, f"{commit}:{REF}")
        except StepFailed as failed:
            failed.hint = f"The token in {self._token.variable} needs {rights}."
            if "workflow" in f"{failed}":
                failed.hint = f"Give {self._token.variable} the right `workflows`: .github/workflows changes."
            elif "stale info" in f"{failed}":
                failed.hint = f"Another user has just pushed to the branch. {RETRY}"
            raise

    def _git(self, *arguments: str) -> str:
        return remote_git(self._root, self._token, *arguments)


def remote_git(folder: Path, token: Token, *arguments: str, seconds: int = TIMEOUT_SECONDS) -> str:
    """Run git without prompts and in limited time; raises StepFailed with git's message, without a token in it."""
    quiet = {"GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"}
    try:
        # In a session of its own, ssh finds no terminal to prompt on.
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], env=os.environ | quiet, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=seconds, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        command = token.hide(" ".join(arguments))
        raise StepFailed(f"git {command} took longer than {seconds} s", RETRY) from None
    if done.returncode:
        message = " ".join(token.hide(done.stderr).split())
        raise StepFailed(f"git {arguments[0]} failed: {message[:500]}", "git's message gives the reason.")
    return done.stdout
