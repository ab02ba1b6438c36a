"""Write the manifest of the template's zone: the hash of each file, and what to use instead of an edit.

`make manifest` runs it. Files that depend on a choice are hashed while the template is rendered.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from looseleaf.snapshot import git

MANIFEST = "template/lifecycle/manifest.json.jinja"
ZONE = ("template/lifecycle", "template/.github", "template/uv.toml.jinja")
# Rendered only where a fork sets the package index; elsewhere a file of this name is the team's.
OPTIONAL = {"uv.toml": "org_index_url"}
# The first pattern that matches an edited path says what to do instead of the edit.
SEAMS = {
    "lifecycle/src/lifecycle/settings.py": "Set it in config/: make config lists every setting.",
    "lifecycle/src/lifecycle/sample/*": "Declare your own tables in src/model/data.py, or use make contract.",
    "lifecycle/src/lifecycle/serving/*": "Set limits and addresses in config/ (serve); rows in src/model/contract.py.",
    "lifecycle/src/*": "Change it in config/ or src/model/ (contract, features, estimator, data), or add own code.",
    "lifecycle/pyproject.toml": "Add your own dependency with uv add NAME: it goes to the pyproject.toml at the root.",
    "lifecycle/org.mk": "Set the variable in the Makefile above its include, or in org.yml of your company's fork.",
    "uv.toml": "Move your settings to [tool.uv] in pyproject.toml; UV_DEFAULT_INDEX selects another index.",
    "lifecycle/*.mk": "Add or override the target in the Makefile, below its include.",
    "lifecycle/ci/*": "Add a job, or override one by its name, in .gitlab-ci.yml.",
    "lifecycle/deploy/*": "Write your own rules next to alerts.yml; copy the dashboard in Grafana to change it.",
    "lifecycle/docs/*": "Write your own page in docs/.",
    ".github/*": "Add your own workflow; the variable RUNNER selects another machine.",
    "*": "Keep it outside lifecycle/: everything else is yours.",
}


def text(root: Path) -> str:
    """Return the manifest of the tree at `root`, as a Jinja template."""
    dependent, entries = [], []
    for name in _zone(root):
        rendered = name.removeprefix("template/").removesuffix(".jinja")
        content = (root / name).read_bytes()
        if name.endswith(".jinja") and (b"{{" in content or b"{%" in content):
            dependent.append(rendered)
        else:
            entries.append(f'    {json.dumps(rendered)}: "{hashlib.sha256(content).hexdigest()}"')
    seams = [f"    {json.dumps(pattern)}: {json.dumps(hint)}" for pattern, hint in SEAMS.items()]
    names = " + ".join(
        [str([name for name in dependent if name not in OPTIONAL])]
        + [f"([{name!r}] if {condition} else [])" for name, condition in OPTIONAL.items() if name in dependent]
    )
    hashed = [
        f"# {{% for name in {names} %}}",
        "# {% set content %}",
        "# {% include 'template/' ~ name ~ '.jinja' %}",
        "# {% endset %}",
        """    "{{ name }}": "{{ content | hash('sha256') }}",""",
        "# {% endfor %}",
    ]
    body = [*(hashed if dependent else []), ",\n".join(entries)]
    return "\n".join(["{", '  "seams": {', ",\n".join(seams), "  },", '  "files": {', *body, "  }", "}", ""])


def _zone(root: Path) -> Iterator[str]:
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *ZONE, folder=root)
    yield from (name for name in sorted({*listed.split("\0")} - {"", MANIFEST}) if (root / name).is_file())


def write(root: Path) -> None:
    """Write the manifest of the tree at `root`."""
    (root / MANIFEST).write_text(text(root), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[1])
