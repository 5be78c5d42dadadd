"""Placement: which request runs on which host. Pure functions of a snapshot.

``plan`` decides a tick; ``Engine`` does the same for one tick after the other; ``reason`` puts an
explanation into words; ``scale_up`` and ``cheapest_to_empty`` answer what-if.
"""

from fleetwide.containers.placement.amounts import MIB, UNCOUNTED, Amounts, Dimension
from fleetwide.containers.placement.blockers import Blocker
from fleetwide.containers.placement.board import Occupant
from fleetwide.containers.placement.engine import Beside, Engine, plan
from fleetwide.containers.placement.explain import Clearing, Explanation, Miss, Offer
from fleetwide.containers.placement.fleet import Fleet, Host, Lifecycle, Traits
from fleetwide.containers.placement.groups import CapacityGroup, Ledger, Tier
from fleetwide.containers.placement.plans import (
    Claim,
    Decision,
    Plan,
    Preemption,
    RunningTask,
    Snapshot,
)
from fleetwide.containers.placement.preemption import guaranteed, propose
from fleetwide.containers.placement.quality import quality
from fleetwide.containers.placement.requests import Gang, Request, Shape, Wishes
from fleetwide.containers.placement.scaling import (
    Emptying,
    Move,
    ScaleUp,
    cheapest_to_empty,
    scale_up,
)
from fleetwide.containers.placement.sentences import Reason, reason
from fleetwide.containers.placement.specs import shape_of, traits_of
from fleetwide.models.placement import Fit

__all__ = [
    "MIB",
    "UNCOUNTED",
    "Amounts",
    "Beside",
    "Blocker",
    "CapacityGroup",
    "Claim",
    "Clearing",
    "Decision",
    "Dimension",
    "Emptying",
    "Engine",
    "Explanation",
    "Fit",
    "Fleet",
    "Gang",
    "Host",
    "Ledger",
    "Lifecycle",
    "Miss",
    "Move",
    "Occupant",
    "Offer",
    "Plan",
    "Preemption",
    "Reason",
    "Request",
    "RunningTask",
    "ScaleUp",
    "Shape",
    "Snapshot",
    "Tier",
    "Traits",
    "Wishes",
    "cheapest_to_empty",
    "guaranteed",
    "plan",
    "propose",
    "quality",
    "reason",
    "scale_up",
    "shape_of",
    "traits_of",
]
