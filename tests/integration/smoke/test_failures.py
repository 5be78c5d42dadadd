"""Images that do not start as they should: each fault is told apart, with a hint."""

import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetwide.bakery.oci_runtime import SCRATCH_BYTES
from fleetwide.errors import PlatformError, SmokeTestFailed
from fleetwide.providers.smoke_runs import MAX_LOG_BYTES
from tests.integration.smoke.conftest import Bench, link

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


BIG = {"volumes": ["/opt/big"]}
SHORT = {"timeout_seconds": 2}


def failed(bench: Bench, script: str = "", **changes: Any) -> SmokeTestFailed:
    """How the image of that script or spec fails."""
    given = {"command": ["/bin/sh", "-c", script]} if script else {}
    with pytest.raises(SmokeTestFailed) as told:
        bench.test(**{**given, **changes})
    assert told.value.hint
    return told.value


def test_an_exit_code_is_told_with_the_last_lines(bench: Bench) -> None:
    error = failed(bench, "seq 1 30; echo broken >&2; exit 3")
    head, _, *lines = error.message.split("\n")
    assert head == "the image failed its smoke test: it ended with exit code 3"
    assert lines == [*map(str, range(12, 31)), "broken"]
    assert "--no-smoke" in (error.hint or "")
    assert "smoke.command" in (error.hint or "")


def test_a_crash_is_told_with_its_signal(bench: Bench) -> None:
    error = failed(bench, 'sh -c "kill -SEGV \\$\\$"; exit $?')
    assert "it was ended by SIGSEGV (exit code 139)" in error.message


def test_a_crash_under_an_init_is_told_too(bench: Bench) -> None:
    error = failed(bench, "kill -ABRT $$", init=True)
    assert "it was ended by SIGABRT (exit code 134)" in error.message


@pytest.mark.parametrize("user", ["bob", "app:wheel"])
def test_a_user_that_does_not_exist_is_told(bench: Bench, user: str) -> None:
    error = failed(bench, "exit 0", user=user)
    assert f"the image has no {'user bob' if user == 'bob' else 'group wheel'}" in error.message


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("/opt/none", "it is not in the image, or not executable"),
        ("none", "it is not in the image, or not executable"),
        ("/opt/plain", "it is not executable, or a folder"),
        ("/opt", "it is not executable, or a folder"),
        ("/opt/script", "the interpreter or loader that it names is not in the image"),
        ("/opt/junk", "it is neither a program for this machine nor a script"),
    ],
)
def test_a_program_that_cannot_be_started_is_told(bench: Bench, program: str, reason: str) -> None:
    plain = tarfile.TarInfo("opt/plain")
    bench.files = {"opt/script": "#!/opt/bin/python\n", "opt/junk": "junk", plain.name: plain}
    error = failed(bench, command=[program])
    assert f"{program} cannot be started: {reason}" in error.message


def test_a_program_without_its_library_is_told(bench: Bench, base: Path) -> None:
    needs = (base / "usr/bin/ls").read_bytes()
    bench.files = {"opt/list": needs.replace(b"libselinux.so.1", b"libselinux.so.9")}
    error = failed(bench, command=["/opt/list"])
    assert "it ended with exit code 127: a shared library is missing" in error.message
    assert "libselinux.so.9" in error.message
    assert "`packages`" in (error.hint or "")


def test_a_write_to_the_root_is_told_with_both_ways_out(bench: Bench) -> None:
    error = failed(bench, "echo x > /var/lib/state")
    assert "Read-only file system" in error.message
    assert "`volumes`" in (error.hint or "")
    assert "smoke: {writable: true}" in (error.hint or "")


def test_memory_without_end_is_told_where_the_machine_limits_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetwide.providers.smoke_tests.MEMORY_BYTES", 64 * 1024**2)
    error = failed(bench, command=["/usr/bin/perl", "-e", 'my $x = "a" x 500_000_000; sleep 100'])
    assert "MiB of memory" in error.message


def test_processes_without_end_are_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetwide.providers.smoke_tests.PROCESSES", 50)
    error = failed(bench, "for i in $(seq 100); do sleep 100 & done; wait")
    assert "fork" in error.message


def test_a_check_that_does_not_end_is_told(bench: Bench) -> None:
    error = failed(bench, smoke={"command": ["sleep", "100"], "timeout_seconds": 1})
    assert "its check did not end in 1 s" in error.message
    assert error.hint == "smoke: {timeout_seconds: 2}"


