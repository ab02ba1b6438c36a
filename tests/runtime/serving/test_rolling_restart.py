"""Two services behind a proxy are restarted one after the other while 20 requests of 300 ms are in flight."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import PATIENCE
from support.processes import ROW, Service, Traffic, deploy_own, free_port, start, until_killed
from support.proxy import Proxy, proxied
from support.services import eventually
from support.storages import Storage

pytestmark = pytest.mark.slow
# Not for the golden rows, whose discount is 5.
SLOW = "time.sleep(0.3 * (frame['discount'].max() > 5))"
CALLERS = 20

Start = Callable[[int], Service]


@pytest.fixture
def starting(storage: Storage, tmp_path: Path) -> Iterator[Callable[..., Start]]:
    """starting(**settings) returns a function that starts a service with these settings on a port."""
    deploy_own(storage, tmp_path, SLOW)
    with ExitStack() as running:

        def started(port: int, settings: dict[str, str]) -> Service:
            process = start(storage, tmp_path, "--port", str(port), batch_rows="4", timeout_seconds="60", **settings)
            return running.enter_context(until_killed(process, port))

        yield lambda **settings: lambda port: started(port, settings)


def traffic_of(proxy: Proxy, service: Service) -> Traffic:
    """Send requests through the proxy until the traffic is stopped, and wait until 20 of them are in flight."""
    traffic = Traffic(Service(service.process, proxy.port), [ROW | {"discount": 7.0}] * CALLERS)
    eventually(lambda: sum(proxy.waiting.values()) == CALLERS)
    return traffic


def test_a_rolling_restart_loses_none_of_20_requests_in_flight(starting: Callable[..., Start]) -> None:
    start_on, ports = starting(leave_seconds="6"), [free_port(), free_port()]
    services = [start_on(port) for port in ports]
    with proxied(ports) as proxy:
        traffic = traffic_of(proxy, services[0])
        for port, service in zip(ports, services, strict=True):
            eventually(lambda port=port: proxy.waiting[port] > 4)  # type: ignore[misc]
            code, log = service.end()
            assert (code, "Traceback" in log) == (0, False), log
            start_on(port)
            eventually(lambda port=port: proxy.waiting[port] > 4)  # type: ignore[misc]
        responses, failures = traffic.stop()
    assert failures == {}
    assert len(responses) > CALLERS


def test_without_a_drain_each_restart_loses_a_request(starting: Callable[..., Start]) -> None:
    start_on, ports = starting(), [free_port(), free_port()]
    service, other = (start_on(port) for port in ports)
    with proxied(ports) as proxy:
        for left in reversed(range(5)):
            traffic = traffic_of(proxy, other)
            stopped_in_flight(service, proxy, ports[0])
            service.process.kill()
            service.process.wait(timeout=PATIENCE)
            assert traffic.stop()[1]
            if left:
                service = start_on(ports[0])
                eventually(lambda: ports[0] in proxy.ready)


def stopped_in_flight(service: Service, proxy: Proxy, port: int) -> None:
    """Stop a process while requests for more than two runs of its model wait, however slow this machine is."""

    def is_stopped() -> bool:
        service.process.send_signal(signal.SIGSTOP)
        if proxy.waiting[port] > 8:
            return True
        service.process.send_signal(signal.SIGCONT)
        return False

    eventually(is_stopped)
