"""Collect, monitor, and retrain if due, for a scheduled CI job; `send` opens an issue about what a person has to read.

The job that runs the team's code has no token of the CI host, and the one that opens the issue runs this file alone.
Standard library only, for that reason.
"""

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

LIFECYCLE = ".venv/bin/lifecycle"
ISSUE = Path("build/scheduled/issue.json")
VERDICT = re.compile(r"^(ok|no data|watch|retrain|incident): ", re.MULTILINE)
# What `lifecycle retrain` prints when it has trained: whether the gate has passed the version.
OUTCOME = re.compile(r"^(promoted|refused): ", re.MULTILINE)
QUIET = ("ok", "no data")
FOOTER = """
lifecycle/docs/runbook.md says what to do about each finding. A version reaches production only by the job that promotes
it (lifecycle/docs/deploying.md). The next run updates this text; close the issue when it is dealt with.
"""


def run(environment: str) -> int:
    """Run the three commands and write the issue; return the exit code of the first that fails, 0 without any."""
    printed, failed, code = "", "", 0
    for command in (["collect"], ["monitor"], ["retrain", "--due"]):
        line = [LIFECYCLE, *command, "--environment", environment]
        # Progress and errors go to the log of the job only, because an error may name what no issue should.
        done = subprocess.run(line, stdout=subprocess.PIPE, encoding="utf-8", check=False)
        print(done.stdout, flush=True)
        printed += f"$ lifecycle {' '.join(line[1:])}\n{done.stdout}\n"
        if code := done.returncode:
            failed = command[0]
            break
    ISSUE.parent.mkdir(parents=True, exist_ok=True)
    ISSUE.write_text(json.dumps(issue(environment, printed, failed)), encoding="utf-8")
    return code


def issue(environment: str, printed: str, failed: str) -> dict[str, str]:
    """Return title and body of the issue about what the commands printed; empty where there is nothing to read."""
    verdict, outcome = ((found := pattern.search(printed)) and found[1] for pattern in (VERDICT, OUTCOME))
    if outcome:
        title = f"Retraining in {environment}: {outcome}"
    elif failed and verdict != "incident":
        title = f"`make {failed}` failed in {environment}"
    elif verdict not in QUIET:
        title = f"Monitoring of {environment}: {verdict}"
    else:
        return {}
    given = os.environ.get
    page = f"{given('GITHUB_SERVER_URL')}/{given('GITHUB_REPOSITORY')}/actions/runs/{given('GITHUB_RUN_ID')}"
    page = page if given("GITHUB_ACTIONS") else given("CI_JOB_URL", "this machine")
    # An indented block is shown as it is, whatever the names of columns contain. GitHub refuses 65,536 characters.
    quoted = "".join(f"    {line}\n" for line in printed[-50_000:].splitlines())
    return {"title": title, "body": f"The scheduled run at {page} printed:\n\n{quoted}{FOOTER}"}


def send() -> int:
    """Open the issue, or update the open one with the same title; return 1 where the host refuses."""
    found = json.loads(ISSUE.read_text(encoding="utf-8"))
    if not found:
        print("There is nothing that a person has to read.")
        return 0
    given = {name: value for name, value in os.environ.items() if value}
    if {"GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN"} <= given.keys():
        issues = f"{given['GITHUB_API_URL']}/repos/{given['GITHUB_REPOSITORY']}/issues"
        headers = {"Authorization": f"Bearer {given['GITHUB_TOKEN']}", "Accept": "application/vnd.github+json"}
        query = {"state": "open", "creator": "github-actions[bot]", "per_page": "100"}
        body, number, change, rights = "body", "number", "PATCH", "GITHUB_TOKEN needs issues: write"
    elif {"CI_API_V4_URL", "CI_PROJECT_ID", "LOOSELEAF_TOKEN"} <= given.keys():
        issues = f"{given['CI_API_V4_URL']}/projects/{given['CI_PROJECT_ID']}/issues"
        headers = {"PRIVATE-TOKEN": given["LOOSELEAF_TOKEN"]}
        query = {"state": "opened", "search": found["title"], "in": "title", "per_page": "100"}
        body, number, change, rights = "description", "iid", "PUT", "LOOSELEAF_TOKEN needs the scope api"
    else:
        print("error: this is not a job of GitHub or GitLab with a token (LOOSELEAF_TOKEN on GitLab)", file=sys.stderr)
        return 1
    content = {"title": found["title"], body: found["body"]}
    try:
        opened = call("GET", f"{issues}?{urllib.parse.urlencode(query)}", headers)
        same = [each[number] for each in opened if each["title"] == found["title"] and "pull_request" not in each]
        method, url = (change, f"{issues}/{same[0]}") if same else ("POST", issues)
        done = call(method, url, headers, content)
    except (OSError, http.client.HTTPException, ValueError) as error:
        print(f"error: the issue was not opened: {error}; {rights}", file=sys.stderr)
        return 1
    print(f"{found['title']}: {done.get('html_url') or done.get('web_url')}")
    return 0


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, because urllib would send the token to the other address."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Return no request."""


def call(method: str, url: str, headers: dict[str, str], content: dict[str, str] | None = None) -> Any:
    """Return the parsed response of the host's API; OSError or ValueError where there is none."""
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, headers | {"Content-Type": "application/json"}, method=method)
    with urllib.request.build_opener(NoRedirect).open(request, timeout=30) as response:
        return json.load(response)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make scheduled", description=__doc__)
    parser.add_argument("part", choices=["run", "send"])
    parser.add_argument("--environment", default="local")
    arguments = parser.parse_args()
    sys.exit(send() if arguments.part == "send" else run(arguments.environment))
