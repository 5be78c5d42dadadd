"""Bakery: bake keys, image metadata and what an artifact may contain; no I/O."""
