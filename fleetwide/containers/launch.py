"""From an attempt to the Docker Engine's create request, and back from its labels."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.models.containers import AttemptKey, Network, RunContainer

LABEL = "fleetwide"
PLATFORM_LABEL = f"{LABEL}.platform"
HOST_LABEL = f"{LABEL}.host"
PIDS_LIMIT = 4096
# The Engine refuses less; the scheduler reserves what was asked for, which is at most 2 MiB off.
ENGINE_MIN_MEMORY = 6 * 1024**2
ENGINE_MIN_NANO_CPUS = 10_000_000
# Docker's default set without the two that reach beyond the container: raw packets, device nodes.
DROPPED_CAPABILITIES = ["NET_RAW", "MKNOD"]
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
    }


def key_from_labels(found: dict[str, str]) -> AttemptKey | None:
    """The attempt that a container's labels name; None when they name none."""
    values = {name: found.get(f"{LABEL}.{name}") for name in AttemptKey.model_fields}
    try:
        return AttemptKey.model_validate(values)
    except ValidationError:
        return None


def create_request(run: RunContainer, image: str, platform: str) -> dict[str, Any]:
    """The body of the Engine's ``POST /containers/create`` for this attempt."""
    spec = run.container
    body: dict[str, Any] = {
        "Image": image,
        "Env": [f"{name}={value}" for name, value in {**spec.env, **run.extra_env}.items()],
        "Labels": labels(run, platform),
        "HostConfig": _host_config(run),
    }
    if spec.entrypoint is not None:
        body["Entrypoint"] = spec.entrypoint
    if spec.command is not None:
        body["Cmd"] = spec.command
    return body


def _host_config(run: RunContainer) -> dict[str, Any]:
    resources = run.container.resources
    memory = max(int(resources.memory), ENGINE_MIN_MEMORY)
    return {
        "NanoCpus": max(resources.cpu_milli * 1_000_000, ENGINE_MIN_NANO_CPUS),
        "Memory": memory,
        # Equal to the memory: no swap, so that the limit is the limit.
        "MemorySwap": memory,
        "PidsLimit": PIDS_LIMIT,
        "NetworkMode": Network(run.container.network).value,
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": DROPPED_CAPABILITIES,
        "Privileged": False,
        "ReadonlyRootfs": False,
        # An init as process 1 passes SIGTERM on (a plain process 1 ignores it) and reaps zombies;
        # measured: no cost in time, 2 ms at most in CPU.
        "Init": True,
        "LogConfig": ENGINE_LOG,
    }
