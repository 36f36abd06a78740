"""Gives every part of an expression its type, or says what is wrong with it (cel-go's ``checker``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import RECURSION, CompileError, Issue
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
from kontinuum.api.machinery.cel.overloads import Overload
from kontinuum.api.machinery.cel.types import Type, Unifier
from kontinuum.api.machinery.cel.values import TypeValue

TYPE_NAMES: Mapping[str, Type] = {
    "bool": t.BOOL, "int": t.INT, "uint": t.UINT, "double": t.DOUBLE, "string": t.STRING, "bytes": t.BYTES,
    "null_type": t.NULL, "list": t.list_of(t.DYN), "map": t.map_of(t.DYN, t.DYN), "type": t.TYPE,
    "google.protobuf.Timestamp": t.TIMESTAMP, "google.protobuf.Duration": t.DURATION,
    "optional_type": t.optional_of(t.DYN), "net.IP": t.opaque("net.IP"), "net.CIDR": t.opaque("net.CIDR"),
    "kubernetes.Quantity": t.opaque("kubernetes.Quantity"), "kubernetes.URL": t.opaque("kubernetes.URL"),
    "kubernetes.Semver": t.opaque("kubernetes.Semver"), "kubernetes.NamedFormat": t.opaque("kubernetes.NamedFormat"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checked:
    """An expression whose parts know their types."""

    root: Node
    references: frozenset[str]
    """The declared variables that it uses."""
    nodes: list[Node]
    """All its parts."""


@dataclass(slots=True)
class Scope:
    """Names that a macro declares."""

    variables: dict[str, Type] = field(default_factory=dict)


class Checker:
    """For one expression. ``structs`` answers the object type of a constructor's name, if there are any."""

    def __init__(
        self,
        source: str,
        variables: Mapping[str, Type],
        functions: Mapping[str, tuple[Overload, ...]],
        structs: t.Type | None = None,
    ) -> None:
        self._source = source
        self._variables = variables
        self._functions = functions
        self._structs = structs
        self._unifier = Unifier()
        self._scopes: list[Scope] = []
        self._issues: list[Issue] = []
        self._references: set[str] = set()
        self._nodes: list[Node] = []
        self._resolved: dict[tuple[str, bool, tuple[Type, ...]], tuple[tuple[Overload, ...], Type]] = {}

    def check(self, root: Node) -> Checked:
        """Raises CompileError."""
        try:
            self._visit(root)
        except RecursionError:
            raise CompileError(self._source[:80], [], RECURSION) from None
        if self._issues:
            raise CompileError(self._source, list(dict.fromkeys(self._issues)))
        for node in self._nodes:
            node.type = self._unifier.resolve(node.type, final=True)
        return Checked(root, frozenset(self._references), self._nodes)

    def _visit(self, node: Node) -> Type:
        self._nodes.append(node)
        node.type = self._type(node)
        return node.type

    def _type(self, node: Node) -> Type:
        match node:
            case Literal():
                return node.literal_type
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
                return self._struct(node)
            case Fold():
                return self._fold(node)
            case Bind():
                value = self._visit(node.value)
                return self._within({node.name: value}, node.body)
            case OptionalMap():
                return self._optional_map(node)
        raise AssertionError(f"no such node: {node}")

    def _complain(self, node: Node | int, message: str) -> Type:
        position = node if isinstance(node, int) else node.position
        self._issues.append(Issue(position, message))
        return t.ERROR

    def _within(self, variables: dict[str, Type], body: Node) -> Type:
        self._scopes.append(Scope(variables))
        found = self._visit(body)
        self._scopes.pop()
        return found

    def _local(self, name: str) -> Type | None:
        for scope in reversed(self._scopes):
            if name in scope.variables:
                return scope.variables[name]
        return None

    def _ident(self, node: Ident) -> Type:
        local = self._local(node.name)
        if local is not None:
            node.is_local = True
            return local
        found = self._declared(node)
        if found is None:
            return self._complain(node, f"undeclared reference to '{node.name}' (in container '')")
        return found

    def _declared(self, node: Ident) -> Type | None:
        """A variable or the name of a type."""
        if node.name in self._variables:
            self._references.add(node.name)
            return self._variables[node.name]
        if node.name in TYPE_NAMES:
            node.constant = TypeValue(node.name)
            return t.type_of(TYPE_NAMES[node.name])
        if self._struct_type(node.name) is not None:
            node.constant = TypeValue(node.name)
            return t.TYPE
        return None

    def _select(self, node: Select) -> Type:
        qualified = qualified_name(node)
        if qualified is not None and self._local(qualified.split(".", 1)[0]) is None and not node.is_test:
            ident = Ident(node.position, qualified)
            found = self._declared(ident)
            if found is not None:
                node.ident = ident
                ident.type = found
                return found
        operand = self._unifier.resolve(self._visit(node.operand))
        return self._field(node, operand)

    def _field(self, node: Select, operand: Type) -> Type:
        through = operand.is_optional
        found = self._field_of(node, operand.parameters[0] if through else operand)
        if node.is_test:
            return t.BOOL
        if (through or node.is_optional) and not found.is_optional and found.kind != "error":
            return t.optional_of(found)
        return found

    def _field_of(self, node: Select, target: Type) -> Type:
        target = self._unifier.resolve(target)
        match target.kind:
            case "dyn" | "error" | "param":
                return t.DYN
            case "map":
                return target.parameters[1]
            case "object":
                if node.field_name in target.fields:
                    declared: Type = target.fields[node.field_name].type
                    return declared
                if "*" in target.fields:
                    return t.DYN
                return self._complain(node, f"undefined field '{node.field_name}'")
        return self._complain(node, f"type '{target}' does not support field selection")

    def _call(self, node: Call) -> Type:
        types = [self._visit(one) for one in node.arguments]
        if node.target is None:
            if node.function not in self._functions:
                return self._complain(node, f"undeclared reference to '{node.function}' (in container '')")
            return self._resolve(node, types, is_member=False)
        prefix = qualified_name(node.target)
        if prefix is not None and f"{prefix}.{node.function}" in self._functions:
            node.function, node.target = f"{prefix}.{node.function}", None
            return self._resolve(node, types, is_member=False)
        target = self._visit(node.target)
        if node.function not in self._functions:
            return self._complain(node, f"undeclared reference to '{node.function}' (in container '')")
        return self._resolve(node, [target, *types], is_member=True)

    def _resolve(self, node: Call, types: list[Type], *, is_member: bool) -> Type:
        given = tuple(self._unifier.resolve(one) for one in types)
        key = (node.function, is_member, given)
        known = self._resolved.get(key)
        if known is not None:
            node.overloads, type_ = known
            return type_
        type_ = self._choose(node, given, is_member=is_member)
        # Without placeholders the choice is always the same; long expressions repeat themselves.
        if node.overloads and type_.is_ground and all(one.is_ground for one in given):
            self._resolved[key] = (node.overloads, type_)
        return type_

    def _choose(self, node: Call, given: tuple[Type, ...], *, is_member: bool) -> Type:
        """The overloads that fit, and what they make. Complains if there is none."""
        found: list[Overload] = []
        result: Type | None = None
        for overload in self._functions[node.function]:
            if overload.is_member != is_member or len(overload.parameters) != len(given):
                continue
            *wanted, its_result = self._unifier.instantiate(*overload.parameters, overload.result)
            if self._unifier.fits(given, tuple(wanted)):
                found.append(overload)
                resolved = self._unifier.resolve(its_result)
                # With several to choose from, the result is only known if they agree.
                result = resolved if result is None or result == resolved else t.DYN
        if result is None:
            if any(one.kind == "error" for one in given):
                return t.ERROR
            return self._complain(
                node, f"found no matching overload for '{node.function}' applied to '{_signature(given, is_member)}'"
            )
        node.overloads = tuple(found)
        return result

    def _list(self, node: ListNode) -> Type:
        element: Type | None = None
        for place, one in enumerate(node.elements):
            given = self._visit(one)
            if place in node.optionals:
                given = self._unwrapped(one, given)
            element = self._joined(one, element, given)
        return t.list_of(element or self._unifier.fresh())

    def _map(self, node: MapNode) -> Type:
        key: Type | None = None
        value: Type | None = None
        for entry in node.entries:
            key = self._joined(entry.key, key, self._visit(entry.key))
            given = self._visit(entry.value)
            if entry.is_optional:
                given = self._unwrapped(entry.value, given)
            value = self._joined(entry.value, value, given)
        return t.map_of(key or self._unifier.fresh(), value or self._unifier.fresh())

    def _unwrapped(self, node: Node, given: Type) -> Type:
        given = self._unifier.resolve(given)
        if given.is_optional:
            return given.parameters[0]
        if not given.is_dyn:
            self._complain(node, f"expected type 'optional_type({given})' but found '{given}'")
        return t.DYN

    def _joined(self, node: Node, known: Type | None, given: Type) -> Type:
        """Elements of one list are of one type: Kubernetes asks for homogeneous literals."""
        if known is None:
            return given
        known, given = self._unifier.resolve(known), self._unifier.resolve(given)
        if not self._unifier.fits((given,), (known,)):
            self._complain(node, f"expected type '{known}' but found '{given}'")
            return known
        return t.most_general(known, given)

    def _struct_type(self, name: str) -> Type | None:
        """``Object``, ``Object.spec.template`` ..., and ``JSONPatch``: the types that mutating policies construct."""
        if self._structs is None:
            return None
        if name == "JSONPatch":
            found: Type = self._structs.fields["JSONPatch"].type
            return found
        if name == "Object" or name.startswith("Object."):
            return Type("object", name, fields={"*": None})
        return None

    def _struct(self, node: StructNode) -> Type:
        made = self._struct_type(node.name)
        for init in node.inits:
            given = self._visit(init.value)
            if init.is_optional:
                given = self._unwrapped(init.value, given)
            if made is None:
                continue
            if "*" in made.fields:
                # A nested object must be the one that belongs there.
                wanted = f"{node.name}.{init.name}"
                if given.kind == "object" and given.name.startswith("Object") and given.name != wanted:
                    self._mismatch(init.position, init.name, wanted, given)
            elif init.name not in made.fields:
                self._complain(init.position, f"undefined field '{init.name}'")
            elif not self._unifier.fits((given,), (made.fields[init.name].type,)):
                self._mismatch(init.position, init.name, made.fields[init.name].type, given)
        if made is None:
            return self._complain(node, f"undeclared reference to '{node.name}' (in container '')")
        return made

    def _mismatch(self, position: int, name: str, wanted: object, given: Type) -> None:
        self._complain(position, f"expected type of field '{name}' is '{wanted}' but provided type is '{given}'")

    def _fold(self, node: Fold) -> Type:
        over = self._unifier.resolve(self._visit(node.range))
        variables = self._variables_of(node, over)
        self._scopes.append(Scope(variables))
        condition = self._visit(node.condition) if node.condition is not None else t.BOOL
        body = self._visit(node.body) if node.body is not None else None
        self._scopes.pop()
        self._assert_condition(node, condition, self._unifier.resolve(body or next(iter(variables.values()))))
        match node.macro:
            case "filter":
                return t.list_of(variables[node.variables[0]])
            case "map" | "transformList":
                return t.list_of(body or t.DYN)
            case "transformMap":
                return t.map_of(variables[node.variables[0]], body or t.DYN)
            case "transformMapEntry":
                made = self._unifier.resolve(body or t.DYN)
                if made.kind not in ("map", "dyn", "error") and node.body is not None:
                    self._complain(node.body, f"expected type 'map(dyn, dyn)' but found '{made}'")
                return made if made.kind == "map" else t.map_of(t.DYN, t.DYN)
        return t.BOOL

    def _variables_of(self, node: Fold, over: Type) -> dict[str, Type]:
        if over.kind == "list":
            types: tuple[Type, ...] = (over.parameters[0],) if len(node.variables) == 1 else (t.INT, over.parameters[0])
        elif over.kind == "map":
            types = over.parameters[: len(node.variables)]
        else:
            if over.kind not in ("dyn", "error", "param"):
                self._complain(
                    node.range,
                    f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)",
                )
            types = (t.DYN, t.DYN)[: len(node.variables)]
        return dict(zip(node.variables, types, strict=True))

    def _assert_condition(self, node: Fold, given: Type, element: Type) -> None:
        """Complains as if the macro were written out: cel-go knows no other way to say it."""
        given = self._unifier.resolve(given)
        if self._unifier.fits((given,), (t.BOOL,)):
            return
        made = t.map_of(t.DYN, element) if node.macro.startswith("transformMap") else t.list_of(element)
        function, types = {
            "all": ("_&&_", (t.BOOL, given)),
            "exists": ("_||_", (t.BOOL, given)),
            "existsOne": ("_?_:_", (given, t.INT, t.INT)),
        }.get(node.macro, ("_?_:_", (given, made, made)))
        signature = _signature(types, is_member=False)
        self._complain(node, f"found no matching overload for '{function}' applied to '{signature}'")

    def _optional_map(self, node: OptionalMap) -> Type:
        operand = self._unifier.resolve(self._visit(node.operand))
        if not operand.is_optional and not operand.is_dyn:
            name = "optFlatMap" if node.is_flat else "optMap"
            self._complain(node, f"found no matching overload for '{name}' applied to '{operand}.()'")
        inner = operand.parameters[0] if operand.is_optional else t.DYN
        body = self._unifier.resolve(self._within({node.name: inner}, node.body))
        if not node.is_flat:
            return t.optional_of(body)
        if not body.is_optional and not body.is_dyn:
            self._complain(node.body, f"expected type 'optional_type({body})' but found '{body}'")
        return body


def qualified_name(node: Node) -> str | None:
    """``a.b.c`` as one name, if it is nothing but names."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.is_test and not node.is_optional:
        parts.append(node.field_name)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    return ".".join([node.name, *reversed(parts)])


def _signature(types: tuple[Type, ...], is_member: bool) -> str:
    texts = [str(one) if one.kind != "param" else "dyn" for one in types]
    if is_member:
        return f"{texts[0]}.({', '.join(texts[1:])})"
    return f"({', '.join(texts)})"
