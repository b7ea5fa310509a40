"""Appetite: how many more items a worker asks Redis for."""

import time

from .hand import Hand, Standing
from .slots import Slots

STEP_ITEMS = 1024  # that one request takes, at most
FEW = 16  # retries that one request takes, at most: as in queue.lua
HAND_BYTES = 32 << 20  # a worker takes no further item while it has so many bytes in hand
HAND_BYTES_LEAST = 1 << 18  # the same, at least, on a link that proved too slow for more
RECOVERY = 300.0  # seconds until more is tried again, which may cost a time-out
UNREAD_MOST = 2  # replies of the least size in a row that did not come in time
AHEAD = 0.1  # seconds of work to take ahead of the free slots
PAUSE = 0.005  # seconds, at most, between two requests while enough waits for a slot


class Appetite:
    """How much to ask for, by what is in `hand` and in `slots`, and by what STEP has brought."""

    def __init__(self, hand: Hand, slots: Slots) -> None:
        self.expects_more = True
        """Whether the queue may hold more than the last STEP has brought."""
        self._hand = hand
        self._slots = slots
        self._bytes = HAND_BYTES
        self._tightened_at = 0.0  # when `_bytes` was lowered, or raised, last
        self._ahead = 0  # items to take beyond the free slots, so that none stays free
        self._unread = 0  # replies in a row that did not come, though they were of the least size
        self._ended, self._counted_at = 0, 0.0  # how many items have ended since when
        self._pace = PAUSE  # seconds from the end of one item to the next

    @property
    def is_link_too_slow(self) -> bool:
        """Whether not even the smallest reply came in time: one item may be too large for it."""
        return self._unread >= UNREAD_MOST

    def want(self) -> tuple[int, int]:
        """How many items to ask for, and how many bytes they may have altogether. The first may
        have more."""
        waiting = sum(len(item) for _, item in self._hand.unstarted)
        free_bytes = self._bytes - self._slots.size() - waiting
        in_hand = len(self._hand.unstarted) + len(self._slots.running)
        room = min(STEP_ITEMS, self._slots.capacity + self._ahead - in_hand)
        must_end_first = free_bytes <= 0 or self._hand.standing is Standing.EMPTYING
        return (0 if in_hand and must_end_first else max(0, room)), free_bytes

    def is_satisfied(self) -> bool:
        """Whether so much waits for a slot that a later request can take more in one go."""
        hand = self._hand
        return (
            len(hand.unstarted) > max(self._ahead // 2, 8)
            and len(hand.done) < STEP_ITEMS
            and not hand.failed
            and time.monotonic() - hand.stepped_at < 2 * PAUSE
        )

    def pause(self) -> float:
        """Seconds until the next request. By then a quarter of what waits is started, or more if
        the latest pace had pauses in it: the rest lasts until the reply."""
        return min(PAUSE, self.wait_for_slot() / 4)

    def wait_for_slot(self) -> float:
        """Seconds until the last of what is unstarted will be started, at the latest pace."""
        return len(self._hand.unstarted) * self._pace

    def got(self, wanted: int, taken: int, ended: int) -> None:
        """A STEP took `taken` of `wanted` items, and has confirmed the end of `ended`."""
        # A STEP that has brought FEW retries may have left more of them, and the whole list.
        self.expects_more = taken >= min(wanted, FEW)
        self._unread = 0
        self._recover()
        self._ended += ended
        passed = time.monotonic() - self._counted_at
        if passed >= AHEAD:
            self._ahead = min(2 * STEP_ITEMS, int(self._ended * AHEAD / passed))
            self._pace = passed / max(1, self._ended)
            self._ended, self._counted_at = 0, time.monotonic()

    def got_nothing_in_time(self) -> None:
        """The reply to a STEP did not come: the link may be too slow for so much within a lease."""
        self._unread += self._bytes == HAND_BYTES_LEAST
        self._bytes = max(HAND_BYTES_LEAST, self._bytes // 8)
        self._tightened_at = time.monotonic()

    def _recover(self) -> None:
        if self._bytes < HAND_BYTES and time.monotonic() - self._tightened_at > RECOVERY:
            self._bytes = min(HAND_BYTES, self._bytes * 8)
            self._tightened_at = time.monotonic()

    def forget_unread(self) -> None:
        """The item that was too large has been dealt with."""
        self._unread = 0
