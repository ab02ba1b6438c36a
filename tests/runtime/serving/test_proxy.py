"""The service behind a reverse proxy: HEAD, compressed bodies, a path prefix, forwarded addresses, and browsers."""

import gzip
import http.client
import json
import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from lifecycle.models.bundle import Bundle
from lifecycle.settings import Serve
from support.processes import ROW, Service

ORIGIN = "https://shop.example.org"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/info", "/docs"])
def test_head_gets_the_response_to_get(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.headers["content-type"]) == (200, get.headers["content-type"])
    assert f'http_requests_total{{method="HEAD",route="{path}",status="200"}} 1.0' in client.get("/metrics").text


def test_head_of_the_prediction_is_not_allowed(client: TestClient) -> None:
    assert client.head("/predict").status_code == 405


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity"])
def test_a_compressed_body_gets_415_and_is_counted(client: TestClient, encoding: str) -> None:
    body, headers = gzip.compress(json.dumps(ROW).encode()), {"content-encoding": encoding}
    reply = client.post("/predict", content=body, headers=headers)
    assert (reply.status_code, "content-encoding" in reply.json()["detail"]) == (415, True)
    assert 'model_requests_refused_total{reason="compressed"} 1.0' in client.get("/metrics").text


def test_identity_is_no_compression(client: TestClient) -> None:
    assert client.post("/predict", json=ROW, headers={"content-encoding": "Identity"}).status_code == 200


@pytest.mark.slow
def test_every_path_works_behind_a_proxy_that_removes_a_prefix(serve: Callable[..., Service], bundle: Bundle) -> None:
    service = serve(root_path="/churn")
    assert service.get("/openapi.json")[1]["servers"] == [{"url": "/churn"}]
    page = service.text("/docs")[1]
    assert "'/churn/openapi.json'" in page
    files = re.findall(r"(/[^\"']+\.(?:js|css))[\"']", page)
    assert len(files) > 1
    for path in files:
        assert path.startswith("/churn/")
        assert service.text(path.removeprefix("/churn"))[0] == 200, path
    assert service.predict(ROW)[0] == 200
    assert service.metric('http_requests_total{method="POST",route="/predict",status="200"}') == 1.0


@pytest.mark.parametrize("path", ["churn", "/churn/", "/"])
def test_a_path_that_is_no_prefix_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="root_path"):
        Serve(root_path=path)


def location(service: Service, scheme: str) -> str:
    """Return where a request that a proxy received with a scheme is redirected to."""
    connection = service.connect()
    connection.request("GET", "/healthz/", headers={"x-forwarded-proto": scheme, "x-forwarded-for": "203.0.113.7"})
    return str(connection.getresponse().headers["location"])


@pytest.mark.slow
def test_forwarded_headers_are_read_from_trusted_addresses_only(serve: Callable[..., Service], bundle: Bundle) -> None:
    assert location(serve(), "https").startswith("http://")
    assert location(serve(trusted_proxies="192.0.2.1"), "https").startswith("http://")
    assert location(serve(trusted_proxies="127.0.0.1"), "https").startswith("https://")


def sent(service: Service, method: str, origin: str, **headers: str) -> http.client.HTTPResponse:
    connection = service.connect()
    given = {"origin": origin, "content-type": "application/json"} | headers
    connection.request(method, "/predict", json.dumps(ROW) if method == "POST" else None, given)
    return connection.getresponse()


@pytest.mark.slow
def test_pages_of_an_allowed_origin_may_predict(serve: Callable[..., Service], bundle: Bundle) -> None:
    service, wanted = serve(cors_origins=f'["{ORIGIN}"]'), {"access-control-request-method": "POST"}
    reply = sent(service, "OPTIONS", ORIGIN, **wanted, **{"access-control-request-headers": "x-api-key"})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "x-api-key" in reply.headers["access-control-allow-headers"]
    reply = sent(service, "POST", ORIGIN)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "x-model-version" in reply.headers["access-control-expose-headers"]
    assert sent(service, "OPTIONS", "https://other.example.org", **wanted).status == 400
    assert service.end()[0] == 0
    service = serve()
    assert sent(service, "POST", ORIGIN).headers["access-control-allow-origin"] is None
