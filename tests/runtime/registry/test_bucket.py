"""A bucket as storage: working copies of several machines, conditional writes, kills, and what goes wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import obstore
import pytest

from lifecycle import bucket as buckets
from lifecycle.bucket import Bucket
from lifecycle.cli import main
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import BundleError, open_version
from lifecycle.monitoring.collect import collect
from lifecycle.registry import deployments, labels, predictions
from lifecycle.registry.deployments import Deployed
from lifecycle.settings import load
from lifecycle.storage import Busy
from support import buckets as servers
from support.logs import NOON, line, write
from support.storages import CHURN, Storage

RACE = """
import sys
from pathlib import Path
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed, DeploymentChanged
from support import buckets

folder, address, version = sys.argv[1:]
store = buckets.store(Path(folder), address)
with store.synchronised():
    seen = deployments.read(store, "local")
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        deployments.swap(store, "local", seen, Deployed(version, 0.5), "promote", "ana", "better")
        print("won")
    except DeploymentChanged:
        print("lost")
"""


class Machine(Storage):
    """A working copy of the bucket, as on a machine of its own."""

    def swap(self, version: str) -> deployments.Deployment:
        seen = deployments.read(self.store, "local")
        return deployments.swap(self.store, "local", seen, Deployed(version, 0.5), "promote", "ana", "better")


NewMachine = Callable[[], Machine]


@pytest.fixture
def machine(bucket: str, tmp_path: Path) -> NewMachine:
    """machine(): another machine with an empty working copy of the same bucket."""
    numbers = iter(range(1000))

    def new() -> Machine:
        folder = tmp_path / f"machine{next(numbers)}"
        return Machine(servers.store(folder / "copy", bucket), folder / "drafts")

    return new


def test_what_one_machine_writes_is_read_on_another(machine: NewMachine) -> None:
    first, second = machine(), machine()
    with first.store.synchronised():
        made = first.publish()
        first.deploy(made)
    with second.store.synchronised():
        assert deployments.required(second.store, "local").current.version == made.version
        assert second.store.versions() == [made.version]
        assert sorted(path.name for path in (second.store.bundles / made.version).iterdir()) == [*buckets.SMALL]
        assert open_version(second.store, made.version).read("golden.jsonl") == made.read("golden.jsonl")
        second.swap("other")
    first.store.pull()
    assert deployments.required(first.store, "local").current.version == "other"
    assert [each["live"]["version"] for each in deployments.audit_entries(first.store)] == [made.version, "other"]


def test_a_file_that_was_removed_on_one_machine_is_removed_on_all(machine: NewMachine) -> None:
    first, second = machine(), machine()
    report = "reports/local/2026-01-01/monitoring.html"
    with first.store.synchronised():
        (first.store.root / report).parent.mkdir(parents=True)
        (first.store.root / report).write_text("old")
    with second.store.synchronised():
        (second.store.root / report).unlink()
    first.store.pull()
    assert not (first.store.root / report).exists()


def test_files_that_are_lost_in_a_working_copy_are_downloaded_again(machine: NewMachine) -> None:
    first = machine()
    with first.store.synchronised():
        made = first.publish()
    (made.path / "contract.json").unlink()
    (made.path / "bundle.json").write_text("{}")
    with first.store.synchronised():
        assert open_version(first.store, made.version).facts == made.facts
    assert open_version(machine().store, made.version).facts == made.facts


def test_locks_drafts_open_segments_and_other_files_are_not_uploaded(machine: NewMachine) -> None:
    first, second = machine(), machine()
    with first.store.synchronised():
        for name in ("mlflow.db", "scores/.x.draft", "predictions/local/segments/a.open", "runs/.local.lock"):
            (first.store.root / name).parent.mkdir(parents=True, exist_ok=True)
            (first.store.root / name).write_text("x")
    second.store.pull()
    assert [path.name for path in second.store.root.rglob("[!.]*") if path.is_file()] == []


def test_a_segment_that_a_command_has_downloaded_is_not_taken_for_one_of_the_service(machine: NewMachine) -> None:
    first, second = machine(), machine()
    with first.store.synchronised():
        segment = write(first.store, "a.jsonl", line("v", NOON))
    with second.store.synchronised():
        # The service of the second machine has the same working copy.
        predictions.upload_segments(second.store, "local")
    third = machine().store
    third.pull()
    assert [path.name for path in predictions.segment_folder(third, "local").iterdir()] == [segment.name]


def test_an_object_that_is_deleted_while_it_is_downloaded_is_skipped(
    machine: NewMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, found = machine().store, Bucket._found
    monkeypatch.setattr(Bucket, "_found", lambda *given: found(*given) | {"labels/gone.parquet": {"e_tag": "x"}})
    here.pull()
    assert [path.name for path in here.root.rglob("*.parquet")] == []


def test_a_list_of_objects_without_their_version_downloads_nothing_again(machine: NewMachine) -> None:
    own = machine().store.bucket
    entry = {"version": {"e_tag": "a", "version": "1"}, "stamp": own._stamp("x")}
    assert own._has(entry, "x", {"e_tag": "a"})
    assert not own._has(entry, "x", {"e_tag": "b"})
    assert not own._has(None, "x", {"e_tag": "a"})


def test_a_version_whose_upload_is_not_complete_does_not_exist(machine: NewMachine) -> None:
    first, second = machine(), machine()
    with first.store.synchronised():
        made = first.publish()
    assert first.store.bucket
    obstore.delete(first.store.bucket._objects, f"bundles/{made.version}/bundle.json")
    second.store.pull()
    assert second.store.versions() == []
    with pytest.raises(BundleError, match="holds no version"):
        open_version(second.store, made.version)


def raced(bucket: str, folder: Path, code: str = RACE) -> list[str]:
    """Return what two processes print that promote at the same time."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder / version), bucket, version],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for version in ("a", "b")
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return sorted(process.communicate()[0].strip() for process in processes)


