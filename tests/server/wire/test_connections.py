"""Tests of which connection gives way to a new one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schema.errors import RateLimitedError, UnavailableError
from server.settings import Settings
from server.traffic.admission import Admission
from server.wire.connections import Connections


class Peer:
    """A connection of a client, which notes that it had to give way."""

    def __init__(self, address: object, since: float, *, waits: bool = True) -> None:
        self.address = address
        self.since = since
        self.waits = waits
        self.gave_way = False

    def make_room(self) -> None:
        """Note it."""
        self.gave_way = True

    def check_deadlines(self, now: float) -> None:
        """It has none."""


def connections(most: int, **others: Any) -> Connections:
    """The connections of a process that has this many."""
    settings = Settings(database_url="postgresql://127.0.0.1/x", max_connections=most, **others)
    return Connections(settings, Admission(1, wait_seconds=1), idle_seconds=1)


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
    """They have a fifth of all places, where the oldest of the address that has most gives way."""
    all_, loop = connections(20), asyncio.get_running_loop()
    caller = Peer("caller", 0)
    silent = [Peer("silent", 1 + number) for number in range(20)]
    for peer in (caller, *silent):
        all_.take(peer, loop)
        all_.open(peer)
    assert [peer.gave_way for peer in silent] == [True] * 17 + [False] * 3
    assert not caller.gave_way
    all_.become_lasting(caller, "ann")
    # It has left its place.
    all_.open(Peer("silent", 30))
    assert not silent[-3].gave_way


async def test_lasting_connections_leave_room_for_the_others() -> None:
    """They have three quarters of all places. A place is free again when its connection is lost, or its stream ends."""
    all_ = connections(20)
    peers = [Peer("a", number, waits=False) for number in range(17)]
    for peer in peers[:15]:
        all_.become_lasting(peer, "ann")
    for peer in peers[15:]:
        assert not all_.has_place
        with pytest.raises(UnavailableError):
            all_.become_lasting(peer, "ben")
    all_.forget(peers[0])
    all_.end_lasting(peers[1])
    for peer in peers[15:]:
        all_.become_lasting(peer, "ben")


async def test_a_caller_leaves_room_for_other_callers() -> None:
    """It may have two thirds of the lasting places."""
    all_ = connections(20, auth_mode="databricks-app", databricks_app_name="orders")
    peers = [Peer("a", number, waits=False) for number in range(12)]
    for peer in peers[:10]:
        all_.become_lasting(peer, "ann")
    with pytest.raises(RateLimitedError):
        all_.become_lasting(peers[10], "ann")
    all_.become_lasting(peers[11], "ben")
    all_.forget(peers[0])
    all_.become_lasting(peers[10], "ann")


@pytest.mark.parametrize("most", [1, 2])
async def test_the_smallest_process_has_a_place_of_each_kind(most: int) -> None:
    """A limit of one connection is one WebSocket."""
    all_, peer = connections(most), Peer("a", 0)
    all_.open(peer)
    all_.become_lasting(peer, "ann")
    assert not peer.gave_way
