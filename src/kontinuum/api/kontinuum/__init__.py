"""Kontinuum's own words on the wire, and its own kinds once there are any; Kubernetes' kinds live beside it."""
