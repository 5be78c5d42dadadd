"""The environment that every workload gets, in containers and on VMs alike."""

from fleetwide.models.bakery import ArtifactType
from fleetwide.models.bakes import ResolvedBake

DEFAULT_TIME_ZONE = "UTC"
_DEFAULTS = {
    "LANG": "C.UTF-8",
    # Also for programs that read /etc/localtime only when this is unset.
    "TZ": DEFAULT_TIME_ZONE,
}
# Else the last lines of a container that is killed stay in a buffer.
_PYTHON = {"PYTHONUNBUFFERED": "1"}
_PYTHON_KINDS = frozenset({ArtifactType.WHEEL, ArtifactType.SDIST})


def default_env(bake: ResolvedBake) -> dict[str, str]:
    """The whole environment of a bake, ordered by name; what its spec says goes first."""
    kinds = {artifact.type for artifact in bake.spec.artifacts}
    python = _PYTHON if kinds & _PYTHON_KINDS else {}
    return dict(sorted({**_DEFAULTS, **python, **bake.spec.env}.items()))
