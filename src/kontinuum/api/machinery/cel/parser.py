"""From tokens to nodes: the grammar of the CEL specification, by precedence climbing.

ternary ▶ || ▶ && ▶ relations ▶ + - ▶ * / % ▶ ! - ▶ member access, calls, indexes ▶ literals, names, parentheses
"""

from __future__ import annotations

from kontinuum.api.machinery.cel.errors import RECURSION, CompileError, Issue
from kontinuum.api.machinery.cel.lexer import Token, tokens
from kontinuum.api.machinery.cel.macros import expand
from kontinuum.api.machinery.cel.nodes import (
    Call,
    Entry,
    FieldInit,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
    StructNode,
)
from kontinuum.api.machinery.cel.types import BOOL, BYTES, DOUBLE, INT, NULL, STRING, UINT
from kontinuum.api.machinery.cel.values import LARGEST

DEEPEST = 50
"""Parentheses, brackets and calls within each other; each costs several frames of Python's stack."""
LONGEST_CHAIN = 250
"""Operators or selections behind each other: ``a + b + c ...``, ``a.b.c ...``."""
RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while",
})  # fmt: skip
RELATIONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
LEVELS: tuple[frozenset[str], ...] = (RELATIONS, frozenset("+-"), frozenset("*/%"))
LITERALS = {"int": INT, "uint": UINT, "double": DOUBLE, "string": STRING, "bytes": BYTES}
CONSTANTS = {"true": (True, BOOL), "false": (False, BOOL), "null": (None, NULL)}
OPERATORS = {"in": "@in", "!": "!_", "==": "_==_", "&&": "_&&_", "||": "_||_"}