def test_of_two_processes_that_promote_at_the_same_time_one_wins(
    bucket: str, machine: NewMachine, tmp_path: Path
) -> None:
    assert raced(bucket, tmp_path) == ["lost", "won"]
    own = machine().store
    own.pull()
    [entry] = deployments.audit_entries(own)
    assert entry["live"]["version"] == deployments.required(own, "local").current.version


@pytest.mark.parametrize("conditional", [("audit.jsonl", "deployments/"), ()])
def test_a_writer_that_lost_its_lease_changes_nothing(
    machine: NewMachine, monkeypatch: pytest.MonkeyPatch, conditional: tuple[str, ...]
) -> None:
    # Without the conditional writes, the second one replaces what the first one has written.
    monkeypatch.setattr(buckets, "CONDITIONAL", conditional)
    monkeypatch.setattr(Bucket, "lease", lambda *given: nullcontext())
    first, second, usual = machine(), machine(), Bucket.push

    def late(self: Bucket, *parts: str) -> None:
        if self is first.store.bucket and parts == ("deployments",):
            second.swap("b")
        usual(self, *parts)

    monkeypatch.setattr(Bucket, "push", late)
    with pytest.raises(LifecycleError, match="another process has changed") if conditional else nullcontext():
        first.swap("a")
    third = machine().store
    third.pull()
    assert deployments.required(third, "local").current.version == ("b" if conditional else "a")
    assert [each.version for each in deployments.periods(third, "local")] == ["b" if conditional else "a"]


