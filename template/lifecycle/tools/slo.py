"""The command `make slo`: derive Prometheus rules from the service level objectives in docs/slo.yaml (OpenSLO v1).

Each objective becomes four alerts. One fires while the errors of a long and of a short window both use up the error
budget faster than a factor (Beyer et al., The Site Reliability Workbook, 2018, chapter 5, table 5-8); the short window
ends it soon after the errors end.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lifecycle.errors import LifecycleError, Refused
from lifecycle.storage import write_atomically

SOURCE, RULES = Path("docs/slo.yaml"), Path("docs/slo-rules.yml")
HEADER = (
    f"# This file is derived from {SOURCE} by make slo: change {SOURCE} and run it again; an edit here is refused.\n"
)
# Factor of the budget's use, long window, short window, severity.
BURNS = ((14.4, "1h", "5m", "page"), (6, "6h", "30m", "page"), (3, "1d", "2h", "ticket"), (1, "3d", "6h", "ticket"))
EXAMPLE = "lifecycle/docs/readiness.md has an example."


def main(root: Path = Path()) -> int:
    """Write the rules; returns 0, or 1 where the objectives are missing or not valid."""
    try:
        write_atomically(root / RULES, (HEADER + derive(root)).encode())
    except LifecycleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{RULES}: {len(BURNS)} alerts for each of {len(list(objectives(root)))} objectives; load it into Prometheus")
    return 0


def check(root: Path) -> None:
    """Print that the objectives are valid; raises LifecycleError where they are not, or the rules differ from them."""
    if not (root / SOURCE).exists():
        return
    wanted, path = HEADER + derive(root), root / RULES
    if path.exists() and path.read_text(encoding="utf-8") != wanted:
        raise Refused(f"{RULES} differs from the objectives in {SOURCE}", "`make slo` derives it again; commit both.")
    print(f"ok  objectives: {SOURCE}" + (f", and {RULES} follows from it" if path.exists() else ""))


def derive(root: Path) -> str:
    """Return a file of rules for Prometheus as text; raises LifecycleError as `objectives` does."""
    groups = [{"name": f"slo-{each['name']}", "rules": list(_rules(each))} for each in objectives(root)]
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000, allow_unicode=True)


def objectives(root: Path) -> Iterator[dict[str, Any]]:
    """Yield name, target, owner, runbook and queries of each objective; LifecycleError names what is not valid."""
    if not (root / SOURCE).is_file():
        hint = f"`make update TAKE={SOURCE}` adds it, or write your own: {EXAMPLE}"
        raise LifecycleError(f"{SOURCE} is missing", hint)
    try:
        documents = list(yaml.safe_load_all((root / SOURCE).read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LifecycleError(f"{SOURCE} is not YAML: {error}", "Correct the line that the message names.") from error
    for number, document in enumerate(documents, 1):
        try:
            name, spec, notes = (
                document["metadata"]["name"],
                document["spec"],
                document["metadata"].get("annotations", {}),
            )
            ratio = spec["indicator"]["spec"]["ratioMetric"]
            kind = "bad" if "bad" in ratio else "good"
            queries = {each: str(ratio[each]["metricSource"]["spec"]["query"]) for each in (kind, "total")}
            (target,) = (float(each["target"]) for each in spec["objectives"])
            if any(each.get("duration") != "30d" for each in spec.get("timeWindow", [])):
                raise ValueError("the factors of the alerts are those of a timeWindow of 30d")
            if not 0 < target < 1 or document["apiVersion"] != "openslo/v1" or document["kind"] != "SLO":
                raise ValueError("apiVersion is openslo/v1, kind is SLO, and a target is above 0 and below 1")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            problem = f"{SOURCE}: document {number} is not an objective with one target and a ratioMetric ({what})"
            raise LifecycleError(problem, EXAMPLE) from error
        facts = {
            "owner": notes.get("owner", "engineering"),
            "runbook": notes.get("runbook", "lifecycle/docs/runbook.md"),
        }
        yield {"name": name, "target": target, "kind": kind} | queries | facts


def _rules(objective: dict[str, Any]) -> Iterator[dict[str, Any]]:
    budget = round(1 - objective["target"], 9)
    title = "".join(part.capitalize() for part in objective["name"].split("-"))
    for factor, long, short, severity in BURNS:
        parts = (f"{_errors(objective, window)} > {factor:g} * {budget:g}" for window in (long, short))
        labels = {"owner": objective["owner"], "severity": severity, "slo": objective["name"], "window": long}
        summary = (
            f"The error budget of {objective['name']} ({objective['target']:g}) is used {factor:g} times too fast."
        )
        yield {
            "alert": f"{title}BudgetBurn",
            "expr": " and ".join(parts),
            "labels": labels,
            "annotations": {"summary": summary, "runbook": objective["runbook"]},
        }


def _errors(objective: dict[str, Any], window: str) -> str:
    """Return the share of errors in a window as PromQL."""
    counted, total = (f"sum by (job) (rate({objective[each]}[{window}]))" for each in (objective["kind"], "total"))
    return f"({counted} / {total})" if objective["kind"] == "bad" else f"(1 - {counted} / {total})"


if __name__ == "__main__":
    sys.exit(main())
