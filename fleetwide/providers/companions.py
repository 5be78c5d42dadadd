"""All that an attempt has on this host besides its main container.

Each thing is made under a name that follows from the attempt's, or found under it, so a worker
that takes the attempt up goes on where the former one was killed. What was made before any program
ran is made anew; what a program may have seen stays as it is.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fleetwide.containers.company import (
    HOLDER,
    HOLDER_PIDS,
    HOLDER_ROOT,
    PREPARER,
    SECRETS,
    Surroundings,
    company_labels,
    container_name,
    extra_run,
    folders,
    holder_request,
    in_company,
    parts,
    preparer_request,
    secret_mounts,
    secrets_request,
    volume_request,
)
from fleetwide.containers.launch import PIDS_LIMIT, create_request
from fleetwide.containers.outcome import ContainerState
from fleetwide.errors import (
    CloudUnavailable,
    DockerUnavailable,
    InvalidInput,
    NotFound,
    ServiceUnavailable,
)
from fleetwide.models.containers import RunContainer
from fleetwide.models.extra_containers import ExtraEnd, ExtraProgress, Start
from fleetwide.models.secrets import SecretUse
from fleetwide.models.volumes import VolumeKind
from fleetwide.providers.common_limits import CommonLimits, Limits, common_limits
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.docker_volumes import (
    get_files,
    make_volume,
    put_files,
    put_folders,
    remove_volume,
)
from fleetwide.providers.extras import Extra, Fail, Setting
from fleetwide.providers.fetching import Fetcher
from fleetwide.providers.host_folders import Allowed, host_folder, parse_allowed
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.pause import IMAGE, import_image
from fleetwide.providers.probes import address_of
from fleetwide.providers.seccomp import seccomp_profile
from fleetwide.providers.secret_memory import SecretMemory
from fleetwide.providers.task_secrets import SecretSource, secret_source
from fleetwide.settings import Settings

READY_POLL_SECONDS = 0.1


def limits_of(host: ContainerHost) -> CommonLimits:
    """The control groups of this host worker, as its Engine wants them."""
    with host.engine("describe this host") as api:
        driver = str(api.info().get("CgroupDriver", "cgroupfs"))
    return common_limits(driver, f"{host.platform}\0{host.host_id}")


@dataclass(frozen=True)
class Means:
    """What this host has for tasks besides Docker."""

    limits: CommonLimits
    secrets: Callable[[], SecretSource]
    allowed: Sequence[Allowed]

    @classmethod
    def of(cls, host: ContainerHost, settings: Settings) -> "Means":
        """Raises ``InvalidInput`` for settings that are wrong."""
        allowed = parse_allowed(settings.host_paths)
        return cls(limits_of(host), lambda: secret_source(settings), allowed)


class Company:
    """Used by the attempt's own thread; ``progress``, ``flush_logs``, ``detach`` by any."""

    def __init__(
        self, host: ContainerHost, store: ObjectStore, run: RunContainer, means: Means, fail: Fail
    ) -> None:
        self.run = run
        self._host = host
        self._means = means
        self._setting = Setting(host, store, run, fail)
        self._extras: list[Extra] = []
        self._around: Surroundings | None = None
        self._address: str | None = None
        self._values: dict[str, bytes] = {}
        self._rotated: list[bytes] = []
        self._memory = SecretMemory(host.platform, host.host_id)
        self._forgotten = False
        self._prepared = False

    @property
    def secrets(self) -> list[bytes] | None:
        """The values, once they are known: they are kept out of logs.

        None when the containers got some that nobody can tell any more.
        """
        return None if self._forgotten else [*self._values.values(), *self._rotated]

    @property
    def address(self) -> str | None:
        """Where the host reaches the network that all share."""
        return self._address

    def fetch(self, main_image: str, fetcher: Fetcher, wanted: Callable[[], bool]) -> bool:
        """Have the images of all containers here before any starts; False when given up."""
        runs = (extra_run(self.run, extra) for extra in self.run.container.extra_containers)
        for image in (main_image, *(self._host.image_name(run.image) for run in runs)):
            if not self._host.has_image(image):
                fetcher.pull(image)
            if not wanted():
                return False
        return True

    def gather(self, *, main_runs: bool) -> bool:
        """Make what the containers share, or find it; False when it is gone below the main one.

        Raises:
            InvalidInput: the host has no such secret, or lets nobody mount such a folder.
            ServiceUnavailable: what was there is of no use any more; the next try begins anew.
        """
        folders_of_host = self._host_folders()
        parent = self._means.limits.ensure(self.run.key.container_name(), self._limits())
        holder = self._host.inspect(self._named(HOLDER))
        if holder is not None and holder.over:
            if main_runs:
                self._recall()
                return False
            self.remove()
            raise ServiceUnavailable("what the containers share is gone; the next try makes it")
        if holder is None or holder.status == "created":
            holder = self._hold(parent)
        self._address = address_of(self._host, holder.id, self.run.container.network)
        where = self._provide_secrets(holder.id) if self.run.container.secrets else ""
        writable = {volume.name for volume in self.run.container.volumes if volume.writable}
        self._around = Surroundings(holder.id, parent, folders_of_host, frozenset(writable), where)
        self._ready_extras()
        if main_runs:
            self._take_up()
        return True

    def remember(self) -> None:
        """What is needed of a main container that has ended already: its others and secrets."""
        holder = self._host.inspect(self._named(HOLDER))
        if holder is not None and not holder.over:
            self._values = get_files(self._host, holder.id, f"{HOLDER_ROOT}/{SECRETS}")
        if self._values.keys() != self.run.container.secrets.keys():
            self._recall()
        self._ready_extras()
        self._take_up()

    def start(self, when: Start, fetcher: Fetcher, wanted: Callable[[], bool]) -> bool:
        """Start those that start then, in order; False when the attempt is not wanted any more."""
        for extra in self._extras:
            if extra.spec.start is not when or extra.started:
                continue
            if not wanted() or not extra.start(fetcher, self._extra_body(extra), self._address):
                return False
            while when is Start.BEFORE and not extra.is_ready():
                if not wanted():
                    return False
                time.sleep(READY_POLL_SECONDS)
        return wanted()

    def main_body(self, body: dict[str, Any]) -> dict[str, Any]:
        """The main container's request, with network, limits, volumes and secrets of its own."""
        assert self._around is not None
        spec = self.run.container
        moved = in_company(body, self.run, spec.mounts, self._around)
        moved["HostConfig"]["Mounts"] += secret_mounts(self.run, self._around)
        moved["Env"] = [*moved["Env"], *self._secret_env()]
        return moved

    def stop(self, when: Start) -> None:
        """Stop those that were started then, the last one first."""
        for extra in reversed(self._extras):
            if extra.spec.start is when:
                extra.stop()

    def ends(self) -> list[ExtraEnd]:
        """How the extra containers ended, once all were stopped."""
        return [extra.end() for extra in self._extras]

    def progress(self) -> list[ExtraProgress]:
        return [extra.progress() for extra in self._extras]

    def flush_logs(self) -> None:
        for extra in self._extras:
            extra.flush_log()

    def detach(self) -> None:
        for extra in self._extras:
            extra.detach()

    def remove(self) -> None:
        """Take away all that is there, the last made first; what is missing counts as removed."""
        for spec in reversed(self.run.container.extra_containers):
            self._host.remove(self._named(spec.name))
        self._host.remove(self.run.key.container_name())
        for name in (PREPARER, HOLDER):
            self._host.remove(self._named(name))
        for part in reversed(parts(self.run)):
            remove_volume(self._host, part.name)
        self._memory.forget(self.run.key.container_name())
        remove_volume(self._host, self._named(SECRETS))
        self._means.limits.remove(self.run.key.container_name())

    def _named(self, name: str) -> str:
        return container_name(self.run.key, name)

    def _limits(self) -> Limits:
        resources = self.run.container.resources
        memory = create_request(self.run, "", "")["HostConfig"]["Memory"]
        return Limits(resources.cpu_milli, memory, PIDS_LIMIT + HOLDER_PIDS)

    def _host_folders(self) -> dict[str, str]:
        return {
            volume.name: host_folder(volume, self._means.allowed)
            for volume in self.run.container.volumes
            if volume.kind is VolumeKind.HOST
        }

    def _hold(self, parent: str) -> ContainerState:
        """Make volumes and holder, and start it: no program of the task has run by then."""
        where: dict[str, str] = {}
        for part in parts(self.run):
            whole = where.get(part.volume.name, "")
            request = volume_request(self.run, self._host.platform, part, whole)
            found = make_volume(self._host, request)
            where.setdefault(part.volume.name, found)
        if self.run.container.secrets:
            make_volume(self._host, secrets_request(self.run, self._host.platform))
        if where:
            self._make_folders()
        request = holder_request(self.run, self._host.platform, IMAGE, parent)
        holder = self._made(self._named(HOLDER), request)
        self._host.start(holder.id)
        return holder

    def _make_folders(self) -> None:
        name = self._named(PREPARER)
        preparer = self._made(name, preparer_request(self.run, self._host.platform, IMAGE))
        put_folders(self._host, preparer.id, HOLDER_ROOT, folders(self.run))
        self._host.remove(name)

    def _made(self, name: str, request: dict[str, Any]) -> ContainerState:
        found = self._host.create(name, request)
        if found is None:
            import_image(self._host)
            found = self._host.create(name, request)
        if found is None:
            raise DockerUnavailable(f"Docker took the image {IMAGE}, but does not have it")
        return found

    def _provide_secrets(self, holder: str) -> str:
        """Have all values in memory; answers the folder of the host that they lie in."""
        uses = self.run.container.secrets
        folder = f"{HOLDER_ROOT}/{SECRETS}"
        # A container may have been made with these: they stay, whatever the source says by now.
        self._values = get_files(self._host, holder, folder)
        if self._values.keys() != uses.keys():
            source = self._means.secrets()
            self._values = {
                name: source.read(self.run.app, use.source) for name, use in uses.items()
            }
            put_files(self._host, holder, folder, self._values)
        self._memory.keep(self.run.key.container_name(), self._values)
        return make_volume(self._host, secrets_request(self.run, self._host.platform))

    def _recall(self) -> None:
        """Find the values out again when the memory that they lay in is gone.

        This host remembers them; else a variable's value stands in the main container, and a
        file's is read at the source again. One that was rotated there is kept out of logs, too:
        the program may have got it by itself.
        """
        given = self._env_of_main() if self.run.container.secrets else {}
        known = self._memory.recall(self.run.key.container_name())
        for name, use in self.run.container.secrets.items():
            if use.target.env in given:
                known.setdefault(name, given[use.target.env].encode())
            if use.target.env is None or name not in known:
                self._reread(name, use, known)
        self._values |= known

    def _reread(self, name: str, use: SecretUse, known: dict[str, bytes]) -> None:
        try:
            now = self._means.secrets().read(self.run.app, use.source)
        except InvalidInput:
            self._forgotten = self._forgotten or name not in known
            return
        except CloudUnavailable:
            if name not in known:
                raise
            return
        if known.setdefault(name, now) != now:
            self._rotated.append(now)

    def _env_of_main(self) -> dict[str | None, str]:
        name = self.run.key.container_name()
        try:
            with self._host.engine(f"inspect {name}") as api:
                found = api.inspect_container(name)["Config"]["Env"] or []
        except NotFound:
            return {}
        return {one.partition("=")[0]: one.partition("=")[2] for one in found}

    def _secret_env(self) -> list[str]:
        found = []
        for name, use in self.run.container.secrets.items():
            if use.target.env is not None:
                found.append(f"{use.target.env}={_text(name, self._values[name])}")
        return found

    def _ready_extras(self) -> None:
        if not self._extras:
            specs = self.run.container.extra_containers
            self._extras = [Extra(self._setting, spec, self.secrets) for spec in specs]

    def _take_up(self) -> None:
        for extra in self._extras:
            found = self._host.inspect(extra.name)
            if found is not None and found.status != "created":
                extra.take_up(found, self._address)

    def _extra_body(self, extra: Extra) -> dict[str, Any]:
        assert self._around is not None
        run = extra_run(self.run, extra.spec)
        profile = seccomp_profile(self._host.seccomp_dir, run.container.security.seccomp)
        image, platform = self._host.image_name(run.image), self._host.platform
        body = create_request(run, image, platform, profile)
        body["Labels"] = company_labels(self.run, platform, extra.spec.name)
        return in_company(body, self.run, extra.spec.mounts, self._around)


def _text(name: str, value: bytes) -> str:
    """A value as a variable's; one that cannot be a variable is refused without telling it."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InvalidInput.for_field(
            f"container.secrets.{name}", f"the secret {name} is no text: it can only be a file"
        )
    return text
