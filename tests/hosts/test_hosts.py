"""Three hosts, each with its own supervisord, and one Redis."""

import re
from collections import Counter

from .conftest import AddHost, Store
from .host import Host


def test_every_slot_is_ticked_once(hosts: list[Host]) -> None:
    """Three beats, no leader: each second is pushed once, also after a host has lost its power.

    A second in which this machine let none of them run is counted as missed.
    """
    hosts[0].eventually(lambda: len(worked(hosts)) >= 8, within=30)
    hosts[0].kill()
    hosts[1].eventually(lambda: len(worked(hosts)) >= 14, within=30)
    last = max(slots(hosts))

    def none_left_out() -> bool:
        told = "\n".join(host.stdout() for host in hosts)
        missed = sum(map(int, re.findall(r"(\d+) ticks of 'ok' were missed", told)))
        found = {slot for slot in slots(hosts) if slot <= last}
        return len(found) + missed >= last - min(found) + 1

    # What the lost host had in hand comes late.
    hosts[1].eventually(none_left_out, within=30)
    # A slot that was pushed twice would be worked twice.
    assert set(worked(hosts[1:]).values()) == {1}


def slots(hosts: list[Host]) -> set[float]:
    """Those whose tick has been worked."""
    return {float(item.removeprefix("OK: ")) for item in worked(hosts)}


def test_a_killed_hosts_items_are_worked_elsewhere(hosts: list[Host], store: Store) -> None:
    """Its power goes while it works: what it had in hand is begun elsewhere."""
    push(store, "item", 40)
    hosts[0].eventually(lambda: in_hand(hosts[0]))
    hosts[0].kill()
    assert in_hand(hosts[0])
    hosts[1].eventually(lambda: in_hand(hosts[0]) <= begun(hosts[1:]), within=30)
    hosts[1].eventually(lambda: names("item", 40) <= worked(hosts).keys(), within=30)


def test_a_cut_off_hosts_items_are_worked_elsewhere(hosts: list[Host], store: Store) -> None:
    """Its cable is pulled. When it is back it harms nothing, and takes part again."""
    push(store, "item", 40)
    hosts[0].eventually(lambda: in_hand(hosts[0]))
    hosts[0].cut()
    had = in_hand(hosts[0])
    assert had
    hosts[1].eventually(lambda: had <= begun(hosts[1:]), within=30)
    hosts[0].mend()
    push(store, "after", 100)
    hosts[0].eventually(lambda: begun(hosts[:1]) & names("after", 100), within=30)
    everything = names("item", 40) | names("after", 100)
    hosts[0].eventually(lambda: everything <= worked(hosts).keys(), within=40)
    assert {worked(hosts)[item] for item in names("after", 100)} == {1}


def test_a_host_is_back_from_a_short_silence_before_others_take_over(
    store: Store, add_host: AddHost
) -> None:
    """Its packets get lost. It notices after some three seconds; others wait for five."""
    hosts = [add_host(store.url, CONCURRENCY="4") for _ in range(2)]
    for host in hosts:
        host.work_slowly(8)
        # Ticks would fill the workers before the items come.
        host.override("beat", "[program:beat]\nautostart = false\n")
        host.start()
    for host in hosts:
        host.ready()
    push(store, "item", 8)
    hosts[0].eventually(lambda: len(in_hand(hosts[0])) == 4)
    hosts[0].lose()
    hosts[0].eventually(lambda: "Redis away" in hosts[0].told())
    hosts[0].mend()
    hosts[0].eventually(lambda: names("item", 8) <= worked(hosts).keys(), within=40)
    assert {worked(hosts)[item] for item in names("item", 8)} == {1}
    assert "taken for dead" not in hosts[0].told()


def names(kind: str, count: int) -> set[str]:
    return {f"{kind} {number}." for number in range(count)}


def push(store: Store, kind: str, count: int) -> None:
    store.client.lpush("TESTING", *names(kind, count))


def worked(hosts: list[Host]) -> Counter[str]:
    """Item -> how often it has been worked, on whatever host."""
    found = (re.findall(r"WORKING: (.*)", host.told()) for host in hosts)
    return Counter(item for items in found for item in items)


def begun(hosts: list[Host]) -> set[str]:
    found = (re.findall(r"BEGUN: (.*)", host.told()) for host in hosts)
    return {item for items in found for item in items}


def in_hand(host: Host) -> set[str]:
    """What the host has begun and not ended."""
    return begun([host]) & names("item", 40) - worked([host]).keys()
