"""Look a bake's payload over by the bakery policy, before anything of it is published."""

import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fleetwide.bakery.binaries import HEAD_BYTES
from fleetwide.bakery.container_users import Accounts, ContainerUser, container_user
from fleetwide.bakery.defaults import default_env
from fleetwide.bakery.lint import lint
from fleetwide.bakery.lint_subject import Leak, LintSubject
from fleetwide.bakery.policy import refuse
from fleetwide.bakery.programs import Program, candidates, find_file, interpreters, obstacle
from fleetwide.baseos.checks import Entry
from fleetwide.baseos.leaks import MAX_FILE, find_leaks, is_scanned
from fleetwide.errors import InvalidInput, PlatformError, SmokeTestFailed
from fleetwide.models.bakes import LintFinding, ResolvedBake
from fleetwide.models.policy import BakeryPolicy
from fleetwide.providers.image_view import ImageView, read_start
from fleetwide.providers.layers import LayerEntry
from fleetwide.providers.payloads import Payload
from fleetwide.providers.policies import read_policy
from fleetwide.providers.progress import Progress, Throttled, no_progress
from fleetwide.settings import Settings


def load_policy(settings: Settings) -> BakeryPolicy:
    """The policy of this builder.

    Raises:
        PlatformError: its file is wrong, which is no fault of the bake.
    """
    try:
        return read_policy(settings.bakery_policy)
    except InvalidInput as error:
        raise PlatformError(error.message, hint=error.hint) from error


def check_payload(
    bake: ResolvedBake,
    payload: Payload,
    base: Path,
    layer_size: int,
    policy: BakeryPolicy,
    progress: Progress = no_progress,
) -> list[LintFinding]:
    """What the policy has against the image that would come out: warnings only.

    ``base`` is the unpacked root of the base, ``layer_size`` the compressed bytes of the layer.

    Raises:
        PolicyRefused: the policy refuses the image.
    """
    return judge(read_subject(bake, payload, base, progress), layer_size, policy)


def judge(subject: LintSubject, layer_size: int, policy: BakeryPolicy) -> list[LintFinding]:
    """The second half of ``check_payload``: what needs the layer's size, and the policy."""
    findings = lint(replace(subject, layer_size=layer_size), policy)
    refuse(findings, f"{subject.spec.name} {subject.spec.version}")
    return findings


def read_subject(
    bake: ResolvedBake,
    payload: Payload,
    base: Path,
    progress: Progress = no_progress,
) -> LintSubject:
    """All that the rules need but the layer's size; what ``progress`` raises comes through."""
    entries = sorted(payload.entries, key=lambda one: one.path)
    return LintSubject(
        spec=bake.spec,
        entries=[_entry(one) for one in entries if one.source is not None],
        leaks=list(_leaks(entries, Throttled(progress))),
        packages=payload.packages,
        base=bake.base,
        program=_program(bake, ImageView(payload.entries, base)),
        today=int(time.time()),
    )


def _entry(one: LayerEntry) -> Entry:
    assert one.source is not None
    size = one.source.lstat().st_size if stat.S_ISREG(one.mode) else 0
    return Entry(one.path, one.mode, size)


def _leaks(entries: Sequence[LayerEntry], progress: Progress) -> Iterator[Leak]:
    for one in entries:
        progress("looking for secrets", None)
        if one.source is None or not stat.S_ISREG(one.mode):
            continue
        if is_scanned(one.path, one.source.lstat().st_size):
            content = read_start(one.source, MAX_FILE)
            yield from (Leak(one.path, sentence) for sentence in find_leaks(one.path, content))


def _program(bake: ResolvedBake, view: ImageView) -> Program | None:
    spec = bake.spec
    words = [*spec.entrypoint, *spec.command]
    if not words:
        return None
    env = default_env(bake)
    path = find_file(candidates(words[0], spec.workdir, env), view.look)
    if path is None:
        return Program(words[0])
    named = interpreters(view.read(path, HEAD_BYTES))
    missing = (
        word for word in named if find_file(candidates(word, spec.workdir, env), view.look) is None
    )
    return Program(
        words[0],
        path,
        missing_interpreter=next(missing, ""),
        obstacle=_obstacle(spec.user, path, view, script=bool(named)),
    )


def _obstacle(name: str, path: str, view: ImageView, *, script: bool) -> str:
    try:
        user = _user(name, view)
    except SmokeTestFailed:
        return "is not known to the image"
    return obstacle(path, user, view.look, script=script)


def _user(name: str, view: ImageView) -> ContainerUser:
    passwd, group = (
        view.read(file, MAX_FILE).decode(errors="replace") for file in ("etc/passwd", "etc/group")
    )
    return container_user(name, Accounts(passwd, group))
