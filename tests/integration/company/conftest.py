from tests.integration.company.stages import stage

__all__ = ["stage"]
