"""What an expression can cost at most, from the sizes that its variables' schemas allow (cel-go's ``checker/cost.go``).

A cost and a size are ranges. Whatever nobody bounds is as large as a number can be, and costs that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kontinuum.api.machinery.cel.nodes import (
    Bind,
    Call,
    Fold,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    OptionalMap,
    Select,
    StructNode,
)
from kontinuum.api.machinery.cel.programs import LIST_COST, MAP_COST, STRUCT_COST
from kontinuum.api.machinery.cel.schemas import Declared
from kontinuum.api.machinery.cel.types import Type

MOST = 2**64 - 1
TEXT = 0.1
"""Cost of going through one character."""
PATTERN = 0.25
"""Cost of one character of a regular expression, per visited character of the text."""


class Range(NamedTuple):
    """``least`` and ``most``; arithmetic stops at the largest 64-bit number."""

    least: int
    most: int

    def plus(self, other: Range) -> Range:
        return Range(min(self.least + other.least, MOST), min(self.most + other.most, MOST))

    def times(self, other: Range) -> Range:
        return Range(min(self.least * other.least, MOST), min(self.most * other.most, MOST))

    def scaled(self, factor: float) -> Range:
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.least, other.least), max(self.most, other.most))


def _scaled(number: int, factor: float) -> int:
    product = number * factor
    return MOST if product >= MOST else math.ceil(product)


def fixed(number: int) -> Range:
    return Range(number, number)


ONE, ZERO, UNKNOWN = fixed(1), fixed(0), Range(0, MOST)


class Entries(NamedTuple):
    """Sizes of what is in a list or map."""

    key: Range
    value: Range


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one part: its cost, and what is known of the size of its value."""

    cost: Range
    size: Range | None = None
    entries: Entries | None = None
    shape: Declared | None = None
    """What a schema says of the value, if it comes straight out of a variable."""
    type: Type | None = None

    @property
    def length(self) -> Range:
        if self.size is not None:
            return self.size
        if self.type is not None and self.type.is_scalar:
            return ONE
        return Range(0, self.shape.largest) if self.shape is not None else UNKNOWN

    @property
    def element(self) -> Range | None:
        """The size of an element, if it is text."""
        if self.type is None or self.type.kind != "list" or self.type.parameters[0].kind not in ("string", "bytes"):
            return None
        if self.shape is not None and self.shape.items is not None:
            return Range(0, self.shape.items.largest)
        return self.entries.value if self.entries is not None else UNKNOWN


CallCost = Callable[[list[Estimate]], tuple[Range, Range | None]]


