"""The API key: a request without a valid one is refused, and no key is ever shown."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lifecycle import settings
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle
from lifecycle.serving.app import api_keys, create
from lifecycle.settings import API_KEY
from support.services import QUICK
from support.storages import Storage

OLD, NEW = "old-key-0123456789", "new-key-0123456789"
ROW = {"customer_id": "ann"}


def service(storage: Storage, path: Path | None = None, environment: str = "local") -> TestClient:
    serve = QUICK.model_copy(update={"api_key_file": path})
    return TestClient(create(storage.store, environment, serve))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"{OLD}\n")
    return path


def status(client: TestClient, **headers: str) -> int:
    return client.post(
        "/predict", json=ROW, headers={name.replace("_", "-"): text for name, text in headers.items()}
    ).status_code


def test_each_header_takes_the_key_and_nothing_else(storage: Storage, bundle: Bundle, file: Path) -> None:
    with service(storage, file) as client:
        for headers in ({"authorization": f"Bearer {OLD}"}, {"authorization": f"bearer {OLD}"}, {"x_api_key": OLD}):
            assert status(client, **headers) == 200
        # One of both is enough: a proxy may set the other.
        for other in ("Basic eDp5", f"Bearer {NEW}"):
            assert status(client, authorization=other, x_api_key=OLD) == 200
        near = [OLD[:-1], OLD + "0", OLD.upper(), OLD[:-1] + "8", "", " ", OLD.replace("-", " "), f"{OLD},{OLD}"]
        wrong = [{"x_api_key": each} for each in near] + [{"authorization": f"Bearer {each}"} for each in near]
        wrong += [{}, {"authorization": OLD}, {"authorization": f"Basic {OLD}"}, {"authorization": f"Bearer{OLD}"}]
        for headers in wrong:
            assert status(client, **headers) == 401, headers


def test_a_refusal_has_a_hint_precedes_the_body_and_is_counted(storage: Storage, bundle: Bundle, file: Path) -> None:
    with service(storage, file) as client:
        given = {"x-api-key": "wrong-7123456789012", "x-request-id": "order-71"}
        reply = client.post("/predict", content=b"no json" * 1_000_000, headers=given)
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert (reply.headers["x-request-id"], set(reply.json())) == ("order-71", {"detail"})
        assert "7123" not in reply.text
        assert 'model_requests_refused_total{reason="unauthorized"} 1.0' in client.get("/metrics").text
        assert 'route="/predict",status="401"' in client.get("/metrics").text


def test_health_metrics_and_documentation_require_no_key_and_all_other_paths_do(
    storage: Storage, bundle: Bundle, file: Path
) -> None:
    with service(storage, file) as client:
        for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200, path
        for path in ("/info", "/info/", "//info", "/docs/../info", "/nowhere", "/healthz/", "/predict"):
            assert client.get(path).status_code == 401, path
        assert client.get("/info", headers={"x-api-key": OLD}).status_code == 200
        document = client.get("/openapi.json").json()
        locked = {path for path, each in document["paths"].items() for one in each.values() if "security" in one}
        assert locked == {"/predict", "/info"}
        assert document["components"]["securitySchemes"].keys() == {"bearer", "key"}
        assert "401" in document["paths"]["/predict"]["post"]["responses"]
    with service(storage) as client:
        assert client.get("/info").status_code == 200
        assert "401" not in str(client.get("/openapi.json").json())


def test_several_keys_are_accepted_at_once(storage: Storage, bundle: Bundle, file: Path) -> None:
    file.write_text(f"{OLD}\n\n  {NEW} \n")
    with service(storage, file) as client:
        assert (status(client, x_api_key=OLD), status(client, x_api_key=NEW), status(client)) == (
            200,
            200,
            401,
        )


@pytest.mark.parametrize("text", ["", " \n\t\n", "7123", f"{OLD}\n7123", "7123 7123 7123 7123 7123", "ключ" * 8])
def test_an_invalid_key_is_refused_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8")
    for serve, variable in ((QUICK.model_copy(update={"api_key_file": path}), None), (QUICK, text)):
        if variable is not None:
            monkeypatch.setenv(API_KEY, variable)
        with pytest.raises(LifecycleError, match=r"contains no API key|API key \d is too short or not") as caught:
            api_keys(serve, "local")
        assert "7123" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff" * 32])
def test_a_file_that_cannot_be_read_keeps_it_from_starting(
    storage: Storage, bundle: Bundle, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "keys"
    if content:
        path.write_bytes(content)
    with pytest.raises(LifecycleError, match="with the API keys cannot be read"):
        service(storage, path)


def test_production_without_a_key_is_refused_and_other_environments_are_not(
    storage: Storage, bundle: Bundle, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for environment in ("staging", "production"):
        storage.deploy(bundle, environment=environment)
    service(storage, environment="staging")
    with pytest.raises(LifecycleError, match=rf"(?s)would serve every caller.*{API_KEY}.*serve\.api_key_file"):
        service(storage, environment="production")
    with service(storage, file, environment="production") as client:
        assert (status(client), status(client, x_api_key=OLD)) == (401, 200)
    monkeypatch.setenv(API_KEY, NEW)
    with service(storage, environment="production") as client:
        assert (status(client), status(client, x_api_key=NEW)) == (401, 200)
    # What the environment says wins, here as in all settings.
    with service(storage, file) as client:
        assert (status(client, x_api_key=OLD), status(client, x_api_key=NEW)) == (401, 200)


def test_the_key_of_the_environment_is_not_a_setting(tmp_path: Path) -> None:
    loaded = settings.load(tmp_path, "local", {API_KEY: OLD, "LIFECYCLE_SERVE__PORT": "1"})
    assert loaded.settings.serve.port == 1
    assert OLD not in "\n".join(loaded.lines())


def test_info_and_documentation_never_show_a_key(storage: Storage, bundle: Bundle, file: Path) -> None:
    with service(storage, file) as client:
        for path in ("/info", "/openapi.json", "/docs", "/metrics", "/readyz"):
            assert OLD not in client.get(path, headers={"x-api-key": OLD}).text
