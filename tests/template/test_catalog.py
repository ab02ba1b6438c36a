"""Backstage's own validator takes the catalog-info that is derived from OWNERS, and no broken one."""

import json
import os
import shutil
from pathlib import Path

import pytest

from lifecycle.ownership import derive
from lifecycle.ownership.reading import read
from support.owned import owners_text
from support.rendering import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("catalog"),
    # Where the tools of the suite are promised, their absence is a failure.
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
    """A folder with Backstage's catalogue model, and a script that asks it."""
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "package.json").write_text('{"name": "asks", "version": "1.0.0", "private": true, "type": "module"}')
    packages = ("@backstage/catalog-model@^1.7.0", "yaml@^2.0.0")
    done = run("npm", "install", "--no-audit", "--no-fund", *packages, folder=folder)
    assert done.returncode == 0, done.stdout
    (folder / "validate.mjs").write_text(VALIDATOR, encoding="utf-8")
    return folder


def validate(validator: Path, text: str) -> tuple[int, str]:
    (validator / "catalog-info.yaml").write_text(text, encoding="utf-8")
    done = run("node", "validate.mjs", "catalog-info.yaml", folder=validator)
    return done.returncode, done.stdout


def derived(people: dict[str, list[str]] | None = None) -> str:
    owners, findings = read(owners_text(people).encode())
    assert findings == []
    return derive.catalog(owners, "card-fraud-2", "Wer \"kündigt\" \\n, und wer 'bleibt'? 😀 #: - [a, *b")


@pytest.mark.parametrize(
    ("people", "kind", "name"),
    [(None, "group", "eng"), ({"engineering": ["ana"]}, "user", "ana"), ({"product": ["a/b/c-d"]}, "group", "c-d")],
)
def test_backstage_takes_the_component(
    validator: Path, people: dict[str, list[str]] | None, kind: str, name: str
) -> None:
    code, said = validate(validator, derived(people))
    assert code == 0, said
    assert json.loads(said) == {"kind": kind, "namespace": "default", "name": name}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('  owner: "group:eng"\n', "", "owner"),
        ('name: "card-fraud-2"', 'name: "card fraud"', "metadata.name"),
        ("kind: Component", "kind: Compo nent", "kind"),
        ("  type: ml-model\n", "", "type"),
        ("ownership/product", "owner ship/product", "annotations"),
    ],
)
def test_backstage_refuses_a_broken_one(validator: Path, old: str, new: str, told: str) -> None:
    text = derived()
    assert old in text
    code, said = validate(validator, text.replace(old, new))
    assert code == 1, said
    assert told in said.split("Error: ")[1].split("\n")[0]
