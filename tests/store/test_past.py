"""What somebody reads page by page is found out once, and forgotten when nobody can ask for it any more."""

from __future__ import annotations

from kontinuum.store.past import LISTS, Pasts


class Counted:
    """What was there, and how often that was asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, int]:
        self.times += 1
        return {key: ord(key) for key in "dbac"}


def test_a_list_is_made_once_for_all_its_pages() -> None:
    pasts, made = Pasts[int](), Counted()
    assert pasts.page("", 5, made, after="", limit=2) == ([("a", 97), ("b", 98)], 2)
    assert pasts.page("", 5, made, after="b", limit=1) == ([("c", 99)], 1)
    assert pasts.page("", 5, made, after="c", limit=2) == ([("d", 100)], 0)
    assert made.times == 1
    assert pasts.page("", 5, made, after="", limit=0)[1] == 0
    assert made.times == 2, "it had been read to its end"


def test_lists_that_nobody_goes_on_with_make_way_and_so_do_those_of_forgotten_revisions() -> None:
    pasts, first, made = Pasts[int](), Counted(), Counted()
    pasts.page("", 1, first, after="", limit=1)
    for revision in range(2, LISTS + 1):
        pasts.page("", revision, made, after="", limit=1)
    pasts.page("", 1, first, after="a", limit=1)
    pasts.page("", LISTS + 1, made, after="", limit=1)
    assert pasts.page("", 1, first, after="b", limit=1) == ([("c", 99)], 1)
    assert first.times == 1 and made.times == LISTS
    pasts.page("", 2, made, after="", limit=1)
    assert made.times == LISTS + 1, "the one that had been left alone for longest made way"
    pasts.forget(2)
    pasts.page("", 1, first, after="c", limit=1)
    assert first.times == 2
