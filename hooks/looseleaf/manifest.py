"""The manifest of the template's zone: the hash of each file an update replaces, and what to use instead of an edit.

`make manifest` writes it. What an answer changes is hashed while it is rendered.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from looseleaf.snapshot import git

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = "template/lifecycle/manifest.json.jinja"
ZONE = ("template/lifecycle", "template/.github")
# The first pattern that fits a path says what its edit should have been.
SEAMS = {
    "lifecycle/src/lifecycle/settings.py": "Set it in config/: make config lists every setting.",
    "lifecycle/src/lifecycle/sample/generate.py": "Your own tables come in src/model/data.py, or by make contract.",
    "lifecycle/src/lifecycle/serving/*": "Set limits and addresses in config/ (serve); rows in src/model/contract.py.",
    "lifecycle/src/*": "Say it in config/ or src/model/ (contract, features, estimator, data), with your own code.",
    "lifecycle/pyproject.toml": "Add your own dependency with uv add NAME: it goes to the pyproject.toml at the root.",
    "lifecycle/org.mk": "Set the variable in the Makefile above its include, or in org.yml of your company's fork.",
    "lifecycle/*.mk": "Add or override the target in the Makefile, below its include.",
    "lifecycle/ci/*": "Add a job, or override one by its name, in .gitlab-ci.yml.",
    "lifecycle/deploy/*": "Write rules of your own beside alerts.yml; copy the dashboard in Grafana to change it.",
    "lifecycle/docs/*": "Write your own page in docs/.",
    ".github/*": "Add a workflow of your own beside it; another machine is the variable RUNNER.",
    "*": "Keep it outside lifecycle/: everything else is yours.",
}


def text(root: Path) -> str:
    """The manifest for the tree at `root`, as a Jinja template."""
    blocks, entries = [], []
    for name in _zone(root):
        rendered = name.removeprefix("template/").removesuffix(".jinja")
        if name.endswith(".jinja"):
            variable = "rendered_" + "".join(sign if sign.isalnum() else "_" for sign in rendered)
            blocks += [f"# {{% set {variable} %}}", f"# {{% include '{name}' %}}", "# {% endset %}"]
            digest = f"{{{{ {variable} | hash('sha256') }}}}"
        else:
            digest = hashlib.sha256((root / name).read_bytes()).hexdigest()
        entries.append(f'    {json.dumps(rendered)}: "{digest}"')
    seams = [f"    {json.dumps(pattern)}: {json.dumps(told)}" for pattern, told in SEAMS.items()]
    body = ["{", '  "seams": {', ",\n".join(seams), "  },", '  "files": {', ",\n".join(entries), "  }", "}"]
    return "\n".join([*blocks, *body]) + "\n"


def _zone(root: Path) -> Iterator[str]:
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *ZONE, folder=root)
    for name in sorted({*listed.split("\0")} - {"", MANIFEST}):
        if (root / name).is_file():
            yield name


def main() -> int:
    """Write it where the checkout lies."""
    (ROOT / MANIFEST).write_text(text(ROOT), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
