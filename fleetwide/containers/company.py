"""What goes with a main container, in the Engine's words: names, labels, requests. Pure.

An attempt with extra containers, volumes or secrets has one container more, the *holder*. It runs
a program that only waits. It keeps the network that the others share, whichever of them comes and
goes, and holds every volume mounted from before the first program runs until the last has ended:
so what a path in a volume means is settled before anybody could put a link there.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleetwide.containers.launch import ENGINE_MIN_MEMORY, LABEL, create_request, labels
from fleetwide.models.containers import AttemptKey, RunContainer
from fleetwide.models.extra_containers import MAIN, ExtraContainer
from fleetwide.models.volumes import Mount, Volume, VolumeKind

CONTAINER_LABEL = f"{LABEL}.container"
"""Which of an attempt's containers it is; the main one does not carry it."""
HOLDER = "_holder"
PREPARER = "_preparer"
"""A container that never runs: through it the folders of volumes are made."""
SECRETS = "_secrets"
HOLDER_ROOT = "/fw"
"""Where the holder sees the volumes, each by its own name."""
SECRETS_BYTES = 4 * 1024**2
# A mount that the host makes later on below a folder does not appear in the container ...
PRIVATE = "rprivate"
# ... but the Engine wants this for what lies in its own folders; below a file nothing is mounted.
SLAVE = "rslave"
# Room in the common limits for the holder itself.
HOLDER_PIDS = 4


@dataclass(frozen=True)
class Part:
    """A volume, or a folder of one, as a volume of the Engine."""

    name: str
    """In the Engine."""
    volume: Volume
    sub_path: str | None = None

    @property
    def folder(self) -> str:
        """Its name below ``HOLDER_ROOT``."""
        return self.name.rpartition(".")[2] if self.sub_path else self.volume.name


def container_name(key: AttemptKey, name: str) -> str:
    """The Engine's name of one of an attempt's containers, or of its volumes."""
    main = key.container_name()
    return main if name == MAIN else f"{main}.{name}"


def log_key(key: AttemptKey, name: str) -> str:
    """Where the log of one of an attempt's containers lies in the object store."""
    return key.log_key() if name == MAIN else f"{key.log_key()}.{name}"


def parts(run: RunContainer) -> list[Part]:
    """All volumes that the Engine makes for an attempt: whole ones first."""
    spec = run.container
    made = {volume.name: volume for volume in spec.volumes if volume.kind is not VolumeKind.HOST}
    mounts = [*spec.mounts, *(one for extra in spec.extra_containers for one in extra.mounts)]
    subs = dict.fromkeys((one.volume, one.sub_path) for one in mounts if one.sub_path)
    return [
        *(Part(container_name(run.key, name), volume) for name, volume in made.items()),
        *(Part(_part_name(run.key, name, sub), made[name], sub) for name, sub in subs),
    ]


def _part_name(key: AttemptKey, volume: str, sub_path: str | None) -> str:
    whole = container_name(key, volume)
    if sub_path is None:
        return whole
    return f"{whole}.{hashlib.sha256(f'{volume}/{sub_path}'.encode()).hexdigest()[:12]}"


def company_labels(run: RunContainer, platform: str, name: str) -> dict[str, str]:
    """The main container's labels, and which of the attempt's things this is."""
    return {**labels(run, platform), CONTAINER_LABEL: name}


def volume_request(run: RunContainer, platform: str, part: Part, whole: str) -> dict[str, Any]:
    """What the Engine's local driver makes of a volume; ``whole`` is where the whole one lies."""
    options: dict[str, str] = {}
    if part.sub_path is not None:
        options = {"type": "none", "o": "bind", "device": f"{whole}/{part.sub_path}"}
    return {
        "name": part.name,
        "driver": "local",
        "driver_opts": options,
        "labels": company_labels(run, platform, part.volume.name),
    }


def secrets_request(run: RunContainer, platform: str) -> dict[str, Any]:
    """A volume that only lies in memory."""
    options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={SECRETS_BYTES},mode=0700"}
    return {
        "name": container_name(run.key, SECRETS),
        "driver": "local",
        "driver_opts": options,
        "labels": company_labels(run, platform, SECRETS),
    }


def preparer_request(run: RunContainer, platform: str, image: str) -> dict[str, Any]:
    """A container that sees the whole volumes, as yet without the folders that others need."""
    whole = [part for part in parts(run) if part.sub_path is None]
    return {
        "Image": image,
        "Labels": company_labels(run, platform, PREPARER),
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [_mounted(part.name, f"{HOLDER_ROOT}/{part.folder}") for part in whole],
        },
    }


