"""Whatever owners contribute and take back, a change brings the kernel to what the whole would have been."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings
from tests.node.nft import Table

from kontinuum.node.ruleset import NOTHING, Fragment, Frame, Ruleset, Set

FRAME = Frame(
    sets={"all": Set("map", "type a : verdict;"), "some": Set("set", "type a;", {"always": ""})},
    chains={"entry": ("type filter hook forward priority 0; policy accept;", "x vmap @all"), "no": ("reject",)},
)
OWNERS = ("one", "two", "three")
KEYS = st.sampled_from(["10.0.0.1 . tcp . 80", "10.0.0.2 . udp . 53", "10.0.0.3 . tcp . 443"])


@st.composite
def fragments(draw: st.DrawFn, owner: str) -> Fragment:
    """Chains and sets with the owner's name in theirs, and elements that may lead to them."""
    sets = {
        f"{owner}-{kind}": Set(
            "map", "type b : c;", draw(st.dictionaries(st.sampled_from("012"), st.sampled_from("xyz")))
        )
        for kind in draw(st.sets(st.sampled_from(["a", "b"])))
    }
    chains = {
        f"{owner}-{name}": tuple(f"dnat to z map @{one}" for one in sorted(sets))
        for name in draw(st.sets(st.sampled_from("pq")))
    }
    targets = [f"goto {name}" for name in sorted(chains)] + ["goto no", "drop"]
    verdicts = draw(st.dictionaries(KEYS, st.sampled_from(targets)))
    return Fragment(sets, chains, {"all": verdicts, "some": dict.fromkeys(draw(st.sets(KEYS)), "")})


CHANGES = st.lists(
    st.sampled_from(OWNERS).flatmap(
        lambda owner: st.tuples(st.just(owner), st.one_of(st.just(NOTHING), fragments(owner)))
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_changes_lead_to_the_same_table_as_writing_all_of_it(rounds: list[list[tuple[str, Fragment]]]) -> None:
    ruleset, kernel = Ruleset("inet t", FRAME), Table()
    kernel.apply(ruleset.whole())
    for changes in rounds:
        for owner, fragment in changes:
            ruleset.put(owner, fragment)
        kernel.apply(ruleset.take_transaction())
        anew, fresh = Ruleset("inet t", FRAME), Table()
        for owner in ruleset.owners():
            anew.put(owner, ruleset.get(owner))
        fresh.apply(anew.whole())
        assert (kernel.sets, kernel.chains) == (fresh.sets, fresh.chains)
        assert ruleset.take_transaction() == ""


@settings(max_examples=25, deadline=None)
@given(CHANGES)
def test_after_writing_all_of_it_changes_go_on_from_there(changes: list[tuple[str, Fragment]]) -> None:
    ruleset, kernel = Ruleset("inet t", FRAME), Table()
    for owner, fragment in changes:
        ruleset.put(owner, fragment)
        kernel.apply(ruleset.whole())
    for owner in OWNERS:
        ruleset.put(owner, NOTHING)
        kernel.apply(ruleset.take_transaction())
    empty = Table()
    empty.apply(Ruleset("inet t", FRAME).whole())
    assert (kernel.sets, kernel.chains) == (empty.sets, empty.chains)


def test_one_of_a_thousand_elements_is_changed_by_two_sentences() -> None:
    def of(last: str) -> Fragment:
        elements = {str(number): f"10.0.{number >> 8}.{number & 255}" for number in range(999)}
        return Fragment(
            {"endpoints": Set("map", "type a : b;", elements | {"999": last})}, {"to": ("dnat map @endpoints",)}
        )

    ruleset = Ruleset("inet t", FRAME)
    ruleset.put("service", of("10.9.9.9"))
    ruleset.take_transaction()
    ruleset.put("service", of("10.8.8.8"))
    assert ruleset.take_transaction().splitlines() == [
        "delete element inet t endpoints { 999 }",
        "add element inet t endpoints { 999 : 10.8.8.8 }",
    ]
