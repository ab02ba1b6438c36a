"""Write the manifest of the template's zone: the hash of each file, and what to use instead of an edit.

`make manifest` runs it. Files that depend on a choice are hashed while the template is rendered.
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
# The first pattern that matches an edited path says what to do instead of the edit.
SEAMS = {
    "lifecycle/src/lifecycle/settings.py": "Set it in config/: make config lists every setting.",
    "lifecycle/src/lifecycle/sample/*": "Declare your own tables in src/model/data.py, or use make contract.",
    "lifecycle/src/lifecycle/serving/*": "Set limits and addresses in config/ (serve); rows in src/model/contract.py.",
    "lifecycle/src/*": "Change it in config/ or src/model/ (contract, features, estimator, data), or add own code.",
    "lifecycle/pyproject.toml": "Add your own dependency with uv add NAME: it goes to the pyproject.toml at the root.",
    "lifecycle/org.mk": "Set the variable in the Makefile above its include, or in org.yml of your company's fork.",
    "lifecycle/*.mk": "Add or override the target in the Makefile, below its include.",
    "lifecycle/ci/*": "Add a job, or override one by its name, in .gitlab-ci.yml.",
    "lifecycle/deploy/*": "Write your own rules next to alerts.yml; copy the dashboard in Grafana to change it.",
    "lifecycle/docs/*": "Write your own page in docs/.",
    ".github/*": "Add your own workflow; the variable RUNNER selects another machine.",
    "*": "Keep it outside lifecycle/: everything else is yours.",
}


def text(root: Path) -> str:
    """Return the manifest of the tree at `root`, as a Jinja template."""
    blocks, entries = [], []
    for name in _zone(root):
        rendered = name.removeprefix("template/").removesuffix(".jinja")
        content = (root / name).read_bytes()
        if name.endswith(".jinja") and (b"{{" in content or b"{%" in content):
            variable = "rendered_" + "".join(character if character.isalnum() else "_" for character in rendered)
            blocks += [f"# {{% set {variable} %}}", f"# {{% include '{name}' %}}", "# {% endset %}"]
            digest = f"{{{{ {variable} | hash('sha256') }}}}"
        else:
            digest = hashlib.sha256(content).hexdigest()
        entries.append(f'    {json.dumps(rendered)}: "{digest}"')
    seams = [f"    {json.dumps(pattern)}: {json.dumps(hint)}" for pattern, hint in SEAMS.items()]
    body = ["{", '  "seams": {', ",\n".join(seams), "  },", '  "files": {', ",\n".join(entries), "  }", "}"]
    return "\n".join([*blocks, *body]) + "\n"


def _zone(root: Path) -> Iterator[str]:
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *ZONE, folder=root)
    yield from (name for name in sorted({*listed.split("\0")} - {"", MANIFEST}) if (root / name).is_file())


def main() -> int:
    """Write the manifest of this checkout."""
    (ROOT / MANIFEST).write_text(text(ROOT), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
