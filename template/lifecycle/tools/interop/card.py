"""Write docs/model-card.md for the deployed version, with metadata as Hugging Face reads it, and check it.

The last line holds the version, and hashes of the text and of the files that the card was made from, so that the check
needs no storage: `make check` also runs where no version is.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from lifecycle import settings
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle
from lifecycle.ownership import approvals
from lifecycle.registry import deployments

PATH, AGREEMENT = Path("docs/model-card.md"), Path("docs/agreement.md")
# The card states what they say.
SOURCES = ("contract.json", "OWNERS", AGREEMENT.as_posix())
FOOTER = re.compile(r"\n<!-- looseleaf (\{.*\}) -->\n\Z")
LIBRARIES = {"onnx": "onnx", "skops": "sklearn"}
AGAIN = "Run `make card`; what people have to add belongs in docs/agreement.md."


def text(root: Path, bundle: Bundle, deployment: deployments.Deployment | None) -> str:
    """Return the card of a version: metadata, the card in its bundle, its deployment, owners and agreement."""
    environment = deployment.environment if deployment else ""
    parts = [f"---\n{yaml.safe_dump(metadata(bundle), sort_keys=False, allow_unicode=True)}---\n"]
    if "card.md" not in bundle.facts["files"]:
        problem = f"{bundle.version} was trained by an earlier lifecycle, which wrote no card"
        raise LifecycleError(problem, "Run `make train promote` for a version that has one.")
    parts.append(bundle.read("card.md").decode().strip() + "\n")
    parts.append(f"## Deployment\n\n- version {bundle.version}, lifecycle {bundle.facts.get('lifecycle', 'unknown')}")
    if deployment and deployment.current.version == bundle.version:
        limit = deployment.current.threshold
        parts.append(f"- deployed in {environment}{f' with the threshold {limit:g}' if limit is not None else ''}")
    roles = approvals.roles(root)
    parts += [f"- {role}: {', '.join(handles) or 'not assigned'}" for role, handles in roles.items()]
    if (root / AGREEMENT).is_file():
        # Its headings become those of a section.
        agreement = (root / AGREEMENT).read_text(encoding="utf-8").strip()
        parts.append("\n" + re.sub(r"^(#+ )", r"#\1", agreement, flags=re.MULTILINE))
    whole = "\n".join(parts) + "\n"
    about = {"environment": environment, "version": bundle.version, "sources": _sources(root), "text": _hash(whole)}
    return f"{whole}\n<!-- looseleaf {json.dumps(about)} -->\n"


def metadata(bundle: Bundle) -> dict[str, Any]:
    """Return the metadata of a card as Hugging Face specifies it; the metrics are those of the rows held out."""
    facts, target = bundle.facts, bundle.contract.target
    task = "tabular-regression" if target.task == "regression" else "tabular-classification"
    scores = [{"type": name, "value": value, "name": name} for name, value in metrics(bundle).items()]
    data = {"type": "tabular", "name": f"{target.label}, labels known at {facts.get('as_of')}", "split": "holdout"}
    results = [{"task": {"type": task}, "dataset": data, "metrics": scores}]
    library = {"library_name": LIBRARIES[bundle.kind]} if bundle.kind in LIBRARIES else {}
    own = {"license": "unknown", "pipeline_tag": task, "tags": ["tabular", "looseleaf", target.task]}
    named = {"model-index": [{"name": facts["name"], "results": results}]} if scores else {}
    return library | own | {"model_name": facts["name"], "version": bundle.version} | named


def metrics(bundle: Bundle) -> dict[str, float]:
    """Return the metrics of the model that a bundle holds, on the rows held out."""
    found: dict[str, float] = bundle.facts.get("metrics", {}).get(bundle.facts.get("estimator", "candidate"), {})
    return found


def check(root: Path) -> str:
    """Return a line about the card, or nothing where there is none.

    Raises LifecycleError where it was edited, or describes another state than that of the files and of the storage.
    """
    if not (root / PATH).exists():
        return ""
    content = (root / PATH).read_text(encoding="utf-8")
    found = FOOTER.search(content)
    try:
        about = json.loads(found[1]) if found else {}
    except ValueError:
        about = {}
    if found is None or about.get("text") != _hash(content[: found.start()]):
        raise LifecycleError(f"{PATH} was edited", AGAIN)
    now = _sources(root)
    if changed := [name for name in now if about["sources"].get(name) != now[name]]:
        raise LifecycleError(f"{PATH} is older than {changed[0]}", AGAIN)
    # What is deployed locally differs between machines.
    if about["environment"] not in ("", "local"):
        store = settings.load(root, about["environment"]).settings.store
        # The copy of a bucket may be old.
        deployment = None if store.bucket else deployments.read(store, about["environment"])
        if deployment and deployment.current.version != about["version"]:
            problem = f"{PATH} describes {about['version']}, deployed is {deployment.current.version}"
            raise LifecycleError(problem, AGAIN)
    return f"ok  {PATH}: version {about['version']}\n"


def _sources(root: Path) -> dict[str, str]:
    return {name: _hash((root / name).read_text(encoding="utf-8")) for name in SOURCES if (root / name).is_file()}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
