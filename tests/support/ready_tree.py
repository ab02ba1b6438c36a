"""A repository with complete evidence for the 28 rows of readiness, written by hand, and edits of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from looseleaf.ready.evidence import read
from looseleaf.ready.score import Row, Score, evaluate
from looseleaf.snapshot import git, identity
from support.rendering import TEMPLATE

NOW = timestamps.parse("2026-06-01")
VERSION, TRAINED = "20260520T100000000000-0123abcd", "2026-05-20T10:00:00+00:00"
AGREEMENT = (
    "# Agreement\n\n| Question | Decision |\n|---|---|\n| Slice limit | 0.1 |\n| How long, and {} | a year; none |\n"
)
DATED = "storage/reports/local/20260530T000000Z/monitoring.json"
DECISION = f"storage/reports/local/decisions/{VERSION}-20260520T101000Z.json"
BUNDLE, DRILLS = f"storage/bundles/{VERSION}/bundle.json", "build/ready/drills.json"


class Tree:
    """The repository in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def json(self, name: str, change: Callable[[Any], object]) -> None:
        """Change a JSON document in place."""
        path = self.folder / name
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document), encoding="utf-8")

    def text(self, name: str, old: str, new: str) -> None:
        """Replace a text that occurs in a file, and commit the file if git has it."""
        path = self.folder / name
        content = path.read_text(encoding="utf-8")
        assert old in content
        path.write_text(content.replace(old, new), encoding="utf-8")

    def score(self, now: int = NOW) -> Score:
        """Return the score as of a time."""
        return evaluate(read(self.folder, "local", now))

    def rows(self, now: int = NOW) -> dict[str, Row]:
        """Return the rows by id as of a time."""
        return {row.id: row for row in self.score(now).rows}

    def problem(self) -> str:
        """Return why nothing counts."""
        return read(self.folder, "local", NOW).problem

    def lost(self) -> set[str]:
        """Return the ids of the rows without a whole point."""
        return {row.id for row in self.score().rows if row.points < 1}


def check(name: str, **numbers: Any) -> dict[str, Any]:
    """Return a check of the gate that passed."""
    return {"name": name, "outcome": "passed", "text": f"{name} is as it should be", "numbers": numbers, "hint": ""}


def interval(value: float) -> dict[str, float]:
    return {"rows": 400, "value": value, "lower": value - 0.03, "upper": value + 0.03}


def bundle() -> dict[str, Any]:
    names = ["golden.jsonl", "model.onnx", "model.skops", "training.ids", "holdout.ids"]
    return {
        "version": VERSION,
        "name": "churn",
        "created": TRAINED,
        "as_of": "2026-05-20T00:00:00Z",
        "data": "d1",
        "estimator": "candidate",
        "kind": "onnx",
        "lifecycle": "0.3.0",
        "code": {"commit": "a" * 40, "edited": False},
        "owners": {"data-science": ["ana"], "engineering": ["bo"], "product": ["cy"]},
        "benefits": {"plan": {"mean": 0.01, "se": 0.002}, "discount": {"mean": 0.02, "se": 0.002}},
        "slices": {"plan=basic": interval(0.78), "plan=plus": interval(0.8)},
        "dominant": "",
        "metrics": {"candidate": {"roc_auc": 0.8, "log_loss": 0.3}, "trivial": {"roc_auc": 0.5, "log_loss": 0.5}},
        "rows": {"training": 4000, "holdout": 800},
        "settings": {"seed": 0, "windows": 6},
        "files": {name: "f" * 64 for name in names},
    }


def report(environment: str = "local", version: str = VERSION) -> dict[str, Any]:
    quality = {"metric": "roc_auc", "labelled": 900, "overall": interval(0.79), "expected": 0.8, "bound": 0.75}
    return {
        "as_of": "2026-05-30T00:00:00Z",
        "environment": environment,
        "version": version,
        "verdict": "ok",
        "reasons": [],
        "windows": [{"rows": 900, "columns": {"plan": {"broken": None}}}],
        "quality": quality,
        "skew": {"rows": 900, "different": 0, "columns": {}},
    }


