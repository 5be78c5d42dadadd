"""How much a namespace may hold."""

from dataclasses import dataclass

from fleetwide.models.registry_policy import RegistryPolicy

EVERY_OTHER = "*"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(frozen=True)
class Quota:
    """What is in the way of a push: bytes held before it, bytes that it adds, bytes allowed."""

    namespace: str
    used: int
    asked: int
    limit: int

    @property
    def exceeded(self) -> bool:
        """A push that adds nothing passes, also where the namespace is beyond its quota."""
        return self.asked > 0 and self.used + self.asked > self.limit

    def sentence(self) -> str:
        return (
            f"the namespace {self.namespace} holds {plain_size(self.used)} and may hold "
            f"{plain_size(self.limit)}; this image would add {plain_size(self.asked)} "
            f"(used {self.used}, asked {self.asked}, limit {self.limit} bytes)"
        )


def namespace_of(repository: str) -> str:
    """The first part of a repository's name."""
    return repository.partition("/")[0]


def policy_quota(policy: RegistryPolicy, namespace: str) -> int | None:
    """Bytes that the policy file allows the namespace; None for no limit."""
    limit = policy.quotas.get(namespace, policy.quotas.get(EVERY_OTHER))
    return None if limit is None else int(limit)


def plain_size(count: int) -> str:
    """Bytes as people read them."""
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.0f} B" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"
