"""`.ci/packages`: what tests drive is installed where that may be done, starts no daemon, and never fails a laptop."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.rendering import ROOT

Machine = Callable[..., subprocess.CompletedProcess[str]]
NEEDED = ("bash", "env", "tee", "chmod", "rm")
PROGRAMS = ("prometheus", "prometheus-alertmanager", "chromium", "wrk")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """`machine(user, apt, *there)` runs the script where only these programs are; apt ends with that code."""

    def ran(user: int, apt: int | None, *there: str) -> subprocess.CompletedProcess[str]:
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in NEEDED:
            (programs / name).symlink_to(str(shutil.which(name)))
        scripts = {"id": f"echo {user}"} | dict.fromkeys(there, "exit 0")
        if apt is not None:
            scripts["apt-get"] = f'echo "$@ policy:$($POLICY_RC_D; echo $?)" >> {tmp_path / "asked"}; exit {apt}'
        for name, script in scripts.items():
            (programs / name).write_text(f"#!{programs / 'bash'}\n{script}\n")
            (programs / name).chmod(0o755)
        environ = {"PATH": str(programs), "POLICY_RC_D": str(tmp_path / "policy")}
        return subprocess.run([ROOT / ".ci/packages"], env=environ, capture_output=True, text=True, timeout=30)

    return ran


def asked(tmp_path: Path) -> list[str]:
    path = tmp_path / "asked"
    return path.read_text().splitlines() if path.exists() else []


def test_where_all_is_there_nothing_is_asked_or_said(machine: Machine, tmp_path: Path) -> None:
    done = machine(0, 1, *PROGRAMS)
    assert (done.returncode, done.stderr, asked(tmp_path)) == (0, "", [])


def test_root_installs_what_is_missing_and_no_daemon_may_start_meanwhile(machine: Machine, tmp_path: Path) -> None:
    done = machine(0, 0, "prometheus")
    assert done.returncode == 0
    update, install = asked(tmp_path)
    assert update.startswith("update")
    assert {"chromium", "prometheus-alertmanager", "install"} <= {*install.split()}
    assert "prometheus" not in install.split()
    assert install.endswith("policy:101")
    assert not (tmp_path / "policy").exists()


def test_a_browser_of_the_host_will_do(machine: Machine, tmp_path: Path) -> None:
    machine(0, 0, "google-chrome")
    assert "chromium" not in asked(tmp_path)[1].split()
    assert {"prometheus", "prometheus-alertmanager"} <= {*asked(tmp_path)[1].split()}


@pytest.mark.parametrize(("user", "apt"), [(1000, 0), (1000, None), (0, None)])
def test_anybody_else_is_told_and_not_failed(machine: Machine, tmp_path: Path, user: int, apt: int | None) -> None:
    done = machine(user, apt, "chromium")
    assert (done.returncode, asked(tmp_path)) == (0, [])
    assert "Tests that need them are skipped" in done.stderr


def test_packages_that_cannot_be_had_are_told_and_fail_nothing(machine: Machine, tmp_path: Path) -> None:
    done = machine(0, 100)
    assert done.returncode == 0
    assert "Could not install" in done.stderr
    assert not (tmp_path / "policy").exists()


def test_make_test_asks_for_them() -> None:
    done = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))
    assert ".ci/packages" in done.stdout
