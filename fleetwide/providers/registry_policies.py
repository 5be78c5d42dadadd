"""The registry policy that an organisation keeps as a file."""

from dataclasses import dataclass, field
from pathlib import Path

import structlog

from fleetwide.errors import InvalidInput, ServiceUnavailable
from fleetwide.models.registry_policy import RegistryPolicy
from fleetwide.providers.yaml_files import read_yaml

BUILT_IN = "the platform's own policy"
HINT = "see docs/guides/registry.md for what the file may say"

log = structlog.get_logger()


def read_registry_policy(path: Path | None) -> RegistryPolicy:
    """The policy of a YAML or JSON file; without a file the platform's own.

    Raises:
        InvalidInput: the file cannot be read, or something in it is wrong.
    """
    if path is None:
        return RegistryPolicy()
    return read_yaml(path, RegistryPolicy, "the registry policy", HINT)


@dataclass
class PolicyFile:
    """The policy of a file that may change: it is read anew when its time or size has."""

    path: Path | None
    _policy: RegistryPolicy | None = None
    _stamp: tuple[int, int, int] | None = field(default=None)
    _logged: str = ""

    @property
    def source(self) -> str:
        """What to name when a rule of it is told: where the file lies is nobody's business."""
        return BUILT_IN if self.path is None else self.path.name

    def current(self) -> RegistryPolicy:
        """The policy as it is now.

        Raises:
            InvalidInput: the file is gone or wrong; nothing is guessed in its place.
        """
        stamp = self._look()
        if self._policy is None or stamp is None or stamp != self._stamp:
            self._policy, self._stamp = read_registry_policy(self.path), stamp
        return self._policy

    def serving(self) -> RegistryPolicy:
        """``current`` for a process that answers others: they are not at fault, nor told of paths.

        Raises:
            ServiceUnavailable: the file is gone or wrong; the log says what and where.
        """
        try:
            policy = self.current()
        except InvalidInput as fault:
            self._log(fault)
            raise ServiceUnavailable(
                "the registry's policy cannot be used now",
                hint="who runs the registry finds the reason in its log",
            ) from fault
        self._logged = ""
        return policy

    def _log(self, fault: InvalidInput) -> None:
        """Once per fault, and not again with every request."""
        if fault.message != self._logged:
            self._logged = fault.message
            log.error("registry.policy_unusable", path=str(self.path), reason=fault.message)

    def _look(self) -> tuple[int, int, int] | None:
        if self.path is None:
            return (0, 0, 0)
        try:
            found = self.path.stat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)
