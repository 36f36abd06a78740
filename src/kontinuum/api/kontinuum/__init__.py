"""Kontinuum's own kinds. Empty until the first of them is needed; Kubernetes' kinds live beside it."""