def drills() -> dict[str, Any]:
    at = timestamps.parse("2026-05-31")
    fault = {"verdict": "incident", "text": "the fault was found"}
    improvement = {"mean": -0.001, "lower": -0.01, "upper": 0.008}
    found: dict[str, Any] = {
        "pipeline": {"data": "d1", "equal": {"model.onnx": True}},
        "performance": {"before": 0.2, "after": 0.2},
        "staleness": {"measure": "ROC AUC", "days": 180, "mean": 0.02, "lower": 0.01, "upper": 0.03},
        "tuning": {"measure": "ROC AUC", "tried": [{"setting": "learning_rate=0.05"} | improvement]},
        "rollback": {"version": "v0", "restored": True, "recorded": True},
        "monitoring": {"log": VERSION, "clean": {"verdict": "ok", "text": "ok"}}
        | dict.fromkeys(("nulls", "invalid", "skew"), fault),
        "erasure": {"erased": 3, "left": 0, "others": 0},
    }
    return {"version": VERSION, "drills": {name: {"at": at} | each for name, each in found.items()}}


def decision() -> dict[str, Any]:
    names = ("rows", "trivial", "linear", "champion", "slices", "size")
    checks = [*map(check, names), check("latency", milliseconds=0.2), check("fairness", limit=0.1, tested=2, worse={})]
    return {"verdict": "passed", "decided_at": "2026-05-20T10:10:00Z", "overridden": [], "checks": checks}


def deployment(environment: str, changed: str) -> dict[str, Any]:
    live = {"version": VERSION, "threshold": 0.5}
    return {
        "environment": environment,
        "revision": 1,
        "live": live,
        "previous": None,
        "who": "ana",
        "why": "better",
        "changed": changed,
    }


def write(folder: Path) -> Tree:
    """Write the repository with complete evidence, as of NOW."""
    made = {"local": "2026-05-20T10:20:00+00:00", "staging": "2026-05-20T10:15:00+00:00"}
    tests = ("tests.test_features::a", "tests.test_data::b", "tests.test_behaviour::c")
    cases = "".join('<testcase classname="{}" name="{}"/>'.format(*each.split("::")) for each in tests)
    documents: dict[str, Any] = {
        BUNDLE: bundle(),
        f"storage/bundles/{VERSION}/evidence.json": {"predictions": {"candidate": [0.1, 0.9], "refit": [0.2, 0.8]}},
        "storage/deployments/local.json": {"format": 1} | deployment("local", made["local"]),
        DECISION: decision(),
        DATED: report(),
        DRILLS: drills(),
    }
    lines = [json.dumps({"action": "promote"} | deployment(name, made[name])) for name in ("staging", "local")]
    texts = {name: json.dumps(each) for name, each in documents.items()}
    texts |= {"storage/audit.jsonl": "\n".join(lines) + "\n", "build/tests.xml": f"<testsuites>{cases}</testsuites>"}
    texts |= {"docs/agreement.md": AGREEMENT.format("whose data must never be in them?"), "OWNERS": "x: y\n"}
    texts |= {".gitignore": "/build/\n/storage/\n", "config/base.yaml": "# none\n"}
    for name in ("contract.json", "src/model/features.sql"):
        texts[name] = (TEMPLATE / name).read_text(encoding="utf-8")
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("contract.json", "features.sql"):
        source = folder / ("src/model/features.sql" if name == "features.sql" else name)
        shutil.copy(source, folder / "storage/bundles" / VERSION)
    git("init", "--quiet", "--template=", folder=folder)
    git("add", "--all", folder=folder)
    git(
        "commit",
        "--quiet",
        "--message",
        "first",
        folder=folder,
        **identity(NAME="ana", EMAIL="a@b", DATE="2026-05-19T00:00:00Z"),
    )
    return Tree(folder)


def simulate(tree: Tree) -> None:
    """Turn the served predictions into those of a simulated year."""
    storage = tree.folder / "build/year/storage"
    shutil.copytree(tree.folder / "storage/bundles", storage / "bundles")
    (tree.folder / DATED).parent.rename(tree.folder / "storage/reports/moved")
    target = storage / "reports/local/20251231T000000Z"
    target.parent.mkdir(parents=True)
    (tree.folder / "storage/reports/moved").rename(target)
    (tree.folder / "build/year.json").write_text("{}", encoding="utf-8")
