"""Serving what CustomResourceDefinitions define.

    definition ──settle──▶ names, conditions ──▶ store          Definitions, one task; every server runs it
        │                                                       and whoever is slower finds nothing to do
        ├──serve───▶ cache joins the feed ──▶ Catalog           the paths exist; then Established is written
        └──empty───▶ its objects are deleted, then it goes      while it is Terminating

    bytes in any stored version ──CustomLayout──▶ cache ──CustomConverter──▶ client
                       (pruned and completed by the schema)   (strategy None: only the name; Webhook: asked)

What a definition means (schemas, rules, columns, conditions) is pure and lives in ``api.kubernetes.custom``.
"""