class Estimator:
    """For one expression."""

    def __init__(self, variables: Mapping[str, Declared]) -> None:
        self._variables = variables
        self._locals: list[dict[str, Estimate]] = []

    def estimate(self, node: Node) -> Estimate:
        match node:
            case Literal():
                size = len(node.value) if isinstance(node.value, (str, bytes)) else 1
                return Estimate(ZERO, fixed(size), type=node.type)
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListNode():
                return self._list(node)
            case MapNode():
                return self._map(node)
            case StructNode():
                cost = fixed(STRUCT_COST)
                for init in node.inits:
                    cost = cost.plus(self.estimate(init.value).cost)
                return Estimate(cost, type=node.type)
            case Fold():
                return self._fold(node)
            case Bind():
                value = self.estimate(node.value)
                body = self._within({node.name: value}, node.body)
                cost = fixed(LIST_COST).plus(value.cost).plus(body.cost)
                return Estimate(cost, body.size, body.entries, body.shape, node.type)
            case OptionalMap():
                operand = self.estimate(node.operand)
                body = self._within({node.name: Estimate(ZERO, operand.size, shape=operand.shape)}, node.body)
                return Estimate(operand.cost.plus(fixed(LIST_COST)).plus(body.cost), body.size, type=node.type)
        raise AssertionError(f"no such node: {node}")

    def _within(self, known: dict[str, Estimate], body: Node) -> Estimate:
        self._locals.append(known)
        found = self.estimate(body)
        self._locals.pop()
        return found

    def _ident(self, node: Ident) -> Estimate:
        if node.is_local:
            known = next(scope[node.name] for scope in reversed(self._locals) if node.name in scope)
            return Estimate(ONE, known.size, known.entries, known.shape, node.type)
        return Estimate(ONE, None, None, self._variables.get(node.name), node.type)

    def _select(self, node: Select) -> Estimate:
        if node.ident is not None:
            return self._ident(node.ident)
        operand = self.estimate(node.operand)
        if node.is_test:
            return Estimate(operand.cost, ONE, type=node.type)
        shape = operand.shape
        below = shape.fields.get(node.field_name) or shape.items if shape is not None else None
        is_free = (node.operand.type.kind not in ("map", "object", "opaque")) and not node.is_optional
        return Estimate(operand.cost if is_free else operand.cost.plus(ONE), None, None, below, node.type)

    def _list(self, node: ListNode) -> Estimate:
        cost = fixed(LIST_COST)
        value: Range | None = None
        for one in node.elements:
            found = self.estimate(one)
            cost = cost.plus(found.cost)
            value = found.length if value is None else value.union(found.length)
        return Estimate(cost, fixed(len(node.elements)), Entries(ONE, value or ZERO), type=node.type)

    def _map(self, node: MapNode) -> Estimate:
        cost = fixed(MAP_COST)
        key: Range | None = None
        value: Range | None = None
        for entry in node.entries:
            its_key, its_value = self.estimate(entry.key), self.estimate(entry.value)
            cost = cost.plus(its_key.cost).plus(its_value.cost)
            key = its_key.length if key is None else key.union(its_key.length)
            value = its_value.length if value is None else value.union(its_value.length)
        return Estimate(cost, fixed(len(node.entries)), Entries(key or ZERO, value or ZERO), type=node.type)

    def _call(self, node: Call) -> Estimate:
        parts = [self.estimate(one) for one in (*([node.target] if node.target else ()), *node.arguments)]
        cost = ZERO
        for part in parts:
            cost = cost.plus(part.cost)
        match node.function:
            case "_&&_" | "_||_":
                return Estimate(Range(parts[0].cost.least, cost.most), ONE, type=node.type)
            case "_?_:_":
                branches = parts[1].cost.union(parts[2].cost)
                size = parts[1].length.union(parts[2].length)
                return Estimate(parts[0].cost.plus(branches), size, type=node.type)
            case "_[_]" | "_[?_]":
                shape = parts[0].shape.items if parts[0].shape is not None else None
                inner = parts[0].entries.value if parts[0].entries is not None and shape is None else None
                return Estimate(cost.plus(ONE), inner, None, shape, node.type)
            case "dyn":
                return Estimate(cost.plus(ONE), parts[0].size, parts[0].entries, parts[0].shape, node.type)
        its_cost, its_size = _widest([call_cost(one.function, one.name, parts) for one in node.overloads])
        entries = parts[0].entries if node.function == "_+_" else None
        return Estimate(cost.plus(its_cost), its_size, entries, type=node.type)

    def _fold(self, node: Fold) -> Estimate:
        over = self.estimate(node.range)
        known = self._variables_of(node, over)
        self._locals.append(known)
        condition = self.estimate(node.condition).cost if node.condition is not None else ZERO
        body = self.estimate(node.body) if node.body is not None else None
        self._locals.pop()
        base, step = _loop(node.macro, condition, body.cost if body else ZERO, filtered=node.condition is not None)
        count = over.length
        cost = over.cost.plus(base).plus(count.times(step))
        if node.type.kind == "bool":
            return Estimate(cost, ONE, type=node.type)
        value = body.length if body else known[node.variables[0]].length
        return Estimate(cost, count, Entries(ONE, value), type=node.type)

    def _variables_of(self, node: Fold, over: Estimate) -> dict[str, Estimate]:
        shape = over.shape
        is_list = over.type is not None and over.type.kind == "list"
        keys = Estimate(ZERO, over.entries.key if over.entries else None, shape=shape.keys if shape else None)
        values = Estimate(ZERO, over.entries.value if over.entries else None, shape=shape.items if shape else None)
        if len(node.variables) == 2:
            first = Estimate(ZERO, ONE) if is_list else keys
            return {node.variables[0]: first, node.variables[1]: values}
        return {node.variables[0]: values if is_list else keys}


def _loop(macro: str, condition: Range, body: Range, *, filtered: bool) -> tuple[Range, Range]:
    """The cost around a macro's loop, and of each round of it; see ``folds``."""
    match macro:
        case "all" | "exists":
            test = fixed(2 if macro == "all" else 3)
            return ONE, test.plus(Range(1, min(condition.most + 1, MOST)))
        case "existsOne":
            return fixed(2), condition.plus(Range(1, 2))
        case "filter":
            return fixed(11), condition.plus(Range(1, 13))
        case "map" | "transformList":
            base, each = fixed(11), fixed(12)
        case "transformMap":
            base, each = fixed(31), fixed(3)
        case _:
            base, each = fixed(31), fixed(2)
    each = each.plus(body)
    return base, condition.plus(each.union(ONE)) if filtered else each


