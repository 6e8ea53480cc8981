# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects come whole and verified from mirrors that do what they like, or there is a refusal that says which one did what."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from dataclasses import replace

import pytest
import stores
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import fetch
from ansible.module_utils.slipway.host.artifact_source import Source
from ansible.module_utils.slipway.host.fetch import Fetch, Limits
from stores import Authority, Mirror

BIG = bytes(range(256)) * 1200  # several chunks
PATIENCE = Limits(timeout_seconds=20, pause_seconds=1, rounds=3)


def named(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def docroot(tmp_path):
    """Return a function that puts contents into the store of `shop`, and returns what is wanted of it."""

    def put(*contents, under="docroot"):
        for data in contents:
            path = tmp_path / under / "shop/objects" / named(data)[:2] / named(data)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return {named(data): len(data) for data in contents}

    put.path = tmp_path / "docroot"
    return put


@pytest.fixture
def mirror(docroot):
    made = Mirror(docroot.path)
    yield made
    made.close()


@pytest.fixture
def other(docroot):
    made = Mirror(docroot.path)
    yield made
    made.close()


@pytest.fixture
def bring(tmp_path, clock):
    """Return a function that fetches what is wanted from mirrors into `into`."""
    (tmp_path / "into").mkdir()

    def brought(wanted, *mirrors, limits=PATIENCE, clock=clock, **about):
        urls = [each if isinstance(each, str) else each.url for each in mirrors]
        source = Source.parse({"source": urls, **about})
        fetching = Fetch(source, "shop", tmp_path / "into", clock, limits=limits, jitter=lambda: 1.0)
        return fetching.bring(wanted)

    brought.into = tmp_path / "into"
    return brought


def refusal(bring, *arguments, **options):
    with pytest.raises(Refusal) as caught:
        bring(*arguments, **options)
    return caught.value


def arrived(bring):
    return {path.name: path.read_bytes() for path in bring.into.iterdir()}


def test_every_object_arrives_once(bring, docroot, mirror):
    contents = [b"", b"one", b"two", BIG]
    assert bring(docroot(*contents), mirror) == fetch.Brought(4, len(BIG) + 6, 0, {})
    assert arrived(bring) == {named(data): data for data in contents}
    assert len({asked.path for asked in mirror.asked}) == len(mirror.asked) == 3  # what is empty needs no asking


def test_nothing_wanted_asks_nobody(bring, mirror):
    assert bring({}, mirror).objects == 0
    assert mirror.asked == []


def test_few_connections_are_kept_for_many_objects(bring, docroot, mirror):
    bring(docroot(*(str(number).encode() for number in range(100))), mirror)
    assert len(mirror.asked) == 100
    assert len({asked.connection for asked in mirror.asked}) <= PATIENCE.connections


def test_what_arrives_is_private_until_it_is_verified(bring, docroot, mirror):
    wanted = docroot(b"one")
    bring(wanted, mirror)
    assert (bring.into / next(iter(wanted))).stat().st_mode & 0o777 == 0o600


# going on


def test_a_cut_is_gone_on_with_by_a_range(bring, docroot, mirror, clock):
    mirror.behaviours = [stores.cut_after(1000), stores.cut_after(70_000)]
    bring(docroot(BIG), mirror)
    assert arrived(bring) == {named(BIG): BIG}
    assert mirror.ranges == ["", "bytes=1000-", "bytes=71000-"]
    assert clock.slept == [1.0, 2.0]


def test_what_another_fetch_left_is_gone_on_with(bring, docroot, mirror):
    wanted = docroot(BIG)
    (bring.into / named(BIG)).write_bytes(BIG[:5000])
    brought = bring(wanted, mirror)
    assert (brought.bytes, brought.resumed_bytes, mirror.ranges) == (len(BIG) - 5000, 5000, ["bytes=5000-"])
    assert arrived(bring) == {named(BIG): BIG}


def test_what_another_fetch_left_whole_is_not_asked_for(bring, docroot, mirror):
    wanted = docroot(BIG)
    (bring.into / named(BIG)).write_bytes(BIG)
    assert bring(wanted, mirror).resumed_bytes == len(BIG)
    assert mirror.asked == []


@pytest.mark.parametrize("left", [b"x" * 5000, b"x" * len(BIG), BIG + b"more"], ids=["part", "whole", "longer"])
def test_what_was_left_and_is_something_else_costs_a_second_time_and_blames_nobody(bring, docroot, mirror, left):
    wanted = docroot(BIG)
    (bring.into / named(BIG)).write_bytes(left)
    assert bring(wanted, mirror).left == {}
    assert arrived(bring) == {named(BIG): BIG}


def test_a_server_without_ranges_sends_all_of_it_again(bring, docroot, mirror):
    mirror.behaviours = [stores.cut_after(1000)]
    mirror.always = stores.no_ranges
    bring(docroot(BIG), mirror)
    assert arrived(bring) == {named(BIG): BIG}


def test_progress_is_patience_and_none_is_not(bring, docroot, mirror):
    """Three cuts in a row end it, unless enough came before each of them."""
    mirror.always = stores.cut_after(70_000)
    bring(docroot(BIG), mirror, limits=replace(PATIENCE, progress_bytes=60_000))
    assert len(mirror.asked) == 5
    mirror.always = stores.cut_after(10)
    assert refusal(bring, docroot(b"x" * 100), mirror).reason == "source_unreachable"
    assert len(mirror.asked) == 5 + PATIENCE.rounds


def test_bytes_that_come_again_are_no_progress(bring, docroot, mirror):
    """A store that sends the whole anew, cuts it, sends the rest, cuts that: for ever, if each counted."""
    mirror.behaviours = [stores.cut_after(70_000)]
    mirror.always = stores.in_turn(stores.anew_and_cut_after(1_000), stores.cut_after(70_000))
    found = refusal(bring, docroot(BIG), mirror, limits=replace(PATIENCE, progress_bytes=60_000))
    assert found.reason == "source_unreachable"
    assert len(mirror.asked) <= 1 + PATIENCE.rounds * 2


def test_a_refusal_keeps_what_has_come(bring, docroot, mirror):
    mirror.always = stores.cut_after(10)
    refusal(bring, docroot(BIG), mirror)
    assert arrived(bring) == {named(BIG): BIG[:30]}


# what passes, and what does not


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(bring, docroot, mirror, code):
    mirror.behaviours = [stores.status(code), stores.status(code)]
    bring(docroot(b"one"), mirror)
    assert arrived(bring) == {named(b"one"): b"one"}


@pytest.mark.parametrize(
    ("said", "slept"),
    [("7", 10.5), ("0", 1.0), ("soon", 1.0), ("9" * 8, 180.0), ("Fri, 01 Jan 2100 00:00:00 GMT", 180.0)],
)
def test_a_server_says_when_to_come_again(bring, docroot, mirror, clock, said, slept):
    mirror.behaviours = [stores.status(429, Retry_After=said)]
    bring(docroot(b"one"), mirror)
    assert clock.slept == [slept]


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_what_no_mirror_has_is_refused_at_once(bring, docroot, mirror, other, clock, code):
    mirror.always = other.always = stores.status(code)
    wanted = docroot(b"one")
    told = refusal(bring, wanted, mirror, other)
    assert told.reason == "source_lacks_object"
    assert (len(mirror.asked), len(other.asked), clock.slept) == (1, 1, [])
    assert f"{mirror.url}: HTTP {code}" in told.found
    assert f"{other.url}: HTTP {code}" in told.found
    assert next(iter(wanted)) in told.expected


def test_what_one_mirror_lacks_another_has(bring, docroot, mirror, other):
    mirror.always = stores.status(404)
    brought = bring(docroot(b"one", b"two"), mirror, other, limits=replace(PATIENCE, connections=1))
    assert brought.left == {mirror.url: "HTTP 404"}
    assert (len(mirror.asked), len(other.asked)) == (1, 2)  # the one that works is asked first from then on


@pytest.mark.parametrize(
    "behaviour",
    [
        stores.status(400),
        stores.status(204),
        stores.status(304),
        stores.raw(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-2/3\r\nContent-Length: 3\r\n\r\none"),
        stores.raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\none"),
        stores.status(302),
        stores.status(302, Location="ftp://127.0.0.1/"),
        stores.status(302, Location="http://other.example/"),
        lambda answering: stores.status(302, Location=f"{answering.path}x")(answering),
    ],
    ids=["400", "204", "304", "206 unasked", "gzip", "no location", "ftp", "another host", "a loop"],
)
def test_what_is_no_plain_file_is_not_taken(bring, docroot, mirror, behaviour):
    mirror.always = behaviour
    assert refusal(bring, docroot(b"one"), mirror).reason == "source_unusable"
    assert arrived(bring) in ({}, {named(b"one"): b""})


@pytest.mark.parametrize("said", ["bytes 0-2/3", "bytes 1-2/*, 1-2/*", "", "bytes one-2/3"])
def test_another_range_than_was_asked_for_is_not_taken(bring, docroot, mirror, said):
    (bring.into / named(b"one")).write_bytes(b"o")
    line = f"Content-Range: {said}\r\n" if said else ""
    mirror.always = stores.raw(f"HTTP/1.1 206 Partial\r\n{line}Content-Length: 2\r\n\r\nne".encode())
    assert refusal(bring, docroot(b"one"), mirror).reason == "source_unusable"


def test_a_range_without_a_total_is_taken(bring, docroot, mirror):
    (bring.into / named(b"one")).write_bytes(b"o")
    mirror.always = stores.raw(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 1-2/*\r\nContent-Length: 2\r\n\r\nne")
    bring(docroot(b"one"), mirror)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"noise\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\non",
    ],
    ids=["nothing", "noise", "a long header", "many headers", "no chunk", "half a chunk"],
)
def test_what_is_no_http_ends_like_a_cut(bring, docroot, mirror, other, answer):
    mirror.always = stores.raw(answer)
    bring(docroot(b"one"), mirror, other)
    assert refusal(bring, docroot(b"two"), mirror).reason == "source_unreachable"


def test_chunks_are_taken(bring, docroot, mirror):
    mirror.always = stores.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n2\r\nne\r\n0\r\n\r\n")
    bring(docroot(b"one"), mirror)
    assert arrived(bring) == {named(b"one"): b"one"}


def test_nobody_there_is_refused_after_a_while(bring, docroot, mirror, clock):
    mirror.close()
    told = refusal(bring, docroot(b"one"), mirror)
    assert (told.reason, told.found) == ("source_unreachable", f"{mirror.url}: 'Connection refused'")
    assert clock.slept == [1.0, 2.0]


def test_a_server_that_has_closed_meanwhile_is_no_failure(bring, docroot, mirror, clock):
    closing = lambda answering: (stores.Answering.well(answering), setattr(answering, "close_connection", True))  # noqa: E731 - a behaviour
    mirror.always = closing
    assert bring(docroot(*(bytes([number]) for number in range(20))), mirror).left == {}
    assert clock.slept == []


# what was signed


def test_other_bytes_are_refused_and_their_mirror_is_left(bring, docroot, mirror, other):
    mirror.always = stores.other_bytes
    brought = bring(docroot(b"one", b"2"), mirror, other, limits=replace(PATIENCE, connections=1))
    assert brought.left == {mirror.url: f"other bytes than those of {named(b'one')}"}
    assert (len(mirror.asked), len(other.asked)) == (1, 2)
    assert arrived(bring) == {named(b"one"): b"one", named(b"2"): b"2"}


def test_other_bytes_from_all_are_refused_and_nothing_of_them_is_kept(bring, docroot, mirror, other, clock):
    mirror.always = other.always = stores.other_bytes
    told = refusal(bring, docroot(b"one"), mirror, other)
    assert told.reason == "source_altered"
    assert mirror.url in told.found
    assert other.url in told.found
    assert (arrived(bring), clock.slept) == ({named(b"one"): b""}, [])


def test_a_beginning_of_other_bytes_does_not_blame_the_mirror_that_goes_on_with_it(bring, docroot, mirror, other):
    def bad_beginning(answering):
        answering.give(b"x" * 10, size=len(BIG))
        answering.close_connection = True

    mirror.always = bad_beginning
    brought = bring(docroot(BIG), mirror, other)
    assert set(brought.left) == {mirror.url}
    assert arrived(bring) == {named(BIG): BIG}


@pytest.mark.parametrize(
    "behaviour",
    [
        stores.without_length(b"!"),
        stores.endless,
        lambda answering: answering.give(b"on"),
        lambda answering: answering.give(b"once"),
    ],
    ids=["a byte more", "endless", "shorter", "longer"],
)
def test_another_size_than_was_signed_is_refused_and_cut_off_there(bring, docroot, mirror, behaviour):
    mirror.always = behaviour
    assert refusal(bring, docroot(b"one"), mirror).reason == "source_altered"
    assert arrived(bring) == {named(b"one"): b""}


def test_a_range_of_another_size_is_refused(bring, docroot, mirror):
    (bring.into / named(b"one")).write_bytes(b"o")
    mirror.always = stores.raw(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 1-9/10\r\nContent-Length: 9\r\n\r\n")
    assert refusal(bring, docroot(b"one"), mirror).reason == "source_altered"


def test_an_end_that_is_only_told_by_closing_is_taken(bring, docroot, mirror):
    mirror.always = stores.without_length(b"")
    bring(docroot(b"one"), mirror)
    assert arrived(bring) == {named(b"one"): b"one"}


# time and bandwidth


def test_a_mirror_that_crawls_is_left(bring, docroot, mirror, other):
    """In real time: what it waits for is the watch."""
    event = threading.Event()
    mirror.always = stores.held_until(event, 10)
    limits = replace(PATIENCE, crawl_seconds=0.2)
    brought = bring(docroot(BIG), mirror, other, limits=limits, clock=SystemClock())
    event.set()
    assert set(brought.left) == {mirror.url}
    assert "bytes in" in brought.left[mirror.url]
    assert arrived(bring) == {named(BIG): BIG}
    assert other.ranges == ["bytes=10-"]


def test_a_mirror_that_is_silent_in_the_handshake_is_left(bring, docroot, other, tmp_path):
    authority = Authority(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        limits = replace(PATIENCE, crawl_seconds=0.2)
        brought = bring(docroot(b"one"), url, other, limits=limits, clock=SystemClock(), source_ca=authority.pem)
    assert set(brought.left) == {url}


def test_a_time_out_is_a_failure_that_may_pass(bring, docroot, mirror):
    event = threading.Event()
    mirror.behaviours = [stores.held_until(event, 10)]
    brought = bring(docroot(BIG), mirror, limits=replace(PATIENCE, timeout_seconds=0.2))
    event.set()
    assert brought.left == {mirror.url: "no answer in time"}
    assert mirror.ranges == ["", "bytes=10-"]


def test_a_steady_mirror_is_not_taken_for_one_that_crawls(bring, docroot, mirror, clock):
    limits = replace(PATIENCE, crawl_seconds=1, crawl_bytes=10)
    link = fetch.Link(Fetch(Source.parse({"source": mirror.url}), "shop", bring.into, clock, limits=limits))
    link.cut_if_it_crawls()
    link._mark(clock.elapsed())
    for _ in range(3):
        link._marked_bytes = 10
        clock.advance(1)
        link.cut_if_it_crawls()
        assert link._marked_bytes == 0
    assert link._cut == ""


def test_no_more_bytes_a_second_than_the_limit(bring, docroot, mirror, clock):
    began = clock.elapsed()
    bring(docroot(BIG), mirror, source_rate_limit=100_000)
    assert clock.elapsed() - began == pytest.approx(len(BIG) / 100_000)


def test_an_object_is_never_in_memory_as_a_whole(bring, docroot, mirror, monkeypatch):
    sizes = []
    add = fetch.Part.add
    monkeypatch.setattr(fetch.Part, "add", lambda part, data: (sizes.append(len(data)), add(part, data)))
    bring(docroot(BIG), mirror)
    assert sum(sizes) == len(BIG)
    assert max(sizes) <= fetch.CHUNK


# the disk


def test_holes_stay_holes(bring, docroot, mirror):
    data = b"begin" + bytes(40 * fetch.CHUNK)
    bring(docroot(data), mirror)
    path = bring.into / named(data)
    assert path.read_bytes() == data
    assert path.stat().st_blocks * 512 < len(data) // 2


def test_holes_stay_holes_however_little_a_read_brings(bring, docroot, mirror):
    data = b"begin" + bytes(40 * fetch.CHUNK)
    mirror.always = stores.in_packets(1_400)
    bring(docroot(data), mirror)
    path = bring.into / named(data)
    assert path.read_bytes() == data
    assert path.stat().st_blocks * 512 < len(data) // 2


def test_a_cut_in_a_hole_is_gone_on_with(bring, docroot, mirror):
    data = bytes(40 * fetch.CHUNK) + b"end"
    mirror.behaviours = [stores.cut_after(20 * fetch.CHUNK)]
    bring(docroot(data), mirror)
    assert arrived(bring) == {named(data): data}
    assert len(mirror.asked) == 2


def test_an_error_of_the_disk_is_one_and_no_mirrors(bring, docroot, mirror, monkeypatch):
    def full(_descriptor, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "write_sparse", full)
    with pytest.raises(OSError, match="No space left"):
        bring(docroot(b"one", b"two"), mirror)


def test_a_link_in_the_way_is_not_followed(bring, docroot, mirror, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    (bring.into / named(b"one")).symlink_to(outside)
    with pytest.raises(OSError, match="symbolic links"):
        bring(docroot(b"one"), mirror)
    assert outside.read_bytes() == b"kept"


def test_a_failure_of_one_connection_ends_the_others(bring, docroot, mirror, tmp_path):
    """The first object waits at the store; the second one's failure must not wait for it."""
    event = threading.Event()

    def wait_or_lack(answering):
        if (answering.content() or b"") == BIG:
            stores.held_until(event, 10)(answering)
        else:
            stores.status(404)(answering)

    mirror.always = wait_or_lack
    told = refusal(bring, docroot(BIG, b"one"), mirror, clock=SystemClock())
    event.set()
    assert told.reason == "source_lacks_object"
    assert not [thread for thread in threading.enumerate() if "_work" in thread.name or "_watch" in thread.name]


def test_nothing_is_left_open(bring, docroot, mirror):
    before = len(os.listdir("/proc/self/fd"))
    bring(docroot(b"one", b"two", BIG), mirror)
    mirror.close()
    assert len(os.listdir("/proc/self/fd")) <= before


# TLS and credentials


@pytest.fixture
def secured(docroot, tmp_path):
    authority = Authority(tmp_path)
    made = Mirror(docroot.path, authority.server())
    made.authority = authority
    yield made
    made.close()


def test_over_tls_with_an_authority_of_ones_own(bring, docroot, secured):
    contents = [BIG, b"one", b"two"]
    bring(docroot(*contents), secured, source_ca=secured.authority.pem)
    assert arrived(bring) == {named(data): data for data in contents}


def test_an_authority_that_is_not_trusted_is_refused_at_once(bring, docroot, secured, tmp_path, clock):
    (tmp_path / "another").mkdir()
    for about in ({}, {"source_ca": Authority(tmp_path / "another", "Another").pem}):
        told = refusal(bring, docroot(b"one"), secured, **about)
        assert told.reason == "source_untrusted"
        assert "certificate" in told.found
    assert (secured.asked, clock.slept) == ([], [])


def test_a_certificate_of_another_name_is_refused(bring, docroot, tmp_path):
    authority = Authority(tmp_path)
    mirror = Mirror(docroot.path, authority.server("127.0.0.2"))
    told = refusal(bring, docroot(b"one"), mirror, source_ca=authority.pem)
    mirror.close()
    assert told.reason == "source_untrusted"


def test_a_mirror_that_is_not_trusted_is_asked_for_nothing_more(bring, docroot, secured, mirror):
    brought = bring(docroot(b"one", b"two"), secured, mirror)
    assert (set(brought.left), secured.asked) == ({secured.url}, [])


def test_credentials_go_to_the_mirror_and_nowhere_else(bring, docroot, secured, tmp_path):
    elsewhere = Mirror(docroot.path, secured.authority.server())
    secured.always = lambda answering: stores.status(302, Location=f"{elsewhere.url}{answering.path}")(answering)
    bring(docroot(b"one"), secured, source_ca=secured.authority.pem, source_credentials={"token": "hunter2"})
    elsewhere.close()
    assert [asked.authorization for asked in secured.asked] == ["Bearer hunter2"]
    assert [asked.authorization for asked in elsewhere.asked] == [""]


def test_no_error_repeats_the_credentials(bring, docroot, secured):
    def echo(answering):
        answering.send_response(403, answering.headers["Authorization"])
        answering.end_headers()
        answering.close_connection = True

    secured.always = echo
    about = {"source_ca": secured.authority.pem, "source_credentials": {"token": "hunter2"}}
    assert "hunter2" not in str(refusal(bring, docroot(b"one"), secured, **about))


def test_a_proxy_of_the_environment_is_not_asked(bring, docroot, mirror, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    bring(docroot(b"one"), mirror)
    assert len(mirror.asked) == 1
