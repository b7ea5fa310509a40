"""Three hosts, each with its own supervisord, and one Redis."""

import itertools
import re
from collections import Counter

from .conftest import Store
from .host import Host


def worked(hosts: list[Host]) -> Counter[str]:
    """Item -> how often it has been worked, on whatever host."""
    found = (re.findall(r"WORKING: (.*)", host.stdout()) for host in hosts)
    return Counter(item for items in found for item in items)


def test_every_slot_is_ticked_once(hosts: list[Host]) -> None:
    """Three beats, no leader: each second's push comes once, and none is left out."""
    hosts[0].eventually(lambda: len(worked(hosts)) >= 8)
    hosts[0].kill()
    hosts[1].eventually(lambda: len(worked(hosts)) >= 14)
    ticks = worked(hosts)
    slots = sorted(float(item.removeprefix("OK: ")) for item in ticks)
    assert {later - sooner for sooner, later in itertools.pairwise(slots)} == {1.0}
    pushes = sum(host.stdout().count("PUSH") for host in hosts)
    assert len(slots) <= pushes <= len(slots) + 3


def test_a_killed_hosts_items_are_worked_elsewhere(hosts: list[Host], store: Store) -> None:
    """Its power goes while it works: what it had in hand is begun elsewhere within ten seconds."""
    begun = fill_until_begun(hosts[0], store)
    hosts[0].kill()
    for item in begun:
        others_begin(hosts[1:], item)
    hosts[1].eventually(lambda: everything(100) <= worked(hosts).keys())


def test_a_cut_off_hosts_items_are_worked_elsewhere(hosts: list[Host], store: Store) -> None:
    """Its cable goes: the same. When it is back it harms nothing, and takes part again."""
    begun = fill_until_begun(hosts[0], store)
    hosts[0].cut()
    for item in begun:
        others_begin(hosts[1:], item)
    hosts[0].mend()
    pushed: list[str] = []

    def takes_part() -> bool:
        pushed.append(f"after {len(pushed)}.")
        store.client.lpush("TESTING", pushed[-1])
        return bool(worked(hosts[:1]).keys() & set(pushed))

    hosts[0].eventually(takes_part, within=30)
    hosts[0].eventually(lambda: everything(100) | set(pushed) <= worked(hosts).keys(), within=30)
    assert {worked(hosts)[item] for item in pushed} == {1}


def fill_until_begun(host: Host, store: Store) -> set[str]:
    """Push a hundred items; returns those that the host has begun and not ended."""
    for number in range(100):
        store.client.lpush("TESTING", f"item {number}.")

    def in_hand() -> set[str]:
        found = set(re.findall(r"BEGUN: (item .*)", host.stdout()))
        return found - worked([host]).keys()

    return host.eventually(in_hand)


def others_begin(hosts: list[Host], item: str) -> None:
    hosts[0].eventually(lambda: any(f"BEGUN: {item}" in host.stdout() for host in hosts), within=10)


def everything(count: int) -> set[str]:
    return {f"item {number}." for number in range(count)}