def _widest(found: list[tuple[Range, Range | None]]) -> tuple[Range, Range | None]:
    cost, size = found[0]
    for its_cost, its_size in found[1:]:
        cost = cost.union(its_cost)
        size = size.union(its_size) if size is not None and its_size is not None else size or its_size
    return cost, size


def call_cost(function: str, overload: str, parts: list[Estimate]) -> tuple[Range, Range | None]:
    """The cost of one call beside its arguments', and the size of its result. Kubernetes' ``library/cost.go``."""
    lengths = [part.length for part in parts]
    match function, parts:
        case ("_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_", [_, _]):
            most = min(lengths[0].most, lengths[1].most)
            return Range(1 if most else 0, most).scaled(TEXT), ONE
        case ("_+_", [_, _]) if overload in ("add_string", "add_bytes", "add_list"):
            size = lengths[0].plus(lengths[1])
            return (ONE if overload == "add_list" else size.scaled(TEXT)), size
        case ("@in", [_, _]) if overload == "in_list":
            return lengths[1], ONE
        case ("startsWith" | "endsWith", [_, _]):
            return lengths[1].scaled(TEXT), ONE
        case ("contains", [_, _]) if overload == "contains_string":
            return lengths[0].scaled(TEXT).times(lengths[1].scaled(TEXT)), ONE
        case ("matches", [_, _]):
            return _regex(lengths), ONE
        case ("find" | "findAll", [_, _, *_]):
            return _regex(lengths), Range(0, lengths[0].most)
        case ("check", _):
            return fixed(350_000), None
        case ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", [first, *_]):
            element = first.element
            if first.type is not None and first.type.kind != "list":
                return lengths[0].scaled(TEXT), ONE
            each = ONE if element is None else ONE.plus(element.scaled(TEXT))
            return lengths[0].times(each), ONE
        case ("url" | "isURL", [_]):
            return lengths[0].scaled(TEXT), None
        case ("lowerAscii" | "upperAscii" | "substring" | "trim" | "charAt" | "reverse", [_, *_]):
            return lengths[0].scaled(TEXT), lengths[0]
        case ("replace", [_, _, _, *_]):
            return lengths[0].scaled(2 * TEXT), _replaced(*lengths[:3])
        case ("split", [_, *_]):
            return lengths[0].scaled(2 * TEXT), Range(0, lengths[0].most)
        case ("join", [first, *_]):
            size = lengths[0].times(first.element) if first.element is not None else UNKNOWN
            if len(lengths) > 1:
                gaps = Range(max(lengths[0].least - 1, 0), max(lengths[0].most - 1, 0))
                size = size.plus(lengths[1].times(gaps))
            return size.scaled(TEXT), size
        case ("quote", [_]):
            most = min(lengths[0].most * 2 + 2, MOST)
            return lengths[0].scaled(TEXT), Range(lengths[0].least + 2, most)
        case ("format", [_, _]):
            return lengths[0].scaled(TEXT), lengths[0].plus(lengths[1].scaled(100))
        case ("string" | "bytes", [_]) if overload in ("string_to_bytes", "bytes_to_string"):
            size = Range(lengths[0].least // 4, min(lengths[0].most * 4, MOST))
            return lengths[0].scaled(TEXT), size
        case ("containsIP" | "containsCIDR", [_, _]):
            return Range(4, 16).scaled(3 * TEXT).plus(ONE).plus(lengths[1].scaled(TEXT)), ONE
        case ("ip.isCanonical", [_]):
            return lengths[0].scaled(2 * TEXT), ONE
        case ("validate", [_, _]):
            return lengths[1].scaled(TEXT).times(fixed(10)), None
        case ("sets.contains" | "sets.intersects", [_, _]):
            return lengths[0].times(lengths[1]).plus(ONE), ONE
        case ("sets.equivalent", [_, _]):
            return lengths[0].times(lengths[1]).times(fixed(2)).plus(ONE), ONE
        case (name, [_]) if name in TEXT_READERS and not overload.startswith(("cidr_ip",)):
            return lengths[0].scaled(TEXT), ONE
    return ONE, None


TEXT_READERS = frozenset({
    "ip", "cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver",
})  # fmt: skip


def _regex(lengths: list[Range]) -> Range:
    return lengths[0].plus(ONE).scaled(TEXT).times(lengths[1].scaled(PATTERN))


def _replaced(text: Range, old: Range, new: Range) -> Range:
    if old.least == 0:
        most = min((text.most + 1) * new.most + text.most, MOST)
    elif new.most <= old.least:
        most = text.most
    else:
        most = min(-(-text.most // old.least) * new.most, MOST)
    return Range(0, most)
