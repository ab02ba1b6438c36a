"""Backstage's own validator accepts the catalog-info that is derived from OWNERS, and no broken one."""

import json
import os
import shutil
from pathlib import Path

import owners as derived
import pytest

from support.owned import owners_of, owners_text
from support.rendering import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("catalog"),
    # Where LOOSELEAF_TOOLS promises the tools of the suite, a missing one is a failure.
    pytest.mark.skipif(
        not shutil.which("npm") and not os.environ.get("LOOSELEAF_TOOLS"), reason="npm is not on this machine"
    ),
]
VALIDATOR = """
import { readFileSync } from 'node:fs';
import * as model from '@backstage/catalog-model';
import { parse } from 'yaml';
const policies = model.EntityPolicies.allOf([
  new model.SchemaValidEntityPolicy(), new model.FieldFormatEntityPolicy(), new model.NoForeignRootFieldsEntityPolicy(),
]);
const entity = parse(readFileSync(process.argv[2], 'utf-8'));
await policies.enforce(entity);
if (!await model.componentEntityV1alpha1Validator.check(entity)) throw new Error('no Component');
const ref = model.parseEntityRef(entity.spec.owner, { defaultKind: 'group', defaultNamespace: 'default' });
console.log(JSON.stringify(ref));
"""


@pytest.fixture(scope="session")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with Backstage's catalogue model and a script that validates a component."""
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "package.json").write_text('{"name": "validator", "version": "1.0.0", "private": true, "type": "module"}')
    packages = ("@backstage/catalog-model@^1.7.0", "yaml@^2.0.0")
    done = run("npm", "install", "--no-audit", "--no-fund", *packages, folder=folder)
    assert done.returncode == 0, done.stdout
    (folder / "validate.mjs").write_text(VALIDATOR, encoding="utf-8")
    return folder


def validate(validator: Path, text: str) -> tuple[int, str]:
    (validator / "catalog-info.yaml").write_text(text, encoding="utf-8")
    done = run("node", "validate.mjs", "catalog-info.yaml", folder=validator)
    return done.returncode, done.stdout


def component(people: dict[str, list[str]] | None = None) -> str:
    return derived.catalog(
        owners_of(owners_text(people)), "card-fraud-2", "Wer \"kündigt\" \\n, und wer 'bleibt'? 😀 #: - [a, *b"
    )


@pytest.mark.parametrize(
    ("people", "kind", "name"),
    [(None, "group", "eng"), ({"engineering": ["ana"]}, "user", "ana"), ({"product": ["a/b/c-d"]}, "group", "c-d")],
)
def test_backstage_accepts_the_component(
    validator: Path, people: dict[str, list[str]] | None, kind: str, name: str
) -> None:
    code, output = validate(validator, component(people))
    assert code == 0, output
    assert json.loads(output) == {"kind": kind, "namespace": "default", "name": name}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('  owner: "group:eng"\n', "", "owner"),
        ('name: "card-fraud-2"', 'name: "card fraud"', "metadata.name"),
        ("kind: Component", "kind: Compo nent", "kind"),
        ("  type: ml-model\n", "", "type"),
        ("ownership/product", "owner ship/product", "annotations"),
    ],
)
def test_backstage_refuses_a_broken_one(validator: Path, old: str, new: str, problem: str) -> None:
    text = component()
    assert old in text
    code, output = validate(validator, text.replace(old, new))
    assert code == 1, output
    assert problem in output.split("Error: ")[1].split("\n")[0]
