"""What a CustomResourceDefinition means, purely: its own validation, and the rules of the objects that it defines.

Belongs here: structural schemas compiled once per generation, pruning, defaulting, validation of values, printer
columns, and the Kind of a custom resource. Does not belong here: who serves it, conversion webhooks and conditions
(``apiserver.custom``).

    definition (JSONSchemaProps) ──compile──▶ Schema ──▶ shape.conform    prune, drop nulls, name unknown fields
                                                 ├─────▶ shape.default    fill in defaults
                                                 ├─────▶ values.check     types, bounds, patterns, combinations
                                                 ├─────▶ lists.check      sets and maps have unique elements
                                                 └─────▶ rules.check      x-kubernetes-validations (CEL)
"""
