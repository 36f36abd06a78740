"""YAML as API servers read it: JSON's types only, no dates, aliases within bounds, duplicate fields named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson
import yaml

MOST_NODES = 500_000
"""Values of a document once every alias stands for what it names; a small text can name billions."""


MOST_WRITTEN = 100_000
"""Values of a document as it is written. Each costs about 10 µs, in which the server does nothing else."""
DEEPEST = 250
"""Levels of nesting; JSON that is nested deeper is not written either."""


class BadYaml(ValueError):
    """What the text is not."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Without dates, which JSON does not have, and without numbers to the base of 60 (``22:22``), which YAML 1.2 does
    not have and which take quadratic time: they stay the texts that they are.
    """


TAG = "tag:yaml.org,2002:"
_NUMBERS = {
    f"{TAG}int": re.compile(r"[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)\Z"),
    f"{TAG}float": re.compile(
        r"(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in resolvers if tag != f"{TAG}timestamp"]
    for letter, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _construct_number(loader: Any, node: yaml.ScalarNode) -> Any:
    """A number by its explicit tag, too."""
    if ":" in node.value:
        raise BadYaml(f"cannot decode {node.tag} `{node.value[:40]}`")
    construct = loader.construct_yaml_int if node.tag == f"{TAG}int" else loader.construct_yaml_float
    return construct(node)


for _tag in _NUMBERS:
    _Loader.add_constructor(_tag, _construct_number)


def decode(text: bytes) -> tuple[Any, str]:
    """The document's value, and a text that names its duplicate fields ("" if there are none). Raises BadYaml."""
    try:
        _check_size(text)
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


def _check_size(text: bytes) -> None:
    """Raises BadYaml. The library builds a document by recursion in C, which ends the process if it goes too deep."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if number > MOST_WRITTEN:
            raise BadYaml(f"document has more than {MOST_WRITTEN} values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise BadYaml(f"exceeded max depth of {DEEPEST}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


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
