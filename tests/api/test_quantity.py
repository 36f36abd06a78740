"""Quantities are exact, round up where Kubernetes rounds up, and are written as Kubernetes writes them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.machinery import quantity

QUANTITIES = st.builds(
    lambda sign, number, suffix: f"{sign}{number}{suffix}",
    st.sampled_from(["", "-"]),
    st.one_of(st.integers(0, 10**6).map(str), st.decimals(0, 1000, places=3).map(lambda d: f"{d:f}")),
    st.sampled_from([*quantity.DECIMAL_EXPONENTS, *quantity.BINARY_POWERS, "e3", "e-2"]),
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000m", "1"),
        ("100000", "100k"),
        ("1e3", "1e3"),
        ("1E", "1E"),
        ("1E3", "1e3"),
        ("512", "512"),
        ("0.5Ki", "512"),
        ("1.5Ki", "1536"),
        ("0.3Gi", "322122547200m"),
        ("-0.3Gi", "-322122547200m"),
        ("2000Ki", "2000Ki"),
        ("+.5", "500m"),
        ("5.", "5"),
        ("0", "0"),
        ("0Mi", "0"),
        ("0.0000000001", "1n"),
        ("99999999999E", "9223372036854775807"),
        ("-1024Mi", "-1Gi"),
    ],
)
def test_quantities_are_written_in_kubernetes_canonical_form(text: str, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


def test_amounts_are_exact() -> None:
    assert quantity.parse("0.1") + quantity.parse("0.2") == Decimal("0.3")
    assert quantity.parse("1.5Gi") == 1610612736
    assert quantity.parse(2) == 2


def test_whole_units_and_thousandths_round_away_from_zero() -> None:
    assert (quantity.value("1.1"), quantity.value("-1.1"), quantity.value("500m")) == (2, -2, 1)
    assert (quantity.milli("250m"), quantity.milli("100u"), quantity.milli(2)) == (250, 1, 2000)


@pytest.mark.parametrize("text", ["", "abc", "1 Gi", "1KB", "1kI", ".", "--1", "1.5.5", "١", "1e", "Infinity"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(quantity.InvalidQuantity):
        quantity.parse(text)


@given(QUANTITIES)
def test_canonical_form_is_a_fixed_point_and_keeps_the_amount(text: str) -> None:
    canonical = quantity.canonical(text)
    assert quantity.canonical(canonical) == canonical
    if "n" not in canonical:
        assert quantity.parse(canonical) == quantity.parse(text)


@given(QUANTITIES, QUANTITIES)
def test_addition_commutes_to_the_whole_unit_that_binary_forms_are_written_in(left: str, right: str) -> None:
    assert abs(quantity.parse(quantity.add(left, right)) - quantity.parse(quantity.add(right, left))) < 1


@given(st.integers(0, 2**62))
def test_formatted_amounts_read_back_the_same(amount: int) -> None:
    assert quantity.value(quantity.format_bytes(amount)) == amount
    assert quantity.milli(quantity.format_milli(amount // 1000)) == amount // 1000
