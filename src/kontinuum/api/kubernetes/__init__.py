"""Kubernetes' built-in kinds: schema, discovery facts, defaults, validation, table columns; data where possible."""
