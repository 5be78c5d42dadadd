"""Look an image over by the bakery policy: which rule, where, and how to mend it."""

from collections.abc import Callable, Iterator

from fleetwide.bakery import lint_files as files
from fleetwide.bakery import lint_request as request
from fleetwide.bakery.lint_subject import Found, LintSubject, at_most
from fleetwide.bakery.policy import RULE_TEXT
from fleetwide.models.bakes import LintFinding, Severity
from fleetwide.models.policy import BakeryPolicy, Level, Rule

RuleCheck = Callable[[LintSubject, BakeryPolicy], Iterator[Found]]
_SEVERITY = {Level.WARN: Severity.WARN, Level.REFUSE: Severity.REFUSE}


def lint(subject: LintSubject, policy: BakeryPolicy) -> list[LintFinding]:
    """Every broken rule that is not off, those that refuse the image first.

    The bake's own ``max_size`` refuses it whatever the policy says. No finding holds a secret.
    """
    findings = [*_over_own_size(subject)]
    for rule, check in CHECKS.items():
        level = policy.level(rule)
        if level is not Level.OFF:
            found = at_most(check(subject, policy))
            findings += [_finding(rule, _SEVERITY[level], one) for one in found]
    return sorted(findings, key=lambda one: one.severity is not Severity.REFUSE)


def _finding(rule: Rule, severity: Severity, found: Found) -> LintFinding:
    return LintFinding(
        rule=rule,
        severity=severity,
        where=found.where,
        message=found.message,
        hint=found.hint or RULE_TEXT[rule].hint,
    )


def _over_own_size(subject: LintSubject) -> Iterator[LintFinding]:
    size, limit = request.total_size(subject), subject.spec.max_size
    if size is not None and limit is not None and size > limit:
        found = Found("max_size", f"the image has {size} bytes; the bake allows {int(limit)}")
        yield _finding(Rule.IMAGE_SIZE, Severity.REFUSE, found)


def _secret(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    yield from request.secrets_asked_for(subject)
    yield from files.secret_files(subject)


def _time_zone(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    yield from request.time_zone_asked_for(subject)
    yield from files.time_zone_files(subject)


# Total over Rule (a test asserts it).
CHECKS: dict[Rule, RuleCheck] = {
    Rule.ROOT_USER: request.root_user,
    Rule.SETUID: files.setuid,
    Rule.WORLD_WRITABLE: files.world_writable,
    Rule.DEVICE_NODE: files.device_node,
    Rule.SECRET: _secret,
    Rule.LAYER_SIZE: request.layer_size,
    Rule.IMAGE_SIZE: request.image_size,
    Rule.NO_HEALTHCHECK: request.no_healthcheck,
    Rule.PRIVILEGED_PORT: request.privileged_port,
    Rule.NO_ENTRYPOINT: request.no_entrypoint,
    Rule.ENTRYPOINT_NOT_FOUND: request.entrypoint_not_found,
    Rule.ENTRYPOINT_NOT_RUNNABLE: request.entrypoint_not_runnable,
    Rule.SHELL_WITHOUT_INIT: request.shell_without_init,
    Rule.LOG_FILE: files.log_file,
    Rule.TIME_ZONE: _time_zone,
    Rule.PACKAGE_CACHE: files.package_cache,
    Rule.MISSING_METADATA: request.missing_metadata,
    Rule.OLD_BASE: request.old_base,
    Rule.UNSTABLE_BASE: request.unstable_base,
    Rule.OUTSIDE_APP_FOLDERS: files.outside_app_folders,
    Rule.DEBUG_TOOL: files.debug_tool,
}
