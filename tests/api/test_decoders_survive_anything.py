"""Whatever bytes come in, a decoder returns a value or its own refusal: no other error, no hang, bounded memory."""

from __future__ import annotations

import tracemalloc
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kontinuum.api.machinery import codecs
from kontinuum.api.machinery.quantity import parse
from kontinuum.api.machinery.selectors import parse_fields, parse_labels
from kontinuum.api.machinery.status import ApiError
from kontinuum.foundation.errors import Refused
from kontinuum.foundation.regex import BadExpression, compile_expression
from kontinuum.foundation.spdy import HeaderReader

CONFIGMAP = b64decode("azhzAAoPCgJ2MRIJQ29uZmlnTWFwEiIKGAoBYxIAGgdkZWZhdWx0IgAqADIAOABCABIGCgFhEgFiGgAiAA==")
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=10),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below, max_size=4),
    max_leaves=20,
)
MEBIBYTE = 1024 * 1024


def refused_or_decoded(decode: Callable[[], Any]) -> None:
    try:
        assert isinstance(decode(), dict)
    except ApiError as error:
        assert 400 <= error.code < 500 and error.message


@given(st.binary(max_size=300), st.sampled_from([*codecs.MEDIA_TYPES, "", "text/html"]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_an_object_or_a_bad_request(body: bytes, media: str) -> None:
    refused_or_decoded(lambda: codecs.decode(body, media))


@given(st.binary(max_size=60), st.integers(0, len(CONFIGMAP)), st.integers(0, 8))
@example(b"\xff" * 20, 20, 0)
@example(b"\x0b\x0c" * 20, 24, 0)
@settings(max_examples=500, deadline=None)
def test_any_damage_to_protobuf_is_an_object_or_a_bad_request(damage: bytes, at: int, cut: int) -> None:
    refused_or_decoded(lambda: codecs.decode(CONFIGMAP[:at] + damage + CONFIGMAP[at + cut :], codecs.PROTOBUF))


@given(st.text(alphabet="abc:-[]{}&*!|>'\"#%@` \n\t?,<0x1~", max_size=80))
@settings(max_examples=500, deadline=None)
def test_any_yaml_is_an_object_or_a_bad_request(text: str) -> None:
    refused_or_decoded(lambda: codecs.decode(text.encode(), codecs.YAML))


@given(JSON_VALUES)
@settings(max_examples=200, deadline=None)
def test_json_and_yaml_of_the_same_value_are_the_same(value: Any) -> None:
    body = orjson.dumps({"a": value})
    expected = orjson.loads(body)
    assert codecs.decode(body) == expected
    assert codecs.duplicate_fields_of(body, expected) == []
    try:
        assert codecs.decode(yaml.safe_dump(expected).encode(), codecs.YAML) == expected
    except ApiError:
        # Numbers beyond 64 bits and texts that YAML has no letters for.
        assert any(letter in body.decode() for letter in "0123456789\\") or not body.isascii()


@pytest.mark.parametrize("text", ["22:22", "1:59:59.5", "2024-01-02", "1_2:30"])
def test_texts_that_look_like_numbers_to_yaml_1_1_stay_texts(text: str) -> None:
    assert codecs.decode(f"a: {text}".encode(), codecs.YAML) == {"a": text}


@given(st.text(max_size=60) | st.text(alphabet="abz/.-_,=!()<> \tinotexs0", max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_selector_selects_or_is_a_bad_request(text: str) -> None:
    for parse_selector in (parse_labels, parse_fields):
        try:
            selector = parse_selector(text)
        except ApiError as error:
            assert error.code == 400
        else:
            selector.matches({"a": "b", "metadata.name": "x"})


@given(st.text(max_size=30) | st.text(alphabet="0123456789.eE+-kMGTPinum", max_size=30))
@example("1e999999999")
@example("9" * 30 + "E")
@settings(max_examples=500, deadline=None)
def test_any_quantity_is_a_number_or_refused(text: str) -> None:
    try:
        parse(text)
    except ValueError:
        return


@given(st.text(max_size=30) | st.text(alphabet="ab()[]{}*+?|\\^$.,0129-", max_size=40), st.text(max_size=40))
@example("(a+)+$", "a" * 40 + "!")
@example("((a{0,100}){0,100}){0,100}", "a")
@example("(x+x+)+y", "x" * 40)
@settings(max_examples=500, deadline=None)
def test_any_expression_is_searched_for_in_linear_time_or_refused(pattern: str, text: str) -> None:
    try:
        compile_expression(pattern).search(text)
    except BadExpression as error:
        assert "error parsing regexp" in str(error)


@given(st.lists(st.binary(max_size=80), max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_block_of_spdy_headers_is_headers_or_refused(blocks: list[bytes]) -> None:
    reader = HeaderReader()
    for block in blocks:
        try:
            assert isinstance(reader.read(block), dict)
        except (ValueError, Refused):
            return


DEEP = 10_000
BOMBS = {
    "deep JSON lists": (b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}", codecs.JSON),
    "deep JSON objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, codecs.JSON),
    "deep YAML lists": (b"a: " + b"[" * DEEP + b"]" * DEEP, codecs.YAML),
    "deep YAML objects": (b"{a: " * DEEP + b"1" + b"}" * DEEP, codecs.YAML),
    "deep YAML blocks": (b"".join(b" " * level + b"a:\n" for level in range(1500)), codecs.YAML),
    "YAML dashes": (b"- " * DEEP + b"x", codecs.YAML),
    "YAML open for ever": (b"[" * 1_000_000, codecs.YAML),
    "JSON open for ever": (b"[" * 3_000_000, codecs.JSON),
    "deep protobuf": (b"k8s\x00" + b"\x0a\x7f" * DEEP, codecs.PROTOBUF),
    "a long protobuf length": (b"k8s\x00\x12\xff\xff\xff\xff\x0f" + b"x" * 100, codecs.PROTOBUF),
    "a large JSON number": (b'{"a":' + b"9" * 100_000 + b"}", codecs.JSON),
    "a large YAML number": (b"a: " + b"9" * 100_000, codecs.YAML),
    "a YAML number of base 60": (b"a: 1" + b":59" * 900_000, codecs.YAML),
    "a YAML number of base 60 by its tag": (b"a: !!int 1" + b":59" * 900_000, codecs.YAML),
    "a merge of YAML with itself": (b"a: &a\n  <<: *a\n  b: 1\n", codecs.YAML),
    "YAML that contains itself": (b"&a [*a]", codecs.YAML),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_or_decoded_within_bounds(name: str) -> None:
    body, media = BOMBS[name]
    tracemalloc.start()
    try:
        refused_or_decoded(lambda: codecs.decode(body, media))
    except RecursionError:
        pass  # The handler answers this as a bad request.
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 200 * MEBIBYTE


@pytest.mark.parametrize("merge", [False, True])
def test_a_billion_laughs_are_not_laughed(merge: bool) -> None:
    lines = ["a: &a {x: lol}" if merge else "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for above, below in zip("bcdefghijk", "abcdefghij", strict=True):
        inside = ", ".join(f"<<: *{below}, k{n}: *{below}" if merge else f"*{below}" for n in range(1 if merge else 9))
        lines.append(f"{above}: &{above} " + (f"{{{inside}, l: *{below}, m: *{below}}}" if merge else f"[{inside}]"))
    text = "\n".join(lines).encode()
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as refused:
            codecs.decode(text, codecs.YAML)
        assert refused.value.code == 400
    except pytest.fail.Exception:
        assert merge  # Merged maps stay few.
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100 * MEBIBYTE
