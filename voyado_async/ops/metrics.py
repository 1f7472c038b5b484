"""Metrics for Prometheus: what this process did, as counters and histograms; where the outbox stands, as gauges.

Names and labels are part of the surface: alert rules use them (`samples/prometheus/alerts.yml`). No label ever holds an
id, a key or an address, so that the number of series does not grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from voyado_async.events import AttemptMade, Event, Settled
from voyado_async.outbox.states import FileState
from voyado_async.resources.status import Status
from voyado_async.version import VERSION

REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 65)
"""Engage promises nothing; 4.5 s is its point of no return, 65 s our time-out (ref 2.2)."""

DELIVERY_SECONDS = (0.1, 0.5, 1, 5, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
"""From a blink to a long outage."""

STATES_OF_BREAKER = ("closed", "open", "probing")


class _Gauges(Collector):
    """Where the outbox stands, out of the last snapshot."""

    def __init__(self) -> None:
        self.status: Status | None = None
        self.rate: float | None = None
        self.bytes: Mapping[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        if self.status is None:
            return
        found = self.status
        entries = GaugeMetricFamily("voyado_entries", "Entries by state and kind.", labels=("state", "kind"))
        for kind, by_state in found.kinds.items():
            for state in found.states:
                entries.add_metric((state, kind), by_state.get(state, 0))
        yield entries
        yield from (
            _counter("voyado_enqueued", "Entries ever written.", found.accounting.enqueued),
            _counter("voyado_purged", "Finished entries that were purged.", found.accounting.purged),
            _counter("voyado_forgotten", "Entries that were forgotten with their contact.", found.accounting.forgotten),
            _gauge("voyado_balanced", "1 where every entry ever written is accounted for.", found.accounting.balanced),
            _gauge("voyado_oldest_seconds", "Age of the oldest entry that waits for the API; 0 where none does.",
                   found.oldest_pending_seconds or 0),
            _gauge("voyado_newest_seconds", "Time since the newest entry was written.", found.last_enqueued_seconds),
            _gauge("voyado_drainer_running", "1 where somebody drains the outbox.", found.drainer.running),
            _gauge("voyado_drainer_stalled", "1 where work is due and nothing has moved for a minute.",
                   found.drainer.stalled),
            _gauge("voyado_key_refused", "1 where Engage refuses the API key, for everything or for some kinds.",
                   found.halted is not None),
            _gauge("voyado_needs_person", "How many things need a person; `voyado-async status` names them.",
                   len(found.needs_person)),
            _gauge("voyado_rate", "Requests a second that the drainer of this process may send.", self.rate),
        )  # fmt: skip
        breaker = GaugeMetricFamily("voyado_breaker", "1 for the state that the breaker is in.", labels=("state",))
        for state in STATES_OF_BREAKER:
            breaker.add_metric((state,), float(found.breaker == state))
        yield breaker
        files = GaugeMetricFamily("voyado_files", "Fallback files by state.", labels=("state",))
        for state in FileState:
            files.add_metric((state,), found.files.get(state, 0))
        yield files
        on_disk = GaugeMetricFamily("voyado_disk_bytes", "Bytes on disk.", labels=("part",))
        for part, size in self.bytes.items():
            on_disk.add_metric((part,), size)
        yield on_disk


def _gauge(name: str, help_text: str, value: float | None) -> GaugeMetricFamily:
    """One number; without a sample where there is none."""
    return GaugeMetricFamily(name, help_text, value=None if value is None else float(value))


def _counter(name: str, help_text: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, help_text, value=value)


class Metrics:
    """A listener that counts, and the text that Prometheus reads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Info("voyado", "What runs here.", registry=self._registry).info({"version": VERSION})
        self._attempts = Counter(
            "voyado_attempts", "Attempts of this process by what they came to; status is empty where no answer came.",
            ("what", "outcome", "status"), registry=self._registry,
        )  # fmt: skip
        self._requests = Histogram(
            "voyado_request_seconds", "How long requests of this process to Engage took.", ("kind",),
            buckets=REQUEST_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._deliveries = Histogram(
            "voyado_delivery_seconds", "From the write of an entry to its delivery by this process.", ("kind",),
            buckets=DELIVERY_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._gauges = _Gauges()
        self._registry.register(self._gauges)

    def __call__(self, event: Event) -> None:
        match event:
            case AttemptMade():
                status = "" if event.status is None else str(event.status)
                self._attempts.labels(event.what, event.outcome, status).inc()
                if event.duration_ms is not None:
                    self._requests.labels(event.kind).observe(event.duration_ms / 1000)
            case Settled(state="delivered", waited_ms=int(waited)):
                self._deliveries.labels(event.kind).observe(waited / 1000)

    def text(self, accept: str, status: Status, *, rate: float | None, sizes: Mapping[str, int]) -> tuple[bytes, str]:
        """Everything, in the format that the ``Accept`` header asks for, and the type of its content."""
        self._gauges.status, self._gauges.rate, self._gauges.bytes = status, rate, sizes
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
