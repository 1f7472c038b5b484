"""Whether what Engage told of an address a moment ago may still be acted upon: then a delivery asks no second time.

A shop that reads accepts answers that are `cache_ttl` old (`VOYADO_CACHE_TTL`); an update by an address is sent to the
contact that was found no longer ago. What somebody else (staff, another system, a direct bulk call) does at Engage
meanwhile is not seen, as it is not by a read. What this outbox does there is:

- a request of ours that may change whom an address names makes every answer worthless that was asked for before its
  end, or within a lane's rest after it where nobody knows what became of it;
- so does a drainer before this one: nothing counts that was asked for before this one has been at work for such a rest,
  for a request of the last one's may still be at work at Engage;
- while a contact write is on the second road, nothing counts (`Outbox.told`);
- nothing counts of a contact that was forgotten: the store does not have it any more;
- that several contacts have it, or nobody, is never stored: it is asked each time;
- where a clock was set, or the machine was started anew, the two clocks disagree and nothing counts.

Never served so: a look-up that is narrowed to a type of contact, which is another question; a creation's, by the
tenant's key, for a second person could be made or another one overwritten; a confirmation's after a file, for that was
long ago; and that of an entry that probes an open breaker, for it is Engage that is asked how it is.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable

from voyado_async.clock import Clock
from voyado_async.drain.policy import REST
from voyado_async.outbox.records import Asked

MOST_CHANGED = 10_000
"""Names that are known to have changed at most; where there are more, the oldest make everything before them old."""

_NEVER = 1 << 62


def still_so(asked: Asked, now: Asked, *, ttl: int, changed: int) -> bool:
    """Whether an answer counts: no older than `ttl` (ms) by both clocks, and asked for after what `changed` it (ticks).

    The same moment is not after it.
    """
    return 0 <= now.at - asked.at < ttl and 0 <= now.ticks - asked.ticks < ttl and asked.ticks > changed


class Recent:
    """Which addresses and contacts our own requests have changed of late. `ttl` in seconds, 0: nothing counts."""

    def __init__(self, clock: Clock, ttl: float) -> None:
        self._clock = clock
        self._ttl = round(ttl * 1000)
        self._changed_all = _NEVER
        self._changed: OrderedDict[str, int] = OrderedDict()
        """By name: until when (ticks) what is asked counts for nothing. The order is that of the changes."""
        self._under_way: Counter[str] = Counter()

    def begin(self) -> None:
        """This process drains from now on; another one may have until now."""
        self._changed_all = self.now().ticks + REST
        self._changed.clear()

    def now(self) -> Asked:
        """To be taken before Engage is asked."""
        return Asked.now(self._clock)

    def counts(self, asked: Asked, names: Iterable[str]) -> bool:
        """Whether what Engage was asked then about these names is still to be acted upon."""
        names = list(names)
        changed = max([self._changed_all, *(self._changed.get(name, 0) for name in names)])
        if any(self._under_way[name] for name in names):
            changed = _NEVER
        return still_so(asked, self.now(), ttl=self._ttl, changed=changed)

    def began(self, names: Iterable[str]) -> None:
        """A request goes out that may change what these names stand for."""
        self._under_way.update(names)

    def ended(self, names: Iterable[str], *, unknown: bool) -> None:
        """It has ended; `unknown`: it may take effect later."""
        names = list(names)
        self._under_way -= Counter(names)
        self.changed(names, later=REST if unknown else 0)

    def changed(self, names: Iterable[str], *, later: int = 0) -> None:
        """These have changed by now, or will so long (ms) from now."""
        until = self.now().ticks + later
        for name in names:
            self._changed[name] = until
            self._changed.move_to_end(name)
        while len(self._changed) > MOST_CHANGED:
            self._changed_all = max(self._changed_all, self._changed.popitem(last=False)[1])
