"""`make audit IMAGE=…` with an engine that writes a small archive of an image, and programs in place of the tools."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.builders import Repository, archive

NAME = "churn-serve:1"
SITE = "app/.venv/lib/python3.11/site-packages"
# numpy comes with the second layer, in a newer version; the runtime is built from the repository.
LAYERS = (
    [f"{SITE}/numpy-2.0.0.dist-info/METADATA", "usr/lib/python3.11/site-packages/pip-9.0.1.dist-info/METADATA"],
    [f"{SITE}/looseleaf_lifecycle-0.1.0.dist-info/{each}" for each in ("METADATA", "direct_url.json")],
    [f"{SITE}/tqdm-4.0.0.dist-info/METADATA", f"{SITE}/tqdm/std.py"],
)
# `save` and, of buildah, `push` copy the archive to the path that they are given; a build does nothing.
ENGINE = """#!/bin/sh
case "$1 $2" in
  "save --output="*) [ "$3" = {name} ] && cat {archive} > "${{2#--output=}}" ;;
  "push {name}") case "$3" in docker-archive:*) cat {archive} > "${{3#docker-archive:}}" ;; esac ;;
  build*) ;;
  "push --digestfile="*) printf sha256:1 > "${{2#--digestfile=}}" ;;
  "image inspect") printf 'other@sha256:2\n%s@sha256:1\n' "${{4%:*}}" ;;
  *) echo "argument: $0 $*" ;;
esac || {{ echo "no such image" >&2; exit 1; }}
"""
# Records what is looked up; finds what the file `found` has, and the known vulnerability.
UV = """#!/bin/sh
while [ "$1" != --requirement ]; do shift; done
case "$2" in
  *known.txt) echo '{{"dependencies": [{{"name": "pip", "version": "9.0.1", "vulns": [{{"id": "PYSEC-1"}}]}}]}}' ;;
  *) cat "$2" > {folder}/looked-up; cat {folder}/found ;;
esac
"""


@pytest.fixture
def repository(render: Callable[..., Path], tmp_path: Path) -> Repository:
    made = Repository.of(render(platform="kubernetes"), tmp_path)
    (made.programs / "cat").symlink_to("/bin/cat")
    (tmp_path / "image.tar").write_bytes(archive(*LAYERS))
    program(made, "uv", UV.format(folder=tmp_path))
    finds(made)
    return made


def program(repository: Repository, name: str, text: str) -> None:
    (repository.programs / name).write_text(text)
    (repository.programs / name).chmod(0o755)


def engine(repository: Repository, name: str = "docker", image: str = NAME) -> None:
    program(repository, name, ENGINE.format(archive=repository.folder.parent / "image.tar", name=image))


def finds(repository: Repository, *ids: str) -> None:
    vulnerable = {"name": "numpy", "version": "2.0.0", "vulns": [{"id": each, "fix_versions": []} for each in ids]}
    (repository.folder.parent / "found").write_text(json.dumps({"dependencies": [vulnerable]}))


@pytest.mark.parametrize("name", ["docker", "podman", "buildah"])
def test_the_packages_that_are_in_an_image_are_looked_up(repository: Repository, name: str) -> None:
    engine(repository, name)
    done = repository.make("audit", f"IMAGE={NAME}")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == [
        "not looked up, because they were not installed from an index: looseleaf_lifecycle",
        f"ok  packages of {NAME}: 0 of 2 are vulnerable",
        f"skipped  operating system of {NAME}: neither grype nor trivy is installed here",
    ]
    assert (repository.folder.parent / "looked-up").read_text() == "numpy==2.0.0\ntqdm==4.0.0\n"


def test_a_vulnerable_package_in_an_image_fails_unless_it_is_accepted(repository: Repository) -> None:
    engine(repository)
    finds(repository, "PYSEC-2026-1")
    done = repository.make("audit", f"IMAGE={NAME}")
    assert done.returncode == 2
    assert f"numpy 2.0.0: PYSEC-2026-1; fixed in no version yet\nfailed  packages of {NAME}: 1 of 2" in done.stdout


@pytest.mark.parametrize(("name", "option"), [("grype", "docker-archive:"), ("trivy", "--input=")])
def test_a_scanner_examines_the_operating_system(repository: Repository, name: str, option: str) -> None:
    engine(repository)
    program(
        repository,
        name,
        f'#!/bin/sh\nfor last in "$@"; do :; done\n[ -s "${{last#{option}}}" ] && echo openssl\nexit 3\n',
    )
    done = repository.make("audit", f"IMAGE={NAME}")
    assert done.returncode == 2
    assert f"openssl\nfailed  operating system of {NAME}: {name}\n" in done.stdout
    program(repository, name, "#!/bin/sh\n")
    done = repository.make("audit", f"IMAGE={NAME}", f"SCANNER={repository.programs / name}")
    assert (done.returncode, f"ok  operating system of {NAME}: {name}\n" in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ((f"IMAGE={NAME}", "SCANNER=trivy"), "SCANNER=trivy is not installed here\n  It is one of grype, trivy."),
        (("IMAGE=other:1",), "docker has no image other:1: no such image\n  `make image` builds it."),
        ((f"IMAGE={NAME}", "ENGINE=podman"), "podman is not installed here"),
        ((f"IMAGE={NAME}", "ENGINE=kaniko"), "invalid choice: 'kaniko'"),
    ],
)
def test_what_cannot_be_audited_is_an_error(repository: Repository, variables: tuple[str, ...], message: str) -> None:
    engine(repository)
    done = repository.make("audit", *variables)
    assert (done.returncode, message in done.stdout, "Traceback" in done.stdout) == (2, True, False), done.stdout


def test_an_image_of_something_else_is_not_taken_for_one_without_findings(repository: Repository) -> None:
    engine(repository)
    (repository.folder.parent / "image.tar").write_bytes(archive(LAYERS[1]))
    done = repository.make("audit", f"IMAGE={NAME}")
    assert (done.returncode, f"{NAME} has no packages in /app/.venv" in done.stdout) == (2, True), done.stdout


@pytest.mark.parametrize("name", ["docker", "podman", "buildah"])
def test_an_image_with_a_finding_is_not_pushed_and_one_without_is_and_can_be_signed(
    repository: Repository, name: str
) -> None:
    commit = (repository.folder / ".git/refs/heads").iterdir().__next__().read_text().strip()
    engine(repository, name, image=f"churn-serve:{commit}")
    finds(repository, "PYSEC-2026-1")
    given = ("AUDIT=1", "PUSH=registry.example.org/team")
    done = repository.make("image", *given)
    assert (done.returncode, "is pushed" in done.stdout) == (2, False), done.stdout
    pushed = f"registry.example.org/team/churn-serve:{commit}"
    finds(repository)
    done = repository.make("image", *given, COSIGN_PRIVATE_KEY="private")
    assert (done.returncode, f"{pushed} is pushed." in done.stdout) == (2, True), done.stdout
    assert "cosign is not installed here" in done.stdout
    repository.install("cosign")
    done = repository.make("image", *given, COSIGN_PRIVATE_KEY="private", COSIGN_OPTIONS="--tlog-upload=false")
    assert done.returncode == 0, done.stdout
    signed = "registry.example.org/team/churn-serve@sha256:1"
    assert f"argument: --tlog-upload=false\nargument: {signed}\n" in done.stdout
    assert "private" not in done.stdout.replace("COSIGN_PRIVATE_KEY", "")
    assert f"{signed} is signed." in done.stdout
