"""Tests of which connection gives way to a new one, and of what the connections hold."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from schema.errors import RateLimitedError, UnavailableError
from server.settings import Settings
from server.traffic.admission import Admission
from server.wire.connections import Connections
from server.wire.unfinished import Unfinished
from tests.servers.process import until

MEGABYTE = 1 << 20


class Peer:
    """A connection of a client, which notes that it had to give way, and whether its request was refused."""

    def __init__(
        self, address: object, since: float, *, waits: bool = True, proved: bool = False, idle: bool = False
    ) -> None:
        self.address = self.owner = address
        self.since = since
        self.waits = waits
        self.proved = proved
        self.idle = idle
        self.gave_way = self.refused = False

    def make_room(self) -> None:
        """Note it."""
        self.gave_way = True

    def check_deadlines(self, now: float) -> None:
        """It has none."""

    def refuse_unfinished(self) -> None:
        """Note it."""
        self.refused = True


class Faulty(Peer):
    """A connection whose deadlines cannot be checked."""

    def check_deadlines(self, now: float) -> None:  # noqa: ARG002 # as of all connections
        """Fail."""
        raise ZeroDivisionError


class Checked(Peer):
    """A connection that notes whether its deadlines were checked."""

    checked = False

    def check_deadlines(self, now: float) -> None:  # noqa: ARG002 # as of all connections
        """Note it."""
        self.checked = True


def connections(most: int, **others: Any) -> Connections:
    """The connections of a process that has this many."""
    settings = Settings(database_url="postgresql://127.0.0.1/x", max_connections=most, **others)
    return Connections(settings, Admission(1, wait_seconds=1), idle_seconds=1)


def of_many_callers(most: int) -> Connections:
    """The connections of a process that has this many, and more than one caller."""
    return connections(most, auth_mode="databricks-app", databricks_app_name="orders")


async def test_the_address_with_most_connections_gives_way() -> None:
    """Its oldest one, although others are older. A client that has a single one keeps it."""
    all_, loop = connections(10), asyncio.get_running_loop()
    few = [Peer("few", 1), Peer("single", 0)]
    many = [Peer("many", 10 + number) for number in range(8)]
    for peer in (*few, *many):
        assert all_.take(peer, loop)
    for number in range(5):
        assert all_.take(Peer(f"new {number}", 20), loop)
    assert [peer.gave_way for peer in many] == [True] * 5 + [False] * 3
    assert not any(peer.gave_way for peer in few)


async def test_of_clients_without_a_common_address_the_oldest_gives_way() -> None:
    """These are those behind a proxy, and attackers with as many addresses as connections."""
    all_, loop = connections(5), asyncio.get_running_loop()
    peers = [Peer(object(), number) for number in (3, 1, 2, 5, 4)]
    for peer in peers:
        all_.take(peer, loop)
    all_.take(Peer(object(), 6), loop)
    all_.take(Peer(object(), 7), loop)
    assert [peer.gave_way for peer in peers] == [False, True, True, False, False]


async def test_a_connection_that_is_owed_an_answer_does_not_give_way() -> None:
    """If all are, the new one is refused."""
    all_, loop = connections(3), asyncio.get_running_loop()
    peers = [Peer("a", 0, waits=False) for _ in range(3)]
    for peer in peers:
        assert all_.take(peer, loop)
    assert not all_.take(Peer("b", 1), loop)
    assert not any(peer.gave_way for peer in peers)


async def test_opening_sockets_take_nothing_from_the_lasting_ones() -> None:
    """They have half of all places, where the oldest of the address that has most gives way."""
    all_, loop = connections(20), asyncio.get_running_loop()
    caller = Peer("caller", 0)
    silent = [Peer("silent", 1 + number) for number in range(20)]
    for peer in (caller, *silent):
        all_.take(peer, loop)
        all_.open(peer)
    assert [peer.gave_way for peer in silent] == [True] * 11 + [False] * 9
    assert not caller.gave_way
    all_.become_lasting(caller, "ann")
    # It has left its place.
    all_.open(Peer("silent", 30))
    assert not silent[-9].gave_way


async def test_clients_that_have_proved_nothing_take_half_of_the_places_from_others() -> None:
    """However often they come. Then only they give way, although others have been idle for longer."""
    all_, loop = connections(10), asyncio.get_running_loop()
    idle = [Peer(object(), number, proved=True) for number in range(10)]
    strangers = [Peer(object(), 10 + number) for number in range(20)]
    for peer in (*idle, *strangers):
        assert all_.take(peer, loop)
    assert [peer.gave_way for peer in idle] == [True] * 5 + [False] * 5
    assert [peer.gave_way for peer in strangers] == [True] * 15 + [False] * 5


async def test_the_idle_connections_of_callers_do_not_keep_new_ones_out() -> None:
    """A client that has proved nothing yet would otherwise give way at once, before it can."""
    all_, loop = connections(10), asyncio.get_running_loop()
    for number in range(10):
        all_.take(Peer(object(), number, proved=True), loop)
    strangers = [Peer(object(), 10 + number) for number in range(4)]
    for peer in strangers:
        assert all_.take(peer, loop)
    assert not any(peer.gave_way for peer in strangers)


async def test_lasting_connections_leave_room_for_the_others() -> None:
    """They have three quarters of all places. A place is free again when its connection is lost, or its stream ends."""
    all_, loop = connections(20), asyncio.get_running_loop()
    peers = [Peer("a", number, waits=False) for number in range(17)]
    for peer in peers:
        all_.take(peer, loop)
    for peer in peers[:15]:
        all_.become_lasting(peer, "ann")
    for peer in peers[15:]:
        assert not all_.has_room
        assert not all_.may_have_room
        with pytest.raises(UnavailableError):
            all_.become_lasting(peer, "ben")
    all_.forget(peers[0])
    all_.end_lasting(peers[1])
    for peer in peers[15:]:
        all_.become_lasting(peer, "ben")


async def test_a_caller_leaves_room_for_other_callers() -> None:
    """It may have two thirds of the lasting places."""
    all_, loop = of_many_callers(20), asyncio.get_running_loop()
    peers = [Peer("a", number, waits=False) for number in range(12)]
    for peer in peers:
        all_.take(peer, loop)
    for peer in peers[:10]:
        all_.become_lasting(peer, "ann")
    with pytest.raises(RateLimitedError):
        all_.become_lasting(peers[10], "ann")
    all_.become_lasting(peers[11], "ben")
    all_.forget(peers[0])
    all_.become_lasting(peers[10], "ann")


async def test_the_caller_with_most_gives_up_an_idle_socket() -> None:
    """If there is no room. Two callers could otherwise shut out all others, with sockets on which nothing runs."""
    all_, loop = of_many_callers(20), asyncio.get_running_loop()
    sockets = {
        name: [Peer(name, number, waits=False) for number in range(count)]
        for name, count in (("ann", 10), ("ben", 5), ("cid", 5))
    }
    for name in ("ann", "ben"):
        for peer in sockets[name]:
            all_.take(peer, loop)
            all_.become_lasting(peer, name)
    # Ann has most, and something runs on all of hers.
    for peer in sockets["ben"][1:]:
        peer.idle = True
    for peer in sockets["cid"]:
        all_.take(peer, loop)
        if peer.since < 2:
            assert all_.may_have_room
            all_.become_lasting(peer, "cid")
        else:
            # Ben would then have fewer than Cid.
            with pytest.raises(UnavailableError):
                all_.become_lasting(peer, "cid")
    assert [peer.gave_way for peer in sockets["ben"]] == [False, True, True, False, False]
    assert not any(peer.gave_way for peer in sockets["ann"])


async def test_a_connection_that_is_gone_gets_no_place() -> None:
    """Its caller was authenticated after it was lost or had to give way. Nothing would ever free the place."""
    all_, loop = of_many_callers(20), asyncio.get_running_loop()
    for _ in range(30):
        gone = Peer("a", 0)
        all_.take(gone, loop)
        all_.forget(gone)
        with pytest.raises(UnavailableError):
            all_.become_lasting(gone, "ann")
    peers = [Peer("a", number, waits=False) for number in range(10)]
    for peer in peers:
        all_.take(peer, loop)
        all_.become_lasting(peer, "ann")


async def test_a_fault_of_one_connection_ends_no_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are checked, and it is closed. The log has the fault."""
    monkeypatch.setattr("server.wire.connections._CHECK_SECONDS", 0.001)
    all_, loop = connections(20), asyncio.get_running_loop()
    faulty = [Faulty("a", number) for number in range(3)]
    others = [Checked("b", number) for number in range(10)]
    with capture_logs() as lines:
        for peer in (*others[:5], *faulty, *others[5:]):
            all_.take(peer, loop)
        await until(lambda: all(peer.checked for peer in others))
    assert all(peer.gave_way for peer in faulty)
    assert [line["log_level"] for line in lines] == ["error"] * 3
    for peer in others:
        all_.forget(peer)


