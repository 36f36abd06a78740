"""The containerd task service: one file per verb."""
