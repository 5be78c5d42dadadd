"""BaseOS: build plans, versions and metadata of operating system releases; no I/O."""
