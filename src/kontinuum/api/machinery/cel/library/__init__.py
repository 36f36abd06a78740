"""The functions that expressions may call: CEL's own, its extensions, and Kubernetes'. One file per library.

Each file answers its overloads as data (``OVERLOADS``); ``functions`` puts them together. A function gets values of the
types that it declared, raises EvaluationError for what it cannot do, and changes nothing.
"""

from __future__ import annotations

from functools import cache

from kontinuum.api.machinery.cel.overloads import Overload


@cache
def functions() -> dict[str, tuple[Overload, ...]]:
    """All overloads by function. Imported when the first expression is compiled, not when a server starts."""
    from kontinuum.api.machinery.cel.library import (
        addresses,
        arithmetic,
        authorizers,
        comparisons,
        containers,
        conversions,
        formats,
        images,
        lists,
        optionals,
        pointers,
        quantities,
        regex,
        sets,
        strings,
        timestamps,
        urls,
        versions,
    )

    found: dict[str, list[Overload]] = {}
    for module in (
        comparisons, arithmetic, containers, conversions, timestamps, strings, regex, lists, sets, optionals, urls,
        addresses, quantities, versions, formats, images, pointers, authorizers,
    ):  # fmt: skip
        for overload in module.OVERLOADS:
            found.setdefault(overload.function, []).append(overload)
    return {name: tuple(overloads) for name, overloads in found.items()}
