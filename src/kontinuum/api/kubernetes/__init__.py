"""Kubernetes' built-in kinds: schema, discovery facts, defaults, validation and table columns, as data where possible."""
