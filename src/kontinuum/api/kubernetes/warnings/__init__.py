"""What is allowed but unlikely to be meant: told to who writes it in Warning headers, in Kubernetes' words.

Belongs here: pure rules, one file per family of kinds, as in its ``WarningsOnCreate`` and ``WarningsOnUpdate``.
Not here: what is refused (``validation``), unknown fields, and kinds deprecated as a whole (``deprecations``).
"""