def folders(run: RunContainer) -> list[str]:
    """The folders below ``HOLDER_ROOT`` that everybody may write to, outer ones first."""
    found: dict[str, None] = {}
    for part in parts(run):
        path = part.volume.name
        found[path] = None
        for step in (part.sub_path or "").split("/"):
            if step:
                path = f"{path}/{step}"
                found[path] = None
    return list(found)


def holder_request(run: RunContainer, platform: str, image: str, parent: str) -> dict[str, Any]:
    """The holder: it sees all volumes, may do nothing, and has the network of the attempt."""
    main = create_request(run, image, platform)
    host: dict[str, Any] = main["HostConfig"]
    names = [(part.name, part.folder) for part in parts(run)]
    if run.container.secrets:
        names.append((container_name(run.key, SECRETS), SECRETS))
    return {
        "Image": image,
        "Labels": company_labels(run, platform, HOLDER),
        "ExposedPorts": main.get("ExposedPorts", {}),
        "HostConfig": {
            "NetworkMode": host["NetworkMode"],
            "PortBindings": host.get("PortBindings", {}),
            "CgroupParent": parent,
            "Memory": ENGINE_MIN_MEMORY,
            "MemorySwap": ENGINE_MIN_MEMORY,
            "PidsLimit": HOLDER_PIDS,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "none"},
            "Mounts": [_mounted(name, f"{HOLDER_ROOT}/{folder}") for name, folder in names],
        },
    }


def extra_run(run: RunContainer, extra: ExtraContainer) -> RunContainer:
    """The attempt as if the extra container were its main one."""
    spec = run.container.model_copy(
        update={
            "entrypoint": extra.entrypoint,
            "command": extra.command,
            "env": extra.env,
            "security": extra.security or run.container.security,
            "mounts": extra.mounts,
        }
    )
    image = run.extra_images.get(extra.name, extra.image)
    return run.model_copy(update={"image": image, "container": spec})


@dataclass(frozen=True)
class Surroundings:
    """What the containers of one attempt share, once it is there."""

    holder: str
    """The holder's id."""
    parent: str
    """The control group whose limits hold for all together."""
    host_folders: Mapping[str, str]
    """By name of a volume of kind ``host``: the folder, without links, and ..."""
    writable: frozenset[str]
    """... which of them may be written."""
    secrets: str = ""
    """Folder of the host, in memory, with a file for each secret."""


def in_company(
    body: dict[str, Any], run: RunContainer, mounts: Iterable[Mount], around: Surroundings
) -> dict[str, Any]:
    """A container's create request, moved into the attempt's network, limits and volumes."""
    host = {key: value for key, value in body["HostConfig"].items() if key != "PortBindings"}
    host |= {
        "NetworkMode": f"container:{around.holder}",
        "CgroupParent": around.parent,
        "Mounts": [*host.get("Mounts", []), *(_mount(run, one, around) for one in mounts)],
    }
    rest = {key: value for key, value in body.items() if key != "ExposedPorts"}
    return {**rest, "HostConfig": host}


def secret_mounts(run: RunContainer, around: Surroundings) -> list[dict[str, Any]]:
    """The files of the attempt's secrets, each by itself and read-only."""
    return [
        _bound(f"{around.secrets}/{name}", use.target.file, read_only=True, propagation=SLAVE)
        for name, use in run.container.secrets.items()
        if use.target.file is not None
    ]


def _mount(run: RunContainer, mount: Mount, around: Surroundings) -> dict[str, Any]:
    folder = around.host_folders.get(mount.volume)
    if folder is not None:
        read_only = mount.read_only or mount.volume not in around.writable
        return _bound(folder, mount.path, read_only=read_only)
    name = _part_name(run.key, mount.volume, mount.sub_path)
    return _mounted(name, mount.path, read_only=mount.read_only)


def _mounted(volume: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    return {
        "Type": "volume",
        "Source": volume,
        "Target": path,
        "ReadOnly": read_only,
        # The image's own files at this path stay out of it: it begins empty for all.
        "VolumeOptions": {"NoCopy": True},
    }


def _bound(
    source: str, path: str, *, read_only: bool, propagation: str = PRIVATE
) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": path,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": propagation},
    }
