"""YAML as API servers read it: JSON's types only, no dates, aliases within bounds, duplicate fields named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import yaml

MOST_NODES = 500_000
"""Values of a document once every alias stands for what it names; a small text can name billions."""


class BadYaml(ValueError):
    """What the text is not."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Without dates, which JSON does not have: they stay the text that they are."""


_Loader.yaml_implicit_resolvers = {
    letter: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def decode(text: bytes) -> tuple[Any, str]:
    """The document's value, and a text that names its duplicate fields ("" if there are none). Raises BadYaml."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, ""
            _count(node, {})
            value = loader.construct_document(node)
        finally:
            loader.dispose()
        # Through JSON: keys become texts, and what JSON cannot say is refused.
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)), _duplicates(node)
    except (yaml.YAMLError, orjson.JSONEncodeError, ValueError) as error:
        raise BadYaml(f"yaml: {_told(error)}") from error


def _told(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}: {problem}" if mark is not None and problem else str(error)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values the node stands for. Raises BadYaml if they are too many or contain themselves."""
    found = known.get(id(node))
    if found is None:
        known[id(node)] = -1
        found = 1 + sum(_count(below, known) for below in _children(node))
        known[id(node)] = found
    if found < 0:
        raise BadYaml("an alias names something that contains it")
    if found > MOST_NODES:
        raise BadYaml("document contains excessive aliasing")
    return found


def _duplicates(root: yaml.Node) -> str:
    """In the words of Go's YAML library."""
    found: list[str] = []
    done: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        waiting += _children(node)
        if isinstance(node, yaml.MappingNode):
            found += _twice(node)
    return "\n  ".join(["yaml: unmarshal errors:", *sorted(found)]) if found else ""


def _twice(node: yaml.MappingNode) -> Iterator[str]:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in seen:
                yield f'line {key.start_mark.line + 1}: key "{key.value}" already set in map'
            seen.add(key.value)
