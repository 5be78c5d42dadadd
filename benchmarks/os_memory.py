"""How much memory a builder's own process takes to build an image, however big that image is.

A process of its own builds a container base and a VM disk, then a container base in which a script
left a file of 1.5 GiB. The value is the process's peak (VmHWM) in MiB; the programs that it starts
have their own. The baseline is what the process held before it began to build.
"""

import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import ROOT, machine, say
from fleetwide.baseos.locks import build_key
from fleetwide.baseos.plans import make_plan
from fleetwide.baseos.suites import Mirrors
from fleetwide.models.baseos import OSImageSpec, ScriptSpec, Target
from fleetwide.models.os_releases import LockedPlan
from fleetwide.providers.builder_cache import BuilderCache
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.os_builds import Workshop, build_container, build_vm
from fleetwide.providers.os_locks import LockResolver
from fleetwide.providers.progress import no_progress

GOAL_MIB = 512
BIG_FILE = "yes 'some text that does not end' | head -c 1536M > /srv/big"
SMALL = OSImageSpec(
    name="bench", version="1", suite="bookworm", targets=[Target.CONTAINER, Target.VM]
)
BIG = SMALL.model_copy(
    update={"targets": [Target.CONTAINER], "scripts": [ScriptSpec(name="big", run=BIG_FILE)]}
)
RUNS = {"container and VM": SMALL, "container with a file of 1.5 GiB": BIG}


def status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return round(int(kibibytes) / 1024, 1)


def build(folder: Path, spec: OSImageSpec) -> dict[str, float]:
    """Build every face of the spec here; peaks of this process and of its largest child."""
    objects = FolderStore(folder / "objects")
    cache = BuilderCache(folder, objects)
    before = status_mib("VmRSS")
    lock, ref = LockResolver(folder / "apt", objects, Mirrors()).resolve(spec, no_progress)
    cache.pool.fetch(lock.packages, no_progress)
    plan = make_plan(spec, "1", "os/bench")
    locked = LockedPlan(
        plan=plan,
        lock=ref,
        build_key=build_key(plan, ref.digest, lock.sources),
        source_date_epoch=cache.pool.source_date(lock.packages),
    )
    makers = {Target.CONTAINER: build_container, Target.VM: build_vm}
    for target in spec.targets:
        with tempfile.TemporaryDirectory(dir=folder) as workdir:
            Path(workdir).chmod(0o755)
            makers[target](locked, Workshop(Path(workdir), cache, lock), no_progress)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"before": before, "peak": status_mib("VmHWM"), "largest_child": round(children, 1)}


def measured(folder: Path, name: str) -> dict[str, float]:
    """The same in a process that has done nothing else."""
    command = [sys.executable, "-m", "benchmarks.os_memory", str(folder), name]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    say(f"  {name}: {found}")
    return found


def main() -> None:
    say("building each in a process of its own; MiB")
    with tempfile.TemporaryDirectory(prefix="fw-bench-") as folder:
        Path(folder).chmod(0o755)
        found = {name: measured(Path(folder), name) for name in RUNS}
    peaks = [one["peak"] for one in found.values()]
    line = {
        "name": "os_memory",
        "value": max(peaks),
        "unit": "MiB of the builder's own process at its peak",
        "goal": GOAL_MIB,
        "better": "lower",
        "baseline": {"what": "the same process before it builds", "mib": found},
        "runs": len(found),
        "spread": [min(peaks), max(peaks)],
        "machine": asdict(machine()),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(build(Path(sys.argv[1]), RUNS[sys.argv[2]])) + "\n")
    else:
        main()
