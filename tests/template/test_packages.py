"""`.ci/packages` installs the programs that tests use, starts no daemon, and never fails on a laptop."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support import PATIENCE
from support.rendering import ROOT

Machine = Callable[..., subprocess.CompletedProcess[str]]
NEEDED = ("bash", "env", "tee", "chmod", "rm")
PROGRAMS = (
    "prometheus",
    "prometheus-alertmanager",
    "chromium",
    "wrk",
    "systemd-analyze",
    "buildah",
    "podman",
    "runc",
    "mmdebstrap",
    "java",
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return `machine(user, apt, *installed)`, which runs the script with these programs; apt ends with that code."""

    def ran(user: int, apt: int | None, *installed: str) -> subprocess.CompletedProcess[str]:
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in NEEDED:
            (programs / name).symlink_to(str(shutil.which(name)))
        scripts = {"id": f"echo {user}"} | dict.fromkeys(installed, "exit 0")
        if apt is not None:
            scripts["apt-get"] = f'echo "$@ policy:$($POLICY_RC_D; echo $?)" >> {tmp_path / "calls"}; exit {apt}'
        for name, script in scripts.items():
            (programs / name).write_text(f"#!{programs / 'bash'}\n{script}\n")
            (programs / name).chmod(0o755)
        environ = {"PATH": str(programs), "POLICY_RC_D": str(tmp_path / "policy")}
        return subprocess.run([ROOT / ".ci/packages"], env=environ, capture_output=True, text=True, timeout=PATIENCE)

    return ran


def calls(tmp_path: Path) -> list[str]:
    path = tmp_path / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_with_all_programs_apt_is_not_called(machine: Machine, tmp_path: Path) -> None:
    done = machine(0, 1, *PROGRAMS)
    assert (done.returncode, done.stderr, calls(tmp_path)) == (0, "", [])


def test_root_installs_missing_programs_and_starts_no_daemon(machine: Machine, tmp_path: Path) -> None:
    done = machine(0, 0, "prometheus")
    assert done.returncode == 0
    update, install = calls(tmp_path)
    assert update.startswith("update")
    assert {"chromium", "prometheus-alertmanager", "podman", "netavark", "install"} <= {*install.split()}
    assert "prometheus" not in install.split()
    assert install.endswith("policy:101")
    assert not (tmp_path / "policy").exists()


def test_another_browser_is_accepted(machine: Machine, tmp_path: Path) -> None:
    machine(0, 0, "google-chrome")
    assert "chromium" not in calls(tmp_path)[1].split()
    assert {"prometheus", "prometheus-alertmanager"} <= {*calls(tmp_path)[1].split()}


@pytest.mark.parametrize(("user", "apt"), [(1000, 0), (1000, None), (0, None)])
def test_without_rights_the_script_explains_and_does_not_fail(
    machine: Machine, tmp_path: Path, user: int, apt: int | None
) -> None:
    done = machine(user, apt, "chromium")
    assert (done.returncode, calls(tmp_path)) == (0, [])
    assert "Tests that need them are skipped" in done.stderr


def test_packages_that_cannot_be_installed_are_reported_and_not_a_failure(machine: Machine, tmp_path: Path) -> None:
    done = machine(0, 100)
    assert done.returncode == 0
    assert "Could not install" in done.stderr
    assert not (tmp_path / "policy").exists()


def test_make_test_runs_the_script() -> None:
    done = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))
    assert ".ci/packages" in done.stdout
