"""How far a host is trusted with work."""


def quality(faults: int) -> float:
    """From 0 to 1: half after one fault in the last hour, a third after two.

    A host is never ruled out by it: where there is no other, its work goes on.
    """
    return 1.0 / (1 + faults)