def test_a_lease_is_held_by_one_machine_and_ends_with_its_holder(
    machine: NewMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machine().store.bucket, machine().store.bucket
    assert first
    assert second
    with first.lease("job"), pytest.raises(Busy, match="holds locks/job in s3://"), second.lease("job", wait=False):
        pass
    with second.lease("job", wait=False):
        monkeypatch.setattr(buckets, "LEASE_SECONDS", -1.0)
        with first.lease("job", wait=False):
            # Taken from a holder that has not renewed it in time.
            assert len(list(obstore.list(first._objects, "locks").collect())) == 1
    assert list(obstore.list(first._objects, "locks").collect()) == []


def test_a_lease_is_renewed_while_it_is_held(machine: NewMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    held = machine().store.bucket
    assert held
    monkeypatch.setattr(buckets, "RENEW_SECONDS", 0.02)
    with held.lease("job"):
        before = obstore.head(held._objects, "locks/job")["e_tag"]
        while obstore.head(held._objects, "locks/job")["e_tag"] == before:
            pass


class Killed(BaseException):
    """The process ended."""


def kill_at(monkeypatch: pytest.MonkeyPatch, point: int, before: bool) -> list[int]:
    """Let nothing reach the bucket any more before or after its point-th change; returns a list with the number."""
    passed = [0]

    def counted(usual: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            passed[0] += 1
            if passed[0] > point or (passed[0] == point and before):
                raise Killed
            return usual(*given, **options)

        return call

    for name in ("put", "delete"):
        monkeypatch.setattr(obstore, name, counted(getattr(obstore, name)))
    return passed


def publishes(here: Machine, folder: Path) -> None:
    here.publish(made="20260102T000000")


def promotes(here: Machine, folder: Path) -> None:
    if deployments.required(here.store, "local").current.version != "b":
        here.swap("b")


def collects(here: Machine, folder: Path) -> None:
    collect(here.store, "local")


def imports_labels(here: Machine, folder: Path) -> None:
    file = folder / "labels.csv"
    file.write_text("request_id,position,label\nr1,0,churns\n")
    labels.add(here.store, CHURN, file, NOON + 1)


@pytest.mark.slow
@pytest.mark.parametrize("job", [publishes, promotes, collects, imports_labels])
@pytest.mark.parametrize("same_machine", [True, False])
def test_a_kill_at_any_write_to_the_bucket_loses_nothing_and_the_job_can_be_repeated(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Any, same_machine: bool
) -> None:
    monkeypatch.setattr(buckets, "LEASE_SECONDS", -1.0)
    points = 0
    for point in range(1, 100):
        # Each on storage of its own: a prefix of the bucket.
        before, prefix = bool(point % 2), f"{point}"
        folder = tmp_path / prefix
        address = f"{bucket}/{prefix}"
        first, second = (Machine(servers.store(folder / name, address), folder / f"{name}-drafts") for name in "ab")
        with first.store.synchronised():
            made = first.publish()
            first.deploy(made)
            write(first.store, "a.jsonl", line(made.version, NOON, id="r1"))
        with monkeypatch.context() as patch:
            passed = kill_at(patch, (point + 1) // 2, before)
            with suppress(Killed), first.store.synchronised():
                job(first, folder)
        if passed[0] < (point + 1) // 2:
            break
        points += 1
        own = first if same_machine else second
        with own.store.synchronised():
            assert deployments.required(own.store, "local").current.version in (made.version, "b")
            job(own, folder)
        last = Machine(servers.store(folder / "c", address), folder / "c-drafts")
        last.store.pull()
        state = state_of(last)
        assert state["deployed"] == ("b" if job is promotes else made.version), point
        assert state["promotions"] == (2 if job is promotes else 1), point
        assert state["rows"] == 1, point
        assert state["labels"] == (job is imports_labels), point
        # A version that was trained again has another name.
        assert len(state["versions"]) > (job is publishes), point
    assert points > 4


@pytest.mark.slow
def test_a_deployment_in_the_bucket_never_lacks_its_bundle(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "LEASE_SECONDS", -1.0)
    seen = set()
    for point in range(1, 100):
        address, folder = f"{bucket}/{point}", tmp_path / f"{point}"
        here = Machine(servers.store(folder / "a", address), folder / "drafts")
        with monkeypatch.context() as patch:
            passed = kill_at(patch, point, before=True)
            with suppress(Killed), here.store.synchronised():
                here.deploy(here.publish())
        other = servers.store(folder / "b", address)
        other.pull()
        if deployed := deployments.read(other, "local"):
            assert open_version(other, deployed.current.version), point
        seen.add(deployed is None)
        if passed[0] < point:
            break
    assert seen == {True, False}


def state_of(here: Machine) -> dict[str, Any]:
    store = here.store
    segments = predictions.closed_segments(predictions.segment_folder(store, "local"))
    logged = predictions.files(store, "local")
    changes = {json.dumps(each["live"]) for each in deployments.audit_entries(store)}
    return {
        "deployed": deployments.required(store, "local").current.version,
        "promotions": len(changes),
        # A segment that is not removed yet is collected again, into the same file.
        "rows": max(len(segments), len(logged)),
        "labels": len(labels.files(store)),
        "versions": [open_version(store, each).version for each in store.versions()],
    }


@pytest.mark.parametrize(
    ("variables", "address", "problem", "hint"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "s3://models/x", "cannot be used", "Check the credentials"),
        ({"AWS_ACCESS_KEY_ID": "another"}, "s3://models/x", "cannot be used", "Check the credentials"),
        ({}, "s3://no-such-bucket/x", "cannot be used", "Check the name of the bucket"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://models/x", "cannot be used", "and the network"),
        ({}, "ftp://models/x", "Unable to recognise URL", "Check the name of the bucket"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_a_clear_message(
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    address: str,
    problem: str,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (variables | {"LIFECYCLE_STORAGE": address}).items():
        monkeypatch.setenv(name, value)
    assert main(["history"]) == 1
    printed = capsys.readouterr().err
    assert f"error: {address}" in printed
    assert problem in printed
    assert hint in printed
    assert "Traceback" not in printed
    assert "wrong" not in printed


def test_a_bucket_needs_its_package(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "lifecycle.bucket")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(LifecycleError, match="needs the package obstore"):
        _ = load(tmp_path, environ={"LIFECYCLE_STORAGE": bucket}).settings.store
