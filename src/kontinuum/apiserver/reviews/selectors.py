"""The selectors of an access review as one text. Pure.

What cannot be read is left out: the question is then about more than was meant, and never allowed by mistake.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import parse_fields, parse_labels
from kontinuum.api.machinery.status import ApiError


class SelectorText(NamedTuple):
    text: str = ""
    is_broken: bool = False
    """Something of it could not be read."""


def field_selector_of(selector: Object | None) -> SelectorText:
    if not selector:
        return SelectorText()
    raw = selector.get("rawSelector")
    if raw:
        return _checked(raw, is_field=True)
    found = [_field_requirement(one) for one in selector.get("requirements") or ()]
    return _joined(found)


def label_selector_of(selector: Object | None) -> SelectorText:
    if not selector:
        return SelectorText()
    raw = selector.get("rawSelector")
    if raw:
        return _checked(raw, is_field=False)
    found = [_label_requirement(one) for one in selector.get("requirements") or ()]
    return _joined(found)


def _checked(text: str, *, is_field: bool) -> SelectorText:
    try:
        if is_field:
            parse_fields(text)
        else:
            parse_labels(text)
    except ApiError:
        return SelectorText("", is_broken=True)
    return SelectorText(text)


def _joined(found: Iterable[str]) -> SelectorText:
    """ "" stands for a requirement that could not be read."""
    texts = list(found)
    return SelectorText(",".join(text for text in texts if text), is_broken=not all(texts))


def _field_requirement(one: Object) -> str:
    values: list[str] = one.get("values") or []
    operator = {"In": "=", "NotIn": "!="}.get(one.get("operator") or "")
    if operator is None or len(values) != 1 or not one.get("key"):
        return ""
    value = values[0].replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
    return f"{one['key']}{operator}{value}"


def _label_requirement(one: Object) -> str:
    key, operator, values = one.get("key") or "", one.get("operator"), one.get("values") or ()
    texts = {
        "In": f"{key} in ({','.join(values)})" if values else "",
        "NotIn": f"{key} notin ({','.join(values)})" if values else "",
        "Exists": key if not values else "",
        "DoesNotExist": f"!{key}" if not values else "",
    }
    return _checked(texts.get(operator or "") or "", is_field=False).text if key else ""
