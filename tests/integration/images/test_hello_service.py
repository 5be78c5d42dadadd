import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

pytestmark = pytest.mark.integration

SOURCE = Path(__file__).parents[3] / "examples/hello-service"
RUN = "import sys; from hello_service.{0} import main; main()"


def run_batch(**env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", RUN.format("batch")],
        env={**os.environ, "PYTHONPATH": str(SOURCE / "src"), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_is_the_same_each_time(tmp_path: Path) -> None:
    wheels = []
    for name in ("one", "two"):
        copy = shutil.copytree(SOURCE, tmp_path / name / "source")
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / name],
            cwd=copy,
            env={**os.environ, "SOURCE_DATE_EPOCH": "1577836800"},
            check=True,
            capture_output=True,
        )
        (wheel,) = (tmp_path / name).glob("*.whl")
        wheels.append(wheel.read_bytes())
    assert wheels[0] == wheels[1]


def test_a_slice_of_primes_is_counted() -> None:
    done = run_batch(FLEETWIDE_ARRAY_INDEX="0", SLICE_SIZE="100")
    assert done.stdout == "index 0: 25 primes in [0, 100), attempt 1\n"
    assert "index 1: 21 primes" in run_batch(FLEETWIDE_ARRAY_INDEX="1", SLICE_SIZE="100").stdout


def test_every_fifth_index_fails_on_its_first_attempt_only() -> None:
    flaky = {"FAIL_FIRST_ATTEMPT": "5", "SLICE_SIZE": "100"}
    first = run_batch(FLEETWIDE_ARRAY_INDEX="5", FLEETWIDE_ATTEMPT="1", **flaky)
    assert (first.returncode, "simulated flaky input" in first.stderr) == (1, True)
    assert run_batch(FLEETWIDE_ARRAY_INDEX="5", FLEETWIDE_ATTEMPT="2", **flaky).returncode == 0
    assert run_batch(FLEETWIDE_ARRAY_INDEX="6", FLEETWIDE_ATTEMPT="1", **flaky).returncode == 0


def test_bad_settings_are_told() -> None:
    assert "FLEETWIDE_ATTEMPT must be" in run_batch(FLEETWIDE_ATTEMPT="x").stderr


def test_the_service_answers_and_stops_when_it_is_told_to() -> None:
    env = {**os.environ, "PYTHONPATH": str(SOURCE / "src"), "HELLO_PORT": "0"}
    env["HELLO_HOST"] = "127.0.0.1"
    service = subprocess.Popen(
        [sys.executable, "-c", RUN.format("web")],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert service.stdout is not None
        with service.stdout:
            address = service.stdout.readline().split()[-1]
        with httpx2.Client(base_url=f"http://{address}") as client:
            hello = json.loads(client.get("/").text)
            assert hello["version"] == "1.0.0"
            assert "os_release" in hello
            assert client.get("/healthz").text == "ok\n"
            assert client.get("/nothing").status_code == 404
        service.terminate()
        assert service.wait() == 0
    finally:
        service.kill()
        service.wait()
