"""Versions of a service compared, and what a new one would lead to; nothing is done here."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fleetwide.models.revisions import (
    EFFECT_TEXT,
    ChangeKind,
    Effect,
    ServicePlan,
    SpecChange,
)
from fleetwide.models.service_moves import Kept
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.services.shares import limits_of

_LONGEST = 80
# A name or a value that tells of a credential; names of the platform's own secrets tell nothing.
_CREDENTIAL_NAME = re.compile(
    r"PASSW|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.IGNORECASE
)
_CREDENTIAL_VALUE = re.compile(r"://[^/\s@]*:[^/\s@]+@|-----BEGIN [A-Z ]*PRIVATE KEY")
_SIGNS = {ChangeKind.ADDED: "+", ChangeKind.REMOVED: "-", ChangeKind.CHANGED: "~"}


def spec_changes(before: ContainerServiceSpec, after: ContainerServiceSpec) -> list[SpecChange]:
    """Every value that differs, by its path."""
    old, new = (_flat(spec.model_dump(mode="json")) for spec in (before, after))
    return [
        _change(path, old.get(path), new.get(path))
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    ]


def needs_deploy(before: ContainerServiceSpec, after: ContainerServiceSpec) -> bool:
    """Whether copies of the one differ from copies of the other."""
    return before.container != after.container


def keeping(
    spec: ContainerServiceSpec, current: ContainerServiceSpec, kept: Iterable[Kept] = Kept
) -> ContainerServiceSpec:
    """A spec with what has updates of its own as ``current`` has it."""
    return spec.model_copy(update={name.value: getattr(current, name.value) for name in kept})


def effect_of(before: ContainerServiceSpec, after: ContainerServiceSpec) -> Effect:
    """The greatest thing that a new version leads to."""
    if needs_deploy(before, after):
        return Effect.DEPLOY
    if before.capacity != after.capacity:
        return Effect.CAPACITY
    return Effect.NOTHING if before == after else Effect.ATTRIBUTES


def plan(
    service_id: str, index: int, before: ContainerServiceSpec, after: ContainerServiceSpec
) -> ServicePlan:
    """What ``deploy`` of ``after`` would do to a service that has ``before`` as of ``index``."""
    changes, effect = spec_changes(before, after), effect_of(before, after)
    was, shall = before.capacity.desired, after.capacity.desired
    limits = limits_of(after.deploy, shall)
    deploys = effect is Effect.DEPLOY
    return ServicePlan(
        service_id=service_id,
        index=index,
        effect=effect,
        changes=changes,
        strategy=after.deploy.strategy if deploys else None,
        replaced=min(was, shall) if deploys else 0,
        started=max(shall - was, 0),
        stopped=max(was - shall, 0),
        most=limits.most if deploys else max(was, shall),
        least=limits.least if deploys else min(was, shall),
        sentence=_sentence(effect, after, was),
    )


def change_lines(changes: Sequence[SpecChange]) -> list[str]:
    """For people: one line for each change, ``+`` added, ``-`` removed, ``~`` changed."""
    return [f"{_SIGNS[change.kind]} {change.path}: {_told(change)}" for change in changes]


def plan_lines(planned: ServicePlan) -> list[str]:
    """For people: what changes, what it leads to, and how to insist on it."""
    lines = [*change_lines(planned.changes), planned.sentence]
    if planned.effect is not Effect.NOTHING:
        lines.append(
            f"apply just this: fleetwide service deploy {planned.service_id} -f SPEC "
            f"--expected-version {planned.index}"
        )
    return lines


def _sentence(effect: Effect, after: ContainerServiceSpec, was: int) -> str:
    shall = after.capacity.desired
    limits = limits_of(after.deploy, shall)
    size = "" if was == shall else f"; {was} copies become {shall}"
    if effect is not Effect.DEPLOY:
        return f"{EFFECT_TEXT[effect]}{size}"
    return (
        f"deploy ({after.deploy.strategy}): {min(was, shall)} copies are replaced, at most "
        f"{limits.most} live and at least {limits.least} stay ready meanwhile{size}"
    )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of a JSON value by their paths: texts, numbers, lists of words."""
    found: dict[str, Any] = {}
    for name, inner in _parts(value):
        found |= _flat(inner, f"{path}.{name}" if path else name)
    # An empty list of words is more than none: it clears what the image has.
    is_leaf = value not in (None, {}, []) or path.endswith((".entrypoint", ".command"))
    return found or ({path: value} if is_leaf and value is not None else {})


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What is named below a value: keys, or the names of a list's objects, else places."""
    match value:
        case Mapping():
            yield from value.items()
        case [Mapping(), *_] if _have_names(value):
            yield from ((str(one["name"]), one) for one in value)
        case [Mapping(), *_]:
            yield from ((str(place), one) for place, one in enumerate(value))
        case _:
            return


def _have_names(values: Sequence[Mapping[str, Any]]) -> bool:
    names = [one.get("name") for one in values]
    return all(names) and len(set(names)) == len(names)


def _change(path: str, before: Any, after: Any) -> SpecChange:
    kind = ChangeKind.CHANGED
    if before is None or after is None:
        kind = ChangeKind.ADDED if before is None else ChangeKind.REMOVED
    if _may_tell(path, before, after):
        return SpecChange(path=path, kind=kind, hidden=True)
    return SpecChange(path=path, kind=kind, before=before, after=after)


def _may_tell(path: str, *values: Any) -> bool:
    """Whether a value may be a credential: variables by their names, all else by its looks."""
    named = ".env." in path and _CREDENTIAL_NAME.search(path.rpartition(".env.")[2])
    return bool(named) or any(_CREDENTIAL_VALUE.search(str(value)) for value in values)


def _told(change: SpecChange) -> str:
    if change.hidden:
        return f"{change.kind} (not shown: it may be a credential)"
    match change.kind:
        case ChangeKind.ADDED:
            return _short(change.after)
        case ChangeKind.REMOVED:
            return _short(change.before)
        case ChangeKind.CHANGED:
            return f"{_short(change.before)} -> {_short(change.after)}"


def _short(value: Any) -> str:
    text = " ".join(str(word) for word in value) if isinstance(value, list) else str(value)
    shown = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."
