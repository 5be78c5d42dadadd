"""What a container base costs beyond bare mmdebstrap.

Ours: from the spec to the tagged image in a registry, with the packages in the pool and what apt
answered remembered: resolve, fetch, bootstrap, customise, check, layer, gzip, upload, manifest.
The baseline is mmdebstrap alone making a plain tar of the same packages with the same options from
the same private mirror. Both sides alternate in one run on one machine.
"""

import hashlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Figure, alternate, report, say
from fleetwide.baseos.bootstrap import Bootstrap, mmdebstrap_command
from fleetwide.baseos.locks import build_key
from fleetwide.baseos.packages import MERGED_USR, included
from fleetwide.baseos.plans import make_plan
from fleetwide.baseos.suites import Mirrors
from fleetwide.errors import RegistryUnavailable
from fleetwide.models.baseos import Face, OSImageSpec
from fleetwide.models.os_locks import Lock
from fleetwide.models.os_releases import LockedPlan
from fleetwide.providers.builder_cache import BuilderCache
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.images import push_base_image
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.os_builds import Workshop, build_container
from fleetwide.providers.os_locks import LockResolver
from fleetwide.providers.progress import no_progress

SPEC = OSImageSpec(name="bench", version="1", suite="bookworm", packages=["ca-certificates"])
PAIRS = 3
REGISTRY = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/registry}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
FIGURE = Figure(
    name="os_build",
    unit="ratio of wall times",
    goal=1.25,
    better="lower",
    baseline="mmdebstrap of the same packages with the same options as a plain tar, from the same "
    "private mirror; ours: from the spec to the pushed image, identical in every byte each time",
)


@contextmanager
def registry(folder: Path) -> Iterator[RegistryClient]:
    """A registry of our own on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text(REGISTRY.format(folder=folder, port=port))
    command = ["docker-registry", "serve", str(config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with RegistryClient(f"http://127.0.0.1:{port}") as client:
                await_answer(client, process)
                yield client
        finally:
            process.kill()


def await_answer(client: RegistryClient, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            client.ping()
        except RegistryUnavailable:
            time.sleep(0.1)
        else:
            return
    sys.exit("docker-registry ended at once")


class Fleetwide:
    """Our side; each run pushes to a repository that has nothing yet."""

    def __init__(self, folder: Path, client: RegistryClient) -> None:
        objects = FolderStore(folder / "objects")
        self.folder = folder
        self.client = client
        self.cache = BuilderCache(folder, objects)
        self.resolver = LockResolver(folder / "apt", objects, Mirrors())
        self.digests: list[str] = []

    def resolve(self) -> tuple[Lock, LockedPlan]:
        lock, ref = self.resolver.resolve(SPEC, no_progress)
        self.cache.pool.fetch(lock.packages, no_progress)
        plan = make_plan(SPEC, "1", "os/bench")
        locked = LockedPlan(
            plan=plan.model_copy(update={"repository": f"baseos/bench{len(self.digests)}"}),
            lock=ref,
            build_key=build_key(plan, ref.digest, lock.sources),
            source_date_epoch=self.cache.pool.source_date(lock.packages),
        )
        return lock, locked

    def run(self) -> float:
        started = time.perf_counter()
        lock, locked = self.resolve()
        workdir = self.folder / "work"
        workdir.mkdir()
        built = build_container(locked, Workshop(workdir, self.cache, lock), no_progress)
        layer = built.rootfs.layer
        self.client.upload_blob(locked.plan.repository, built.path, layer.digest, no_progress)
        push_base_image(self.client, locked, layer)
        shutil.rmtree(workdir)
        self.digests.append(layer.digest)
        return time.perf_counter() - started


class Mmdebstrap:
    """The baseline: one command and a tar."""

    def __init__(self, ours: Fleetwide) -> None:
        lock, locked = ours.resolve()
        self.mirror, self.tar = ours.folder / "mirror", ours.folder / "bare.tar"
        ours.cache.pool.lay_out_mirror(lock, Face.CONTAINER, self.mirror)
        self.mirror.chmod(0o755)
        run = Bootstrap(
            variant=SPEC.variant.value,
            architecture=SPEC.architecture,
            suite=SPEC.suite,
            include=included(SPEC, Face.CONTAINER, set()),
            merged_usr=SPEC.suite in MERGED_USR,
            trim=list(SPEC.trim),
            mirror=str(self.mirror),
            target=str(self.tar),
        )
        command = mmdebstrap_command(run)
        self.command = [word.replace("--format=directory", "--format=tar") for word in command]
        self.env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        self.env["SOURCE_DATE_EPOCH"] = str(locked.source_date_epoch)
        self.digests: list[str] = []

    def run(self) -> float:
        started = time.perf_counter()
        subprocess.run([*self.command, "--quiet"], env=self.env, check=True)
        taken = time.perf_counter() - started
        with self.tar.open("rb") as reader:
            self.digests.append(hashlib.file_digest(reader, "sha256").hexdigest())
        self.tar.unlink()
        return taken


def told(digests: list[str]) -> str:
    return "all identical" if len(set(digests)) == 1 else f"{len(set(digests))} different ones"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="fw-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with registry(folder) as client:
            ours = Fleetwide(folder, client)
            say("resolving and fetching once, and one build of each to warm up")
            bare = Mmdebstrap(ours)
            ours.run()
            bare.run()
            say(f"{PAIRS} pairs")
            measured = alternate(ours.run, bare.run, PAIRS)
    say(f"{len(ours.digests)} layers: {told(ours.digests)}")
    say(f"{len(bare.digests)} bare tars: {told(bare.digests)}")
    if len(set(ours.digests)) != 1:
        sys.exit("our layers differ")
    report(FIGURE, measured)


if __name__ == "__main__":
    main()
