"""The registry's gateway: the OCI distribution specification over the index and Distribution."""
