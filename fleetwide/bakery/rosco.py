"""A request as Spinnaker's bakery (rosco) takes it, as one of ours.

What a request has no use for here (``upgrade``, ``enhanced_networking``, ``instance_type``, packer
templates and their variables, ``ami_suffix``) is ignored: bases are whole releases, and an image
is named after its bytes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from fleetwide.bakery.artifact_names import take_apart
from fleetwide.bakery.rosco_artifacts import Wanted
from fleetwide.errors import FieldFault, InvalidInput
from fleetwide.models.bakery import BASE_PATTERN, Artifact, BakeSpec
from fleetwide.models.baseos import VERSION_PATTERN, Target
from fleetwide.models.rosco import RoscoBase, RoscoBases, RoscoRequest
from fleetwide.validation import faults_of, from_faults

AWS, DOCKER = "aws", "docker"
PROVIDERS: dict[str, Target] = {AWS: Target.VM, DOCKER: Target.CONTAINER}
DEFAULT_BASE = "baseos"
DEFAULT_LABEL = "release"
LABELS = {"release": "stable", "candidate": "candidate", "previous": "previous"}
AMI_ID = re.compile(r"ami-[0-9a-z-]{1,40}")
NO_VERSION_DIGITS = 12
"""Of the SHA-256, as the version of an image whose artifact's name tells none."""

_RECIPE = "recipe"
_PARAMETER = "recipe_"
_TAG = "docker_target_image_tag"
_COPY_TO, _SHARE_WITH = "copy_to", "share_with"
_ATTRIBUTES = "extended_attributes"

# Our field to the one of the request that its value came from; the first that fits counts.
_THEIR_FIELDS = {
    "ami.regions[0]": "region",
    "ami.regions": f"{_ATTRIBUTES}.{_COPY_TO}",
    "ami.accounts": f"{_ATTRIBUTES}.{_SHARE_WITH}",
    "build.job": "job",
    "build.number": "build_number",
    "build.commit": "commit_hash",
    "build.url": "build_info_url",
    "build.host": "build_host",
    "owner": "user",
    "name": "ami_name",
    "base": "base_os",
    "recipe": f"{_ATTRIBUTES}.{_RECIPE}",
    "parameters": f"{_ATTRIBUTES}.{_PARAMETER}",
    "version": f"{_ATTRIBUTES}.{_TAG}",
    "packages": "package",
    "artifacts": "package_artifacts",
}


def provider_of(request: RoscoRequest) -> str:
    """The cloud provider that an image is asked for.

    Raises:
        InvalidInput: it is none of ours, or the request is for what no Linux release can be.
    """
    provider = request.cloud_provider_type or (DOCKER if request.store_type == DOCKER else AWS)
    if provider not in PROVIDERS:
        raise InvalidInput.for_field(
            "cloud_provider_type",
            "must be aws (an AMI) or docker (a container image)",
            given=provider,
        )
    refused = {
        "vm_type": (request.vm_type, "hvm", provider == AWS),
        "store_type": (request.store_type, "docker" if provider == DOCKER else "ebs", True),
        "os_type": (request.os_type, "linux", True),
        "package_type": (request.package_type, "DEB", True),
    }
    for field, (given, allowed, counts) in refused.items():
        if counts and given and given.lower() != allowed.lower():
            raise InvalidInput.for_field(field, f"must be {allowed}", given=given)
    return provider


def base_wanted(request: RoscoRequest, bases: RoscoBases) -> str:
    """The base as a bake names it, or the id of an AMI that is one.

    Raises:
        InvalidInput: ``base_os``, ``base_label`` or ``base_ami`` stands for nothing.
    """
    if request.base_ami:
        return _base_by_name(request.base_ami)
    fallback = bases.default or ("" if bases.bases else DEFAULT_BASE)
    base_os = request.base_os or fallback
    base = base_option(base_os, bases)
    label = request.base_label or DEFAULT_LABEL
    pointers = {**LABELS, **base.labels}
    if label not in pointers:
        raise InvalidInput.for_field(
            "base_label", f"must be one of {', '.join(sorted(pointers))}", given=label
        )
    named = f"{base.line}:{pointers[label]}"
    if re.fullmatch(BASE_PATTERN, named) is None:
        raise InvalidInput.for_field("base_os", "is no OS line", given=base_os)
    return named


