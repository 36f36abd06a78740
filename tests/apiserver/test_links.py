"""Links in pages that come through a proxy, however the page is cut into pieces."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kontinuum.apiserver.links import GZIP, LONGEST_TAG, Links


def through(link: str) -> str:
    return f"/p{link}" if link.startswith("/") else link


def passed(*pieces: bytes) -> bytes:
    links = Links(through)
    return b"".join([*map(links.feed, pieces), links.end()])


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        (b'<a href="/x">t</a>', b'<a href="/p/x">t</a>'),
        (b"<A\n HREF = '/x'  id=a>", b"<A\n HREF = '/p/x'  id=a>"),
        (b"<img src=/x/y.png alt='/z'/>", b"<img src=/p/x/y.png alt='/z'/>"),
        (b'<a title="a > b href=/no" href="/x">', b'<a title="a > b href=/no" href="/p/x">'),
        (b'<link rel="icon"href="/x"><a href="">', b'<link rel="icon"href="/p/x"><a href="">'),
        (b'<script src="/x">"<a href=\'/no\'>"</script>', b'<script src="/p/x">"<a href=\'/no\'>"</script>'),
        (b"<!DOCTYPE html><html><a href=/x>", b"<!DOCTYPE html><html><a href=/p/x>"),
        (b"<!-- <a href=/no> --><a href=/x>", b"<!-- <a href=/no> --><a href=/p/x>"),
        (b"1 < 2, <3, <b href=/no> </a href=/no> <abbr href=/no>", None),
        (b'<a href="x"> <a href="http://elsewhere/">', None),
        ("<a href='/\u00e4?\u20ac'>".encode(), "<a href='/p/\u00e4?\u20ac'>".encode()),
    ],
)
def test_links_are_changed_and_nothing_else_is(page: bytes, wanted: bytes | None) -> None:
    assert passed(page) == (page if wanted is None else wanted)


@given(
    st.lists(
        st.sampled_from(
            [b"<a href=", b'"/x"', b"'/y'", b"<", b">", b"<!--", b"<!-", b"-->", b"<script>", b"</script>", b"q"]
        )
    )
)
@example([b"<a href=", b'"/x"', b">"])
def test_how_a_page_is_cut_makes_no_difference(pieces: list[bytes]) -> None:
    page = b"".join(pieces)
    assert passed(*pieces) == passed(page) == passed(*(bytes([one]) for one in page))
    assert passed(page).replace(b"/p/", b"/") == page


def test_what_never_ends_is_passed_on_all_the_same() -> None:
    links = Links(through)
    page = b"<a href='/x" + b"y" * LONGEST_TAG
    assert links.feed(page) == page
    assert links.feed(b"<a href=/z>") == b"<a href=/p/z>"


@pytest.mark.parametrize("piece", [b"<a", b"<script>", b"<!--", b"<a x='", b"<a \"'>'", b"<a x=", b"<a x ", b"<"])
def test_a_page_that_wants_to_be_searched_for_long_is_passed_on_like_any_other(piece: bytes) -> None:
    """The API server does nothing else meanwhile: what looks through it again for each of its tags takes minutes."""
    page = piece * (1 << 20)
    assert passed(page) == page
    assert passed(*(page[at : at + 4096] for at in range(0, 1 << 18, 4096))) == page[: 1 << 18]


def test_a_packed_page_stays_packed() -> None:
    packer, links = zlib.compressobj(wbits=GZIP), Links(through, is_packed=True)
    packed = packer.compress(b"<a href=/x>" * 100) + packer.flush()
    done = b"".join([*(links.feed(packed[at : at + 7]) for at in range(0, len(packed), 7)), links.end()])
    assert zlib.decompress(done, GZIP) == b"<a href=/p/x>" * 100


def test_what_unpacks_to_very_much_is_unpacked_bit_by_bit() -> None:
    page = b"<a href=/x>" + b" " * (5 << 20)
    links = Links(through, is_packed=True)
    done = links.feed(zlib.compress(page, wbits=GZIP)) + links.end()
    assert zlib.decompress(done, GZIP) == page.replace(b"/x", b"/p/x")
