"""From an attempt to the Docker Engine's create request, and back from its labels."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.models.containers import AttemptKey, Network, RunContainer
from fleetwide.models.isolation import Security

LABEL = "fleetwide"
PLATFORM_LABEL = f"{LABEL}.platform"
HOST_LABEL = f"{LABEL}.host"
DISK_LABEL = f"{LABEL}.disk"
"""Bytes that the containers of an attempt may write, all together."""
NETWORK_LABEL = f"{LABEL}.network"
"""Mbit/s of a container that has a link of its own."""
PORT_VARIABLE = "FLEETWIDE_PORT_"
DEVICES_VARIABLE = "FLEETWIDE_DEVICES"
PIDS_LIMIT = 4096
# The Engine refuses less; the scheduler reserves what was asked for, which is at most 2 MiB off.
ENGINE_MIN_MEMORY = 6 * 1024**2
ENGINE_MIN_NANO_CPUS = 10_000_000
# Docker's default set without the two that reach beyond the container: raw packets, device nodes.
DROPPED_CAPABILITIES = ["NET_RAW", "MKNOD"]
# What every NVIDIA device node needs beside itself.
NVIDIA_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm")
# The Engine's own copy of the log: the disk of a host is shared, one task must not fill it.
ENGINE_LOG = {"Type": "json-file", "Config": {"max-size": "128m", "max-file": "2"}}


def docker_image(registry_url: str, image: str) -> str:
    """The name by which Docker pulls ``image`` (repository@digest) from the registry."""
    location = urlsplit(registry_url).netloc
    if not location:
        raise InvalidInput.for_field("registry_url", "must be an http(s) URL", given=registry_url)
    return f"{location}/{image}"


def labels(run: RunContainer, platform: str) -> dict[str, str]:
    """What marks a container as this attempt's, on this host, of this platform."""
    return {
        PLATFORM_LABEL: platform,
        HOST_LABEL: run.host_id,
        f"{LABEL}.app": run.app,
        f"{LABEL}.workflow_id": run.key.workflow_id,
        f"{LABEL}.run_id": run.key.run_id,
        f"{LABEL}.index": str(run.key.index),
        f"{LABEL}.attempt": str(run.key.attempt),
        DISK_LABEL: str(run.container.resources.disk_bytes),
        **_rate(run),
    }


def _rate(run: RunContainer) -> dict[str, str]:
    rate = run.container.resources.network
    limited = rate and run.container.network is Network.BRIDGE
    return {NETWORK_LABEL: str(rate)} if limited else {}


def key_from_labels(found: dict[str, str]) -> AttemptKey | None:
    """The attempt that a container's labels name; None when they name none."""
    values = {name: found.get(f"{LABEL}.{name}") for name in AttemptKey.model_fields}
    try:
        return AttemptKey.model_validate(values)
    except ValidationError:
        return None


def create_request(
    run: RunContainer, image: str, platform: str, seccomp: str | None = None
) -> dict[str, Any]:
    """The body of the Engine's ``POST /containers/create`` for this attempt.

    ``seccomp`` is a profile's JSON; None for the Engine's own.
    """
    spec = run.container
    body: dict[str, Any] = {
        "Image": image,
        "Env": [f"{name}={value}" for name, value in environment(run).items()],
        "Labels": labels(run, platform),
        "StopTimeout": spec.stop_grace_seconds,
        "HostConfig": {
            **_limits(run),
            **_confinement(run.container.security, seccomp),
            **device_access(run.devices),
        },
    }
    bindings = port_bindings(run)
    if bindings:
        body["ExposedPorts"] = {port: {} for port in bindings}
        body["HostConfig"]["PortBindings"] = bindings
    if spec.security.user is not None:
        body["User"] = spec.security.user
    if spec.entrypoint is not None:
        body["Entrypoint"] = spec.entrypoint
    if spec.command is not None:
        body["Cmd"] = spec.command
    return body


def environment(run: RunContainer) -> dict[str, str]:
    """What the container finds in its environment: the task's own, and what the platform chose."""
    ports = {f"{PORT_VARIABLE}{name}": str(port) for name, port in run.ports.items()}
    devices = {DEVICES_VARIABLE: ",".join(run.devices)} if run.devices else {}
    return {**run.container.env, **ports, **devices, **run.extra_env}


def port_bindings(run: RunContainer) -> dict[str, list[dict[str, str]]]:
    """The host's port behind each port that the container listens on, as the Engine reads them.

    None on the host's own network: there the container listens on the host's port itself.
    """
    if run.container.network is not Network.BRIDGE:
        return {}
    bindings: dict[str, list[dict[str, str]]] = {}
    for name, number in run.ports.items():
        wanted = run.container.resources.ports[name]
        inside = f"{wanted.to or number}/{wanted.protocol}"
        bindings.setdefault(inside, []).append({"HostIp": "", "HostPort": str(number)})
    return bindings


def device_access(devices: list[str]) -> dict[str, Any]:
    """Access to device nodes (ids that are paths), and to what a vendor's driver finds by id."""
    nodes = [device for device in devices if device.startswith("/")]
    if any(node.startswith("/dev/nvidia") for node in nodes):
        nodes += NVIDIA_NODES
    found: dict[str, Any] = {}
    if nodes:
        found["Devices"] = [
            {"PathOnHost": node, "PathInContainer": node, "CgroupPermissions": "rw"}
            for node in nodes
        ]
    ids = [device for device in devices if not device.startswith("/")]
    if ids:
        found["DeviceRequests"] = [
            {"Driver": "nvidia", "DeviceIDs": ids, "Capabilities": [["gpu"]]}
        ]
    return found


def _limits(run: RunContainer) -> dict[str, Any]:
    resources = run.container.resources
    memory = max(int(resources.memory), ENGINE_MIN_MEMORY)
    return {
        "NanoCpus": max(resources.cpu_milli * 1_000_000, ENGINE_MIN_NANO_CPUS),
        "Memory": memory,
        # Equal to the memory: no swap, so that the limit is the limit.
        "MemorySwap": memory,
        "ShmSize": resources.shared_memory_bytes,
        "PidsLimit": PIDS_LIMIT,
        "NetworkMode": Network(run.container.network).value,
        # An init as process 1 passes SIGTERM on (a plain process 1 ignores it) and reaps zombies;
        # measured: no cost in time, 2 ms at most in CPU.
        "Init": True,
        "LogConfig": ENGINE_LOG,
    }


def _confinement(security: Security, seccomp: str | None) -> dict[str, Any]:
    profile = [] if seccomp is None else [f"seccomp={seccomp}"]
    return {
        "SecurityOpt": ["no-new-privileges", *profile],
        "CapAdd": list(security.add_capabilities),
        "CapDrop": _dropped(security),
        "Privileged": False,
        "ReadonlyRootfs": security.read_only_root,
        "Tmpfs": {
            folder: f"rw,nosuid,nodev,mode=1777,size={int(size)}"
            for folder, size in security.scratch.items()
        },
    }


def _dropped(security: Security) -> list[str]:
    if security.drop_all_capabilities:
        return ["ALL"]
    unused = [one for one in DROPPED_CAPABILITIES if one not in security.add_capabilities]
    return sorted({*unused, *security.drop_capabilities})
