"""Kontinuum: one Kubernetes API for every isolation class.

The house, and who may import whom, is drawn in docs/flow.md and held by import-linter (pyproject.toml).
"""
