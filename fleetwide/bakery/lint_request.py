"""Rules over what was asked for: how the workload starts, what it tells, what it stands on."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from fleetwide.bakery.bases import split_base
from fleetwide.bakery.defaults import DEFAULT_TIME_ZONE
from fleetwide.bakery.lint_subject import Found, LintSubject
from fleetwide.baseos.leaks import find_leaks
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.baseos import Target
from fleetwide.models.os_releases import Channel
from fleetwide.models.policy import BakeryPolicy

DAY_SECONDS = 86_400
FIRST_FREE_PORT = 1024
_SHELLS = frozenset({"sh", "ash", "bash", "busybox", "dash", "ksh", "zsh"})
_UTC = frozenset({DEFAULT_TIME_ZONE, "Etc/UTC", ""})
# Where people write their settings: there ``find_leaks`` looks for credentials in URLs too.
_SETTINGS = "etc/environment"
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|SECRET_KEY|TOKEN|API_?KEY|ACCESS_KEY"
    r"|PRIVATE_KEY|CREDENTIALS)$",
    re.IGNORECASE,
)
# A file, a place that is filled later, or a switch: no secret itself.
_HARMLESS = re.compile(r"(?:/.*|\$.*|true|false|none|\d|)", re.IGNORECASE)


def root_user(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    if _is_root(subject.spec):
        yield Found("user", f"{subject.spec.user} is root")


def _is_root(spec: BakeSpec) -> bool:
    name = spec.user.partition(":")[0]
    return name == "root" or (name.isdecimal() and int(name) == 0)


def secrets_asked_for(subject: LintSubject) -> Iterator[Found]:
    """In environment, labels and command words; none of them is told."""
    spec = subject.spec
    for name, value in spec.env.items():
        yield from _leaks_in(f"env.{name}", f"{name}={value}")
        if _SECRET_NAME.search(name) and not _HARMLESS.fullmatch(value):
            yield Found(f"env.{name}", "holds what by its name is a secret")
    for name, value in spec.labels.items():
        yield from _leaks_in(f"labels.{name}", f"{name}={value}")
    lists = {
        "entrypoint": spec.entrypoint,
        "command": spec.command,
        "healthcheck.command": spec.healthcheck.command if spec.healthcheck else [],
        "smoke.command": spec.smoke.command,
    }
    for field, words in lists.items():
        for number, word in enumerate(words):
            yield from _leaks_in(f"{field}[{number}]", word)


def _leaks_in(where: str, text: str) -> Iterator[Found]:
    for sentence in find_leaks(_SETTINGS, text.encode(errors="replace")):
        yield Found(where, re.sub(r"^line \d+ ", "", sentence))


def no_healthcheck(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    spec = subject.spec
    if spec.ports and spec.healthcheck is None:
        ports = ", ".join(map(str, sorted(set(spec.ports))))
        yield Found("healthcheck", f"is missing, and it listens on {ports}")


def privileged_port(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    spec = subject.spec
    for port in sorted(set(spec.ports)):
        if port < FIRST_FREE_PORT and not _is_root(spec):
            yield Found("ports", f"{port} is below {FIRST_FREE_PORT} and the user is {spec.user}")


def no_entrypoint(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    """A VM may start what its debs bring units for."""
    spec = subject.spec
    if Target.CONTAINER in spec.targets and not (spec.entrypoint or spec.command):
        yield Found("entrypoint", "is missing, and so is command")


def entrypoint_not_found(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    program = subject.program
    if program is None:
        return
    if not program.path:
        yield Found(_first_word(subject.spec), f"{program.word} is not in the image")
    elif program.missing_interpreter:
        message = (
            f"/{program.path} is run by {program.missing_interpreter}, which is not in the image"
        )
        yield Found(_first_word(subject.spec), message)


def entrypoint_not_runnable(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    program = subject.program
    if program is not None and program.obstacle:
        message = f"the user {subject.spec.user} {program.obstacle}"
        yield Found(_first_word(subject.spec), message)


def _first_word(spec: BakeSpec) -> str:
    return "entrypoint[0]" if spec.entrypoint else "command[0]"


def shell_without_init(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    spec = subject.spec
    words = [*spec.entrypoint, *spec.command]
    if spec.init or not words or PurePosixPath(words[0]).name not in _SHELLS:
        return
    if not any(word.lstrip().startswith("exec ") for word in words[1:]):
        yield Found(_first_word(spec), f"{words[0]} is the first process, without an init")


def time_zone_asked_for(subject: LintSubject) -> Iterator[Found]:
    zone = subject.spec.env.get("TZ", "").removeprefix(":")
    if zone not in _UTC:
        yield Found("env.TZ", f"is {zone[:40]}")


def missing_metadata(subject: LintSubject, policy: BakeryPolicy) -> Iterator[Found]:
    spec = subject.spec
    fields = {
        "owner": ("owner", spec.owner),
        "commit": ("build.commit", spec.build.commit),
        "build": ("build.url", spec.build.url),
    }
    for name in dict.fromkeys(policy.required):
        where, value = fields.get(name, (f"labels.{name}", spec.labels.get(name, "")))
        if not value.strip():
            yield Found(where, "is missing")


def old_base(subject: LintSubject, policy: BakeryPolicy) -> Iterator[Found]:
    base, today = subject.base, subject.today
    if base is None or today is None:
        return
    days = (today - base.created_epoch) // DAY_SECONDS
    if days > policy.max_base_age_days:
        limit = policy.max_base_age_days
        yield Found("base", f"{base.name} {base.version} is {days} days old; the limit is {limit}")


def unstable_base(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    pointer = split_base(subject.spec.base)[1]
    if pointer != Channel.STABLE:
        kind = "the channel" if pointer in set(Channel) else "the release"
        yield Found("base", f"is {kind} {pointer[:19]}, not the channel {Channel.STABLE}")


def layer_size(subject: LintSubject, policy: BakeryPolicy) -> Iterator[Found]:
    size = subject.layer_size
    if size is not None and size > policy.max_layer_size:
        yield Found("layer", f"has {size} bytes; the limit is {int(policy.max_layer_size)}")


def image_size(subject: LintSubject, policy: BakeryPolicy) -> Iterator[Found]:
    size = total_size(subject)
    if size is not None and size > policy.max_image_size:
        yield Found("image", f"has {size} bytes; the limit is {int(policy.max_image_size)}")


def total_size(subject: LintSubject) -> int | None:
    """Compressed bytes of all layers; None where the image has no container face."""
    if subject.layer_size is None or subject.base is None or subject.base.layer is None:
        return None
    return subject.layer_size + subject.base.layer.size
