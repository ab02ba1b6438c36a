"""Propose an update of a repository, with a small program in place of `looseleaf update`."""

import subprocess
import sys
from pathlib import Path

from looseleaf.snapshot import git
from support.hosting import Api
from support.rendering import ROOT, run

SECRET = "s3cret-t0ken"
REPORT = "# 0.1.0 → 0.2.0\n\nSafe: `lifecycle/` is replaced.\n"
# Replaces `looseleaf update`: changes files as a safe update does and writes the requested report.
UPDATE = """
import json, os, pathlib, sys
file = sys.argv[sys.argv.index("--output") + 1]
assert sys.argv[sys.argv.index("--format") + 1] == "json"
code, text = int(os.environ.get("CODE", 0)), os.environ.get("TEXT", "new")
print("updating", os.environ.get("LOOSELEAF_TOKEN"), os.environ.get("GITHUB_TOKEN"), file=sys.stderr)
if code == 0 and text:
    pathlib.Path("lifecycle/one.py").write_text(text + "\\n")
    pathlib.Path("lifecycle/added.py").write_text("added\\n")
    pathlib.Path("lifecycle/gone.py").unlink()
if "REPORT" in os.environ:
    report = {"from": "0.1.0", "to": "0.2.0", "safe": code == 0, "up_to_date": not text}
    report["rendered"] = os.environ["REPORT"]
    pathlib.Path(file).write_text(json.dumps(report))
sys.exit(code)
"""
WITHOUT_TOKEN = {"LOOSELEAF_TOKEN": "", "CI": "true"}
COMMON = {"PYTHONPATH": str(ROOT / "hooks"), "NO_PROXY": "127.0.0.1", "REPORT": REPORT}


def environment(host: str, api: Api) -> dict[str, str]:
    if host == "github":
        given = {"GITHUB_API_URL": api.url, "GITHUB_REPOSITORY": "acme/churn", "GITHUB_REF_TYPE": "branch"}
        return given | {"GITHUB_REF_NAME": "main", "LOOSELEAF_TOKEN": SECRET}
    given = {"CI_API_V4_URL": api.url, "CI_PROJECT_ID": "42", "CI_DEFAULT_BRANCH": "main"}
    return given | {"LOOSELEAF_TOKEN": SECRET}


def save(folder: Path, message: str) -> str:
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--no-verify", "--message", message, folder=folder)
    return git("rev-parse", "HEAD", folder=folder)


def prepared(folder: Path, given: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run `looseleaf propose` with the fake update, without the token that may push."""
    program = f"import sys; from looseleaf import propose; sys.exit(propose.run((sys.executable, '-c', {UPDATE!r})))"
    return run(sys.executable, "-c", program, folder=folder, **(COMMON | given | WITHOUT_TOKEN))


def sent(folder: Path, given: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Push what is prepared."""
    return run(sys.executable, "-m", "looseleaf.send", folder=folder, **(COMMON | given))


def proposed(folder: Path, on_host: dict[str, str], **more: str) -> "subprocess.CompletedProcess[str]":
    """Prepare with the fake update and send, as the two jobs do; return the output of both and the last exit code."""
    before = state(folder)
    done = prepared(folder, on_host | more)
    if done.returncode == 0:
        second = sent(folder, on_host | more)
        done = subprocess.CompletedProcess([], second.returncode, done.stdout + second.stdout)
    assert state(folder) == before
    assert SECRET not in done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    return done


def state(folder: Path) -> list[str]:
    """Return everything about a checkout that a run must not change."""
    queries = (
        "rev-parse HEAD",
        "status --porcelain --branch",
        "branch --format=%(refname)",
        "remote -v",
        "config --local -l",
    )
    return [git(*query.split(), folder=folder) for query in queries]
