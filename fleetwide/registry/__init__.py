"""Registry: image references, digests and the bytes of OCI documents; no I/O."""