def base_option(base_os: str, bases: RoscoBases) -> RoscoBase:
    """What a ``base_os`` stands for; without a file an OS line is known by its own name."""
    known = bases.bases.get(base_os)
    if known is not None:
        return known
    if bases.bases:
        raise InvalidInput.for_field(
            "base_os", f"must be one of {', '.join(sorted(bases.bases))}", given=base_os
        )
    # A line's name is checked where it is looked up.
    return RoscoBase.model_construct(line=base_os, labels={}, description="")


def spec_of(request: RoscoRequest, region: str, base: str, content: Wanted) -> BakeSpec:
    """The bake that a request asks for; ``base`` is an OS line with a channel or version.

    Raises:
        InvalidInput: naming the request's own fields.
    """
    attributes = request.extended_attributes or {}
    provider = provider_of(request)
    first = content.artifacts[0]
    given: dict[str, Any] = {
        "name": (request.ami_name or take_apart(first.filename).package).lower(),
        "version": attributes.get(_TAG) if provider == DOCKER else None,
        "artifacts": content.artifacts,
        "base": base,
        "targets": [PROVIDERS[provider]],
        "packages": content.packages,
        "recipe": attributes.get(_RECIPE),
        "parameters": _parameters(attributes),
        "ami": _ami(region, attributes) if provider == AWS else None,
        "owner": request.user or "",
        "build": _build(request),
    }
    given["version"] = given["version"] or _version(first)
    try:
        return BakeSpec.model_validate(given)
    except ValidationError as error:
        raise from_faults([_in_their_words(fault) for fault in faults_of(error)]) from error


def _base_by_name(base_ami: str) -> str:
    if AMI_ID.fullmatch(base_ami) or re.fullmatch(BASE_PATTERN, base_ami):
        return base_ami
    raise InvalidInput.for_field(
        "base_ami",
        "must be the id of an OS release's AMI, or a base",
        given=base_ami,
        hint='"base_ami": "baseos:20261122.1"',
    )


def _version(artifact: Artifact) -> str:
    version = take_apart(artifact.filename).version
    fits = re.fullmatch(VERSION_PATTERN, version)
    return version if fits else artifact.sha256[:NO_VERSION_DIGITS]


def _build(request: RoscoRequest) -> dict[str, str]:
    told = {
        "job": request.job,
        "number": request.build_number,
        "commit": request.commit_hash,
        "url": request.build_info_url,
        "host": request.build_host,
    }
    return {name: value for name, value in told.items() if value}


def _parameters(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.removeprefix(_PARAMETER): str(value)
        for name, value in attributes.items()
        if name.startswith(_PARAMETER)
    }


def _ami(region: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    copies = [one for one in _listed(attributes, _COPY_TO) if one != region]
    return {"regions": [region, *copies], "accounts": _listed(attributes, _SHARE_WITH)}


def _listed(attributes: Mapping[str, Any], name: str) -> list[str]:
    """``copy_to`` as a list or a text with commas, and ``copy_to_1`` and so on."""
    numbered = (key for key in attributes if re.fullmatch(rf"{name}_[0-9]{{1,2}}", key))
    values = [attributes[key] for key in (name, *sorted(numbered)) if attributes.get(key)]
    return list(dict.fromkeys(word for value in values for word in _words(value)))


def _words(value: object) -> Iterable[str]:
    if isinstance(value, list):
        return [word for one in value for word in _words(one)]
    return re.split(r"[,\s]+", str(value).strip())


def _in_their_words(fault: FieldFault) -> FieldFault:
    """The fault of the field that the client sent; attributes may be secrets and are not shown."""
    theirs = next(
        (name for ours, name in _THEIR_FIELDS.items() if _is_below(fault.field, ours)), fault.field
    )
    hidden = theirs.startswith(_ATTRIBUTES)
    return replace(fault, field=theirs, given=None if hidden else fault.given)


def _is_below(field: str, ours: str) -> bool:
    return field == ours or field.startswith((f"{ours}.", f"{ours}["))