def test_a_workload_that_is_never_healthy_is_told(bench: Bench) -> None:
    check = {"command": ["sh", "-c", "echo not well; exit 1"], "retries": 2, "interval_seconds": 1}
    error = failed(bench, "exec sleep 100", healthcheck={**check, "start_period_seconds": 0})
    assert "failed 2 times in a row; it said: not well" in error.message


def test_a_health_check_that_does_not_answer_is_told_and_ended(bench: Bench) -> None:
    check = {"command": ["sleep", "100"], "timeout_seconds": 1, "start_period_seconds": 0}
    error = failed(bench, "exec sleep 100", healthcheck={**check, "retries": 1})
    assert "`sleep 100` failed; it said: nothing within 1 s" in error.message


def test_a_health_check_that_floods_is_ended(bench: Bench) -> None:
    check = {"command": ["yes"], "timeout_seconds": 1, "start_period_seconds": 0, "retries": 1}
    error = failed(bench, "exec sleep 100", healthcheck=check)
    assert "`yes` failed; it said: nothing within 1 s" in error.message


def test_a_health_check_is_not_waited_for_beyond_the_time_limit(bench: Bench) -> None:
    check = {"command": ["false"], "interval_seconds": 1}
    error = failed(bench, "echo up; exec sleep 100", healthcheck=check, smoke=SHORT)
    assert "`false` did not pass in time, after " in error.message
    assert error.message.endswith("its last lines:\nup")
    assert error.hint == "smoke: {timeout_seconds: 4}"


@pytest.mark.parametrize(("code", "told"), [(0, "before its health check passed"), (9, "code 9")])
def test_an_end_before_health_is_told_as_such(bench: Bench, code: int, told: str) -> None:
    check = {"command": ["sh", "-c", "sleep 100"], "retries": 1, "start_period_seconds": 0}
    error = failed(bench, f"sleep 1; exit {code}", healthcheck=check)
    assert f"it ended with exit code {code}" in error.message
    assert told in error.message


def test_a_flood_of_output_is_cut_off_in_the_log(bench: Bench) -> None:
    error = failed(
        bench, "yes this line | head -c 50000000; printf '\\033[31mlast\\033[0m'; exit 1"
    )
    assert error.message.endswith("\nthis line\nlast")
    assert bench.written.startswith(b"this line\n")
    assert bench.written.endswith(b"[more output is not kept]\n")
    assert len(bench.written) < MAX_LOG_BYTES + 100


def test_writing_without_end_meets_an_end(bench: Bench) -> None:
    error = failed(bench, "head -c 1000000000 /dev/zero > /tmp/x")
    assert "No space left on device" in error.message


@pytest.mark.parametrize(
    "changes",
    [
        {"workdir": "/etc/passwd"},
        {"volumes": ["/etc/passwd"]},
        {"volumes": ["/opt/dangling"]},
        BIG,
    ],
)
def test_a_place_that_is_no_folder_is_told(bench: Bench, changes: dict[str, Any]) -> None:
    bench.files = {
        "opt/dangling": link("opt/dangling", "/nowhere/at/all"),
        "opt/big/file": bytes(SCRATCH_BYTES + 1) if changes == BIG else "",
    }
    error = failed(bench, "exit 0", **changes)
    assert "no container can be made of it" in error.message
    assert "`volumes`" in (error.hint or "")


def test_secrets_of_the_environment_are_never_printed(bench: Bench) -> None:
    bench.env = {"TOKEN": "very-secret"}
    errors = [
        failed(bench, "exit 1"),
        failed(bench, command=["/none"]),
        failed(bench, "exit 0", workdir="/etc/passwd"),
        failed(bench, "sleep 9", healthcheck={"command": ["/none"], "retries": 1}, smoke=SHORT),
    ]
    for error in errors:
        assert "very-secret" not in f"{error.message}{error.hint}"
    assert b"very-secret" not in bench.written


def test_a_builder_without_crun_says_how_to_get_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = {"PATH": str(bench.folder)}
    monkeypatch.setattr("fleetwide.providers.crun._ENVIRONMENT", nowhere)
    with pytest.raises(PlatformError, match="this builder has no crun") as told:
        bench.shell("exit 0")
    assert told.value.hint == "apt-get install --no-install-recommends crun"


def test_a_builder_that_cannot_mount_says_so(bench: Bench) -> None:
    request = replace(bench.request(command=["true"]), base=bench.folder / "none")
    with pytest.raises(PlatformError, match="this builder cannot mount an image"):
        bench.run(request)


def test_a_layer_that_is_none_is_told(bench: Bench) -> None:
    request = bench.request(command=["true"])
    request.layer.write_bytes(b"junk" * 200)
    with pytest.raises(PlatformError, match="the layer could not be unpacked"):
        bench.run(request)