async def test_unfinished_bodies_are_bounded_together() -> None:
    """The caller that has sent most loses its largest request. Those that are complete or lost count no longer."""
    bound = Unfinished(body_bytes=1)
    ann, ben = [Peer("ann", 0) for _ in range(8)], Peer("ben", 0)
    bound.note(ben, 16 * MEGABYTE)
    for number, peer in enumerate(ann):
        bound.note(peer, (number + 1) * MEGABYTE)
    assert not any(peer.refused for peer in (*ann, ben))
    bound.note(ann[0], 14 * MEGABYTE)
    assert [peer.refused for peer in ann] == [True, *[False] * 7]
    assert not ben.refused
    for peer in ann:
        bound.forget(peer)
    late = Peer("cid", 0)
    bound.note(late, 48 * MEGABYTE)
    assert not late.refused
    bound.note(late, 49 * MEGABYTE)
    assert late.refused


async def test_while_memory_is_short_unfinished_bodies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are new work, which has not begun."""
    monkeypatch.setattr("server.wire.connections._CHECK_SECONDS", 0.001)
    all_, loop = connections(20), asyncio.get_running_loop()
    peer = Checked("a", 0)
    all_.take(peer, loop)
    all_.unfinished.note(peer, 1)
    await until(lambda: peer.checked)
    assert not peer.refused
    all_.admission.short_of_memory = True
    await until(lambda: peer.refused)
    all_.forget(peer)


@pytest.mark.parametrize("most", [1, 2])
async def test_the_smallest_process_has_a_place_of_each_kind(most: int) -> None:
    """A limit of one connection is one WebSocket."""
    all_, peer = connections(most), Peer("a", 0)
    all_.take(peer, asyncio.get_running_loop())
    all_.open(peer)
    all_.become_lasting(peer, "ann")
    assert not peer.gave_way
