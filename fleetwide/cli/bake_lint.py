"""``fleetwide bake lint|rules``: the bakery policy, without a platform."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetwide.bakery.lint import lint as lint_subject
from fleetwide.bakery.policy import is_refused, rules_of
from fleetwide.cli import output
from fleetwide.cli.artifact import packed, type_of
from fleetwide.cli.context import File, Output
from fleetwide.cli.exits import Exit
from fleetwide.cli.output import Column, Format, View
from fleetwide.cli.specs import parse, read_spec
from fleetwide.errors import InvalidInput
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import LintFinding
from fleetwide.models.documents import Page
from fleetwide.models.policy import LintReport, RuleDocument

PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", help="The organisation's rules; unset: the platform's own."),
]

FINDINGS = View[LintFinding](
    columns=(
        Column("SEVERITY", lambda item: item.severity),
        Column("RULE", lambda item: item.rule),
        Column("WHERE", lambda item: item.where),
        Column("MESSAGE", lambda item: item.message),
        Column("HINT", lambda item: item.hint, wide=True),
    ),
    name=lambda item: f"{item.rule}:{item.where}",
)
RULES = View[RuleDocument](
    columns=(
        Column("RULE", lambda item: item.rule),
        Column("LEVEL", lambda item: item.level),
        Column("MEANING", lambda item: item.meaning),
        Column("HINT", lambda item: item.hint, wide=True),
    ),
    name=lambda item: item.rule,
)


def lint(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, help="Files to bake; a folder counts as a tarball."),
    ] = None,
    *,
    file: File = None,
    policy: PolicyFile = None,
    style: Output = Format.TABLE,
) -> None:
    """Say which rules of the policy a bake would break, where, and how to mend it.

    Ends with exit code 1 when the image would be refused. What only the base or the bake itself
    can tell is not looked at: sizes, dependencies, what a recipe adds.
    """
    from fleetwide.providers.lint_local import read_local_subject  # noqa: PLC0415
    from fleetwide.providers.local_artifacts import LocalArtifact  # noqa: PLC0415
    from fleetwide.providers.policies import read_policy  # noqa: PLC0415

    if file is None and not artifacts:
        raise InvalidInput("there is nothing to look at", hint="fleetwide bake lint -f bake.yaml")
    rules = read_policy(policy)
    with ExitStack() as stack:
        paths = [stack.enter_context(packed(path)) for path in artifacts or []]
        spec = _spec(read_spec(file), paths)
        local = [LocalArtifact(path, type_of(path), spec.name) for path in paths]
        step = stack.enter_context(output.step("lint"))
        subject = read_local_subject(spec, local, lambda phrase, _: step.update(phrase))
    findings = lint_subject(subject, rules)
    _show(LintReport(findings=findings, refused=is_refused(findings)), style)


def rules(policy: PolicyFile = None, style: Output = Format.TABLE) -> None:
    """List the rules for images, and what the policy makes of each."""
    from fleetwide.providers.policies import read_policy  # noqa: PLC0415

    output.listing(Page(items=rules_of(read_policy(policy))), RULES, style)


def _spec(content: dict[str, Any], paths: list[Path]) -> BakeSpec:
    """The request, with what a mere look does not need filled in."""
    content = {"name": "app", "version": "0", "base": "baseos:stable", **content}
    if paths:
        content["artifacts"] = [_described(path) for path in paths]
    return parse(BakeSpec, content)


def _described(path: Path) -> dict[str, str]:
    with path.open("rb") as reader:
        digest = hashlib.file_digest(reader, "sha256").hexdigest()
    return {"type": type_of(path), "sha256": digest, "filename": path.name}


def _show(report: LintReport, style: Format) -> None:
    if style in (Format.JSON, Format.YAML):
        output.values(report, style)
    else:
        output.listing(Page(items=report.findings), FINDINGS, style)
    if style is Format.TABLE:
        for line in _hints(report.findings):
            output.note(line)
    if report.refused:
        raise typer.Exit(Exit.FAILED)


def _hints(findings: list[LintFinding]) -> Iterator[str]:
    """One line per broken rule, in the order of the table."""
    yield from dict.fromkeys(f"hint: {one.rule}: {one.hint}" for one in findings)
