"""OS releases as the routes look them up."""

from api.deps import Platform
from api.documents import release_document
from fleetwide.baseos.amis import check_ami_tags
from fleetwide.baseos.suites import check_suite
from fleetwide.errors import NotFound
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.documents import ReleaseDocument
from fleetwide.models.os_releases import ReleaseState
from fleetwide.store import releases

FREE_STATES = frozenset({ReleaseState.FAILED, ReleaseState.WITHDRAWN})
"""A version may be built again only when nothing came of it."""


def find_release(platform: Platform, name: str, pointer: str) -> ReleaseDocument:
    """A release by its version, a channel or its digest; also one that is building or gone.

    Raises:
        NotFound: there is none.
    """
    with platform.store.read() as session:
        row = releases.find(session, name, pointer) or releases.resolve(session, name, pointer)
        return release_document(platform.settings, session, row)


def must_be_a_line(platform: Platform, name: str) -> None:
    """Raise ``NotFound`` for a line that has never had a release."""
    with platform.store.read() as session:
        if not releases.versions(session, name):
            raise NotFound(f"there is no OS line {name}", hint="fleetwide os list")


def check_spec(spec: OSImageSpec) -> None:
    """Refuse at once what a build would refuse as its first step.

    Raises:
        InvalidInput: there is no such suite, or a tag is not one's own to set.
    """
    check_suite(spec)
    check_ami_tags(spec.ami.tags if spec.ami else {})
