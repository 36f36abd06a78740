"""Calls that are no functions: they see their arguments unevaluated (``has``, ``all``, ``cel.bind`` ...)."""

from __future__ import annotations

from kontinuum.api.machinery.cel.errors import CompileError, Issue
from kontinuum.api.machinery.cel.nodes import Bind, Call, Fold, Ident, Node, OptionalMap, Select

ONE_VARIABLE = {"all", "exists", "exists_one", "existsOne", "filter", "map"}
TWO_VARIABLES = {"all", "exists", "existsOne", "transformList", "transformMap", "transformMapEntry"}
WITHOUT_BODY = {"all", "exists", "existsOne", "exists_one", "filter"}


def expand(source: str, call: Call) -> Node | None:
    """What the call stands for if it is a macro, else None. Raises CompileError for a macro with wrong arguments."""
    if call.target is None:
        return _has(source, call) if call.function == "has" and len(call.arguments) == 1 else None
    if isinstance(call.target, Ident) and call.target.name == "cel" and call.function == "bind":
        return _bind(source, call)
    if call.function in ("optMap", "optFlatMap") and len(call.arguments) == 2:
        name = _name(source, call.arguments[0])
        return OptionalMap(call.position, call.target, name, call.arguments[1], call.function == "optFlatMap")
    for names, count in ((ONE_VARIABLE, 1), (TWO_VARIABLES, 2)):
        extra = len(call.arguments) - count
        if call.function in names and extra in _extras(call.function, count):
            return _fold(source, call, call.target, count)
    return None


def _extras(function: str, variables: int) -> tuple[int, ...]:
    """How many arguments may follow the variables: a predicate, or a transformation with or without a filter."""
    if function in WITHOUT_BODY:
        return (1,)
    return (1, 2)


def _fold(source: str, call: Call, over: Node, count: int) -> Node:
    names = tuple(_name(source, one) for one in call.arguments[:count])
    if len(set(names)) != count:
        raise _error(source, call.arguments[1], f"duplicate variable name: {names[0]}")
    rest = call.arguments[count:]
    macro = "existsOne" if call.function == "exists_one" else call.function
    if macro in WITHOUT_BODY:
        return Fold(call.position, macro, over, names, rest[0], None)
    condition = rest[0] if len(rest) == 2 else None
    return Fold(call.position, macro, over, names, condition, rest[-1])


def _has(source: str, call: Call) -> Node:
    argument = call.arguments[0]
    if not isinstance(argument, Select) or argument.is_test or argument.is_optional:
        raise _error(source, argument, "invalid argument to has() macro")
    argument.is_test = True
    argument.position = call.position
    return argument


def _bind(source: str, call: Call) -> Node:
    if len(call.arguments) != 3:
        raise CompileError(source, [Issue(call.position, "cel.bind() expects three arguments")])
    name = _name(source, call.arguments[0], "cel.bind() variable names must be simple identifiers")
    return Bind(call.position, name, call.arguments[1], call.arguments[2])


def _name(source: str, node: Node, problem: str = "argument must be a simple name") -> str:
    if not isinstance(node, Ident) or node.name == "__result__":
        raise _error(source, node, problem)
    return node.name


def _error(source: str, node: Node, message: str) -> CompileError:
    return CompileError(source, [Issue(node.position, message)])