def parse(source: str) -> Node:
    """Raises CompileError."""
    try:
        return _Parser(source).whole()
    except RecursionError:
        raise CompileError(source[:80], [], RECURSION) from None


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = tokens(source)
        self._place = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._expression()
        if self._token.kind != "end":
            raise self._unexpected("<EOF>")
        return node

    @property
    def _token(self) -> Token:
        return self._tokens[self._place]

    def _take(self) -> Token:
        token = self._tokens[self._place]
        self._place += 1
        return token

    def _accept(self, kind: str) -> bool:
        if self._token.kind != kind:
            return False
        self._place += 1
        return True

    def _expect(self, kind: str) -> Token:
        if self._token.kind != kind:
            raise self._unexpected(f"'{kind}'")
        return self._take()

    def _unexpected(self, expected: str) -> CompileError:
        token = self._token
        text = "<EOF>" if token.kind == "end" else str(token.value)
        problem = f"Syntax error: mismatched input '{text}' expecting {expected}"
        return CompileError(self._source, [Issue(token.position, problem)])

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise CompileError(self._source, [], RECURSION)
        condition = self._logical("||", "&&")
        if self._token.kind == "?":
            position = self._take().position
            yes = self._logical("||", "&&")
            self._expect(":")
            condition = Call(position, "_?_:_", None, [condition, yes, self._expression()])
        self._depth -= 1
        return condition

    def _logical(self, operator: str, *tighter: str) -> Node:
        """Chains of one logical operator become balanced trees: rules with hundreds of terms are common."""
        terms, positions = [self._below(tighter)], []
        while self._token.kind == operator:
            positions.append(self._take().position)
            terms.append(self._below(tighter))
        return _balanced(OPERATORS[operator], terms, positions)

    def _below(self, tighter: tuple[str, ...]) -> Node:
        return self._logical(tighter[0], *tighter[1:]) if tighter else self._binary(0)

    def _binary(self, level: int) -> Node:
        if level == len(LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        length = 0
        while (operator := self._operator()) in LEVELS[level]:
            length += 1
            if length > LONGEST_CHAIN:
                raise CompileError(self._source, [], RECURSION)
            position = self._take().position
            name = OPERATORS.get(operator, f"_{operator}_")
            left = Call(position, name, None, [left, self._binary(level + 1)])
        return left

    def _operator(self) -> str:
        token = self._token
        return "in" if token.kind == "ident" and token.value == "in" else token.kind

    def _unary(self) -> Node:
        operators: list[Token] = []
        while self._token.kind in ("!", "-") and (not operators or operators[0].kind == self._token.kind):
            operators.append(self._take())
        negated = bool(operators) and operators[-1].kind == "-" and self._token.kind in ("int", "double")
        if negated:
            operators.pop()
        node = self._member(negated=negated)
        # Two of a kind cancel each other, as in cel-go.
        if len(operators) % 2 == 1:
            name = "!_" if operators[0].kind == "!" else "-_"
            return Call(operators[0].position, name, None, [node])
        return node

    def _member(self, *, negated: bool) -> Node:
        node = self._primary(negated=negated)
        length = 0
        while self._token.kind in (".", "["):
            length += 1
            if length > LONGEST_CHAIN:
                raise CompileError(self._source, [], RECURSION)
            node = self._selected(node) if self._token.kind == "." else self._indexed(node)
        return node

    def _selected(self, operand: Node) -> Node:
        position = self._take().position
        is_optional = self._accept("?")
        if self._token.kind != "ident" or self._token.value in ("in", *CONSTANTS):
            raise self._unexpected("IDENTIFIER")
        name = self._take()
        if not is_optional and self._token.kind == "(":
            position = self._take().position
            return self._call(position, name.value, operand)
        return Select(position, operand, name.value, is_optional=is_optional)

    def _indexed(self, operand: Node) -> Node:
        position = self._take().position
        is_optional = self._accept("?")
        index = self._expression()
        self._expect("]")
        return Call(position, "_[?_]" if is_optional else "_[_]", None, [operand, index])

    def _call(self, position: int, name: str, target: Node | None) -> Node:
        call = Call(position, name, target, self._arguments())
        return expand(self._source, call) or call

    def _arguments(self) -> list[Node]:
        found: list[Node] = []
        if self._accept(")"):
            return found
        while True:
            found.append(self._expression())
            if self._accept(")"):
                return found
            self._expect(",")

    def _primary(self, *, negated: bool) -> Node:
        token = self._token
        if token.kind in LITERALS:
            return self._literal(negated=negated)
        if token.kind == "(":
            self._take()
            node = self._expression()
            self._expect(")")
            return node
        if token.kind == "[":
            return self._list()
        if token.kind == "{":
            return self._map()
        if token.kind == "." or token.kind == "ident":
            return self._named()
        raise self._unexpected("{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, "
                               "STRING, BYTES, IDENTIFIER}")  # fmt: skip

    def _literal(self, *, negated: bool) -> Node:
        token = self._take()
        value = -token.value if negated else token.value
        if token.kind == "int" and value > LARGEST:
            raise CompileError(self._source, [Issue(token.position, "invalid int literal")])
        return Literal(token.position, value, LITERALS[token.kind])

    def _named(self) -> Node:
        # A leading dot names something at the root; there is no other place here.
        is_rooted = self._accept(".")
        token = self._expect("ident") if is_rooted else self._take()
        name: str = token.value
        if name in CONSTANTS:
            value, type_ = CONSTANTS[name]
            return Literal(token.position, value, type_)
        if name in RESERVED or name == "in":
            raise CompileError(self._source, [Issue(token.position, f"reserved identifier: {name}")])
        if self._token.kind == "(":
            return self._call(self._take().position, name, None)
        if self._token.kind in ("{", "."):
            struct = self._struct(token)
            if struct is not None:
                return struct
        return Ident(token.position, name)

    def _struct(self, first: Token) -> Node | None:
        """``Object.spec{...}``: names with dots, then a brace. Goes back if it is something else."""
        place, name = self._place, [first.value]
        while self._token.kind == "." and self._tokens[self._place + 1].kind == "ident":
            self._take()
            name.append(self._take().value)
        if self._token.kind != "{":
            self._place = place
            return None
        self._take()
        inits: list[FieldInit] = []
        while self._token.kind != "}":
            is_optional = self._accept("?")
            field = self._expect("ident")
            self._expect(":")
            inits.append(FieldInit(field.position, field.value, self._expression(), is_optional))
            if not self._accept(","):
                break
        self._expect("}")
        return StructNode(first.position, ".".join(name), inits)

    def _list(self) -> Node:
        position = self._take().position
        elements: list[Node] = []
        optionals: set[int] = set()
        while self._token.kind != "]":
            if self._accept("?"):
                optionals.add(len(elements))
            elements.append(self._expression())
            if not self._accept(","):
                break
        self._expect("]")
        return ListNode(position, elements, frozenset(optionals))

    def _map(self) -> Node:
        position = self._take().position
        entries: list[Entry] = []
        while self._token.kind != "}":
            is_optional = self._accept("?")
            key = self._expression()
            self._expect(":")
            entries.append(Entry(key, self._expression(), is_optional))
            if not self._accept(","):
                break
        self._expect("}")
        return MapNode(position, entries)


def _balanced(function: str, terms: list[Node], positions: list[int]) -> Node:
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    left = _balanced(function, terms[:middle], positions[: middle - 1])
    right = _balanced(function, terms[middle:], positions[middle:])
    return Call(positions[middle - 1], function, None, [left, right])
