"""Health checks of containers on the real Docker."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fleetwide.models.health import HealthStatus, HttpProbe, TcpProbe
from fleetwide.models.task_states import EndReason
from fleetwide.providers.probes import CommandProbe, http_complaint, tcp_complaint
from tests.integration.company.stages import Stage, company, extra, until
from tests.integration.containers_fixtures import Runs

pytestmark = pytest.mark.integration
QUICK = {"interval_seconds": 1, "timeout_seconds": 2, "start_period_seconds": 0}


def command(script: str, **fields: Any) -> dict[str, Any]:
    return {**QUICK, "command": ["/bin/sh", "-c", script], **fields}


def test_it_becomes_healthy_and_then_unhealthy_and_stays_what_it_is(
    stage: Stage, runs: Runs
) -> None:
    run = runs.shell(
        "echo up; sleep 600",
        health=command("test -e /tmp.ok && exit 0; echo missing; exit 1", failures=2),
    )
    playing = stage.play(run)
    until(lambda: _status(playing) is HealthStatus.UNHEALTHY, "unhealthy")
    health = playing.attempt.health
    assert health is not None
    assert health.message.startswith("exit code 1: missing")
    assert playing.attempt.progress().state.value == "Started"
    stage.api.put_archive(run.key.container_name(), "/", _tar("tmp.ok"))
    until(lambda: _status(playing) is HealthStatus.HEALTHY, "healthy again")
    playing.attempt.end(EndReason.KILLED)
    result = playing.result.result(60)
    assert result.health is not None
    assert result.health.status is HealthStatus.HEALTHY


def test_unhealthy_may_end_it_with_the_reason(stage: Stage, runs: Runs) -> None:
    run = runs.shell(
        "echo up; sleep 600",
        health=command("echo it is dark; exit 1", failures=2, on_unhealthy="kill"),
    )
    result = stage.execute(run)
    assert result.reason is EndReason.UNHEALTHY
    assert "failed 2 times in a row: exit code 1: it is dark" in result.message
    assert result.last_lines == ["up"]


def test_of_an_extra_container_too(stage: Stage, runs: Runs) -> None:
    check = command("exit 9", failures=1, on_unhealthy="kill")
    run = company(stage, runs, "sleep 600", extra("side", "sleep 600", health=check))
    result = stage.execute(run)
    assert result.reason is EndReason.UNHEALTHY
    assert "side: its health check failed" in result.message


def test_a_check_that_does_not_end_fails_and_does_not_pile_up(stage: Stage, runs: Runs) -> None:
    playing = stage.play(runs.shell("echo up; sleep 600"))
    until(lambda: playing.attempt.progress().log_bytes > 0, "it runs")
    container = playing.attempt.progress().container_id
    assert container
    probe = CommandProbe(stage.host, container, ["/bin/sleep", "600"], 1)
    assert "did not end within 1 s" in str(probe())
    assert "the check before has not ended" in str(probe())
    assert len(stage.api.inspect_container(container)["ExecIDs"]) == 1
    playing.attempt.end(EndReason.KILLED)
    playing.result.result(60)


def test_a_check_of_a_container_that_is_gone_is_a_failure(stage: Stage) -> None:
    probe = CommandProbe(stage.host, "fw-not-there", ["/bin/true"], 1)
    assert "could not be run" in str(probe())


@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1", "172.17.0.0/16"])
def test_the_network_of_a_container_is_asked_at_its_own_address(stage: Stage, runs: Runs) -> None:
    health = {**QUICK, "tcp": {"port": 9}, "failures": 1, "on_unhealthy": "kill"}
    run = company(
        stage,
        runs,
        "echo up; sleep 600",
        extra("side", "sleep 600"),
        network="bridge",
        health=health,
    )
    result = stage.execute(run)
    assert result.reason is EndReason.UNHEALTHY
    assert "port 9: Connection refused" in result.message


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server on a free port that sends ``answer`` to whoever connects."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                taken, _ = listening.accept()
            except OSError:
                return
            with taken:
                taken.recv(4096)
                taken.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", None),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "status 503"),
        (b"SSH-2.0-x\r\n", "no HTTP"),
        (b"", "no HTTP"),
        (b"HTTP/1.1 " + b"9" * 5000, "status 999999999"),
    ],
)
def test_what_an_http_answer_means(answer: bytes, said: str | None) -> None:
    with answering(answer) as port:
        found = http_complaint("127.0.0.1", HttpProbe(port=port), 5)
    assert (found is None) if said is None else (said in str(found))


def test_a_port_that_takes_connections_is_well() -> None:
    with answering(b"") as port:
        assert tcp_complaint("127.0.0.1", TcpProbe(port=port), 5) is None


def test_a_server_that_drips_is_given_up_in_time() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        taken, _ = listening.accept()
        with taken:
            try:
                while True:
                    taken.sendall(b"H")
                    threading.Event().wait(0.05)
            except OSError:
                return

    threading.Thread(target=drip, daemon=True).start()
    said = http_complaint("127.0.0.1", HttpProbe(port=listening.getsockname()[1]), 1)
    listening.close()
    assert "timed out" in str(said)


def _status(playing: Any) -> HealthStatus | None:
    health = playing.attempt.health
    return health.status if health else None


def _tar(name: str) -> bytes:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()
