"""How one builder stands a crowd: many bakes at once, one bake asked for by many, and a huge one.

50 different bakes at once, each with its smoke test, must all succeed; 200 requests at once for one
bake must build it exactly once; an artifact of 2 GB must pass. The value is the peak of the
builder's own process in MiB (VmHWM) over all of that; the programs that it starts have their own.
The baseline is what the process held before. Any failure ends the benchmark without a result.
"""

import json
import os
import random
import sys
import tarfile
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from benchmarks.artifacts import PROGRAM, member, write_tarball
from benchmarks.bakes import APP, Bakery, Caller, build_base, spec_of
from benchmarks.harness import Figure, RunningPlatform, report_values, running_platform, say
from fleetwide.client import Client
from fleetwide.dev.platform import status
from fleetwide.models.bakery import Artifact, ArtifactType, BakeSpec
from fleetwide.models.bakes import ENDED, BakeState

BAKES, REQUESTS = 50, 200
WAIT_SECONDS = 60
LIMIT_SECONDS = 180
MIB = 1024**2
HUGE_FILE_MIB = 240
DENSE_FILES, EMPTY_FILES = 3, 5
FIGURE = Figure(
    name="bake_crowd",
    unit="MiB of the builder's own process at its peak",
    goal=300,
    better="lower",
    baseline="the same process before it bakes",
)


def process_id(running: RunningPlatform, name: str) -> int:
    found = next(one.pid for one in status(running.state) if one.name == name)
    if found is None:
        sys.exit(f"{name} does not run")
    return found


def memory_mib(pid: int, name: str) -> float:
    """A field of the process's status in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return round(int(kibibytes) / 1024, 1)


def ask_at_once(api: str, specs: list[BakeSpec], path: str) -> list[dict[str, object]]:
    """The operations that all these requests, made in the same moment, were answered with."""
    together = Barrier(len(specs))

    def ask(wanted: BakeSpec) -> dict[str, object]:
        caller = Caller(api, "POST", path, wanted.model_dump_json())
        together.wait()
        status_code, body = caller.call()
        caller.close()
        if status_code not in (200, 202):
            sys.exit(f"a bake was answered {status_code}: {body.decode()[:500]}")
        operation: dict[str, object] = json.loads(body)
        return operation

    with ThreadPoolExecutor(len(specs)) as pool:
        return list(pool.map(ask, specs))


def states(running: RunningPlatform, name: str) -> Counter[BakeState]:
    """How many runs of bakes of an application stand where."""
    found: Counter[BakeState] = Counter()
    cursor = None
    with Client(running.url("api")) as client:
        while True:
            page = client.bakery.bakes(name=name, cursor=cursor, limit=200)
            found.update(one.state for one in page.items)
            cursor = page.next
            if cursor is None:
                return found


def all_ended(running: RunningPlatform, name: str, count: int) -> Counter[BakeState]:
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        found = states(running, name)
        if sum(found[state] for state in ENDED) >= count:
            return found
        time.sleep(0.5)
    sys.exit(f"{name}: not all ended within {LIMIT_SECONDS} s: {states(running, name)}")


def spec(artifact: Artifact, name: str, version: str = "1", **more: object) -> BakeSpec:
    entrypoint = [f"/opt/{name}/run"]
    return spec_of(artifact, version, f"{APP}:1", name=name, entrypoint=entrypoint, **more)


def many(running: RunningPlatform, folder: Path) -> float:
    """Seconds for different bakes at once."""
    bakery = Bakery(running)
    specs = []
    for number in range(BAKES):
        artifact = bakery.upload(write_tarball(folder, {}, number), ArtifactType.TARBALL)
        specs.append(spec(artifact, "many", str(number), smoke={}))
    started = time.perf_counter()
    ask_at_once(running.url("api"), specs, "/v1/bakes")
    found = all_ended(running, "many", BAKES)
    if found != {BakeState.AVAILABLE: BAKES}:
        sys.exit(f"{BAKES} bakes at once ended as {found}")
    return time.perf_counter() - started


def one_for_all(running: RunningPlatform, folder: Path) -> float:
    """Seconds until all who asked for one bake have its image."""
    artifact = Bakery(running).upload(write_tarball(folder, {}, BAKES), ArtifactType.TARBALL)
    wanted = spec(artifact, "one")
    started = time.perf_counter()
    path = f"/v1/bakes?wait={WAIT_SECONDS}"
    answers = ask_at_once(running.url("api"), [wanted] * REQUESTS, path)
    taken = time.perf_counter() - started
    images = {json.dumps(answer["result"], sort_keys=True) for answer in answers}
    builds = states(running, "one")
    if builds[BakeState.AVAILABLE] != 1 or set(builds) - {BakeState.CACHED, BakeState.AVAILABLE}:
        sys.exit(f"{REQUESTS} requests for one bake ended as {builds}")
    if len(images) != 1:
        sys.exit(f"{REQUESTS} requests for one bake have {len(images)} different answers")
    return taken


def huge(running: RunningPlatform, folder: Path) -> float:
    """Seconds for an artifact of 2 GB, most of which are zeros: gzip is not what is measured."""
    bakery = Bakery(running)
    artifact = bakery.upload(write_huge(folder), ArtifactType.TARBALL)
    return bakery.bake(spec(artifact, "huge"))[0]


def write_huge(folder: Path) -> Path:
    """A plain tar; a block that repeats only past gzip's window does not pack at all."""
    path, dense = folder / "huge.tar", random.Random(4).randbytes(MIB)
    with path.open("wb") as writer:
        writer.write(member("run", len(PROGRAM), 0o755).tobuf())
        writer.write(PROGRAM.ljust(tarfile.BLOCKSIZE, b"\0"))
        for number in range(DENSE_FILES + EMPTY_FILES):
            writer.write(member(f"{number}.bin", HUGE_FILE_MIB * MIB, 0o644).tobuf())
            if number < DENSE_FILES:
                for _ in range(HUGE_FILE_MIB):
                    writer.write(dense)
            else:
                writer.seek(HUGE_FILE_MIB * MIB, os.SEEK_CUR)
        writer.truncate(writer.tell() + 2 * tarfile.BLOCKSIZE)
    return path


def main() -> None:
    with running_platform() as running, tempfile.TemporaryDirectory(prefix="fw-bench-") as name:
        build_base(running, "1")
        builder, folder = process_id(running, "builder"), Path(name)
        before = memory_mib(builder, "VmRSS")
        say(f"{BAKES} bakes at once")
        seconds = {"bakes_seconds": many(running, folder)}
        say(f"{REQUESTS} requests for one bake at once")
        seconds["requests_seconds"] = one_for_all(running, folder)
        say("an artifact of 2 GB")
        seconds["huge_seconds"] = huge(running, folder)
        if process_id(running, "builder") != builder:
            sys.exit("the builder ended meanwhile, and was started again")
        peak = memory_mib(builder, "VmHWM")
        api = memory_mib(process_id(running, "api"), "VmHWM")
        say(f"the API's own process took {api} MiB at its peak")
        taken = {key: round(value, 1) for key, value in seconds.items()}
        report_values(FIGURE, [peak], {"mib": before, **taken})


if __name__ == "__main__":
    main()
