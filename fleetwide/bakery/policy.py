"""What each rule of the bakery policy means, how it is mended, and the refusal of an image."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetwide.errors import PolicyRefused
from fleetwide.models.bakes import LintFinding, Severity
from fleetwide.models.policy import BakeryPolicy, Rule, RuleDocument

MAX_TOLD = 8
"""Findings in the words of a refusal."""


@dataclass(frozen=True)
class RuleText:
    """A rule in words: what breaks it, and how to mend that."""

    meaning: str
    hint: str


# Total over Rule (a test asserts it).
RULE_TEXT: dict[Rule, RuleText] = {
    Rule.ROOT_USER: RuleText(
        "the workload runs as root",
        "leave `user` out, which means 65534:65534, and give `volumes` for what it writes",
    ),
    Rule.SETUID: RuleText(
        "a setuid or setgid file that is not on the allow-list",
        "chmod u-s,g-s it, use a recipe with `drop_setuid: true`, or add it to `setuid_allowed`",
    ),
    Rule.WORLD_WRITABLE: RuleText(
        "a file or folder that everybody can write",
        "chmod o-w it, or let the workload write to one of its `volumes`",
    ),
    Rule.DEVICE_NODE: RuleText(
        "a device node outside /dev",
        "take it out of the artifact: a container gets its devices when it starts",
    ),
    Rule.SECRET: RuleText(
        "something that looks like a secret, in a file or in the request",
        "take it out, give it to the workload when it starts, and change it: it was copied",
    ),
    Rule.LAYER_SIZE: RuleText(
        "the bake's own layer is larger than `max_layer_size`",
        "leave out what the workload does not need, such as tests, sources and caches",
    ),
    Rule.IMAGE_SIZE: RuleText(
        "all layers together are larger than `max_image_size`, or than the bake's `max_size`",
        "leave out what the workload does not need, or bake onto a smaller base",
    ),
    Rule.NO_HEALTHCHECK: RuleText(
        "it listens on ports, but nothing tells whether it is well",
        "healthcheck: {command: [/opt/app/bin/check]}",
    ),
    Rule.PRIVILEGED_PORT: RuleText(
        "a port below 1024, which only root may open on a VM",
        "listen on a port from 1024 upwards",
    ),
    Rule.NO_ENTRYPOINT: RuleText(
        "nothing says what a container of the image starts",
        "entrypoint: [/opt/app/bin/run]",
    ),
    Rule.ENTRYPOINT_NOT_FOUND: RuleText(
        "the program that it starts is in neither the base nor the artifacts",
        "give `entrypoint` as an absolute path; tarballs and zips lie below /opt/<name>",
    ),
    Rule.ENTRYPOINT_NOT_RUNNABLE: RuleText(
        "the user may not run the program that it starts",
        "chmod 755 the program and the folders above it, or choose another `user`",
    ),
    Rule.SHELL_WITHOUT_INIT: RuleText(
        "a shell is the first process: it passes no signals on and leaves dead children behind",
        "set `init: true`, start the program itself, or begin the shell's command with `exec`",
    ),
    Rule.LOG_FILE: RuleText(
        "a log file below /var/log",
        "log to stdout; take the file out of the artifact",
    ),
    Rule.TIME_ZONE: RuleText(
        "a time zone other than the platform's, UTC",
        "keep times in UTC and convert them where people read them",
    ),
    Rule.PACKAGE_CACHE: RuleText(
        "what a package manager downloaded was left behind",
        "remove the folder when the artifact is built",
    ),
    Rule.MISSING_METADATA: RuleText(
        "something that the policy wants every bake to tell is missing",
        "give it with the bake: `owner`, `build: {commit, url}` or `labels`",
    ),
    Rule.OLD_BASE: RuleText(
        "the base was made more than `max_base_age_days` ago",
        "bake onto the newest release of the line, for example baseos:stable",
    ),
    Rule.UNSTABLE_BASE: RuleText(
        "the base is not named by its channel stable, so the image does not follow its fixes",
        "base: baseos:stable",
    ),
    Rule.OUTSIDE_APP_FOLDERS: RuleText(
        "files outside the application's folders: a new OS release means a new bake, no rebase",
        "put everything below /opt/<name> or /usr/local where images must move quickly",
    ),
    Rule.DEBUG_TOOL: RuleText(
        "a compiler or a debugging tool is installed",
        "build elsewhere and bake only the outcome; look into a running container from beside it",
    ),
}


def rules_of(policy: BakeryPolicy) -> list[RuleDocument]:
    """Every rule with what the policy makes of it."""
    return [
        RuleDocument(rule=rule, level=policy.level(rule), meaning=text.meaning, hint=text.hint)
        for rule, text in RULE_TEXT.items()
    ]


def is_refused(findings: Sequence[LintFinding]) -> bool:
    """Whether the policy refuses an image with these findings."""
    return any(finding.severity is Severity.REFUSE for finding in findings)


def refuse(findings: Sequence[LintFinding], image: str) -> None:
    """Refuse the ``image`` when a finding says so; the others are no reason.

    Raises:
        PolicyRefused: names the first ``MAX_TOLD`` broken rules, where, and how to mend each.
    """
    broken = [finding for finding in findings if finding.severity is Severity.REFUSE]
    if not broken:
        return
    lines = [f"{one.rule}: {one.where}: {one.message} ({one.hint})" for one in broken[:MAX_TOLD]]
    more = len(broken) - MAX_TOLD
    told = "\n".join([*lines, f"and {more} more"] if more > 0 else lines)
    raise PolicyRefused(
        f"the bakery policy refuses {image}:\n{told}", hint="fleetwide bake lint -f bake.yaml"
    )
