"""What a consumer tells about itself."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class Meters:
    """Of all consumers of a process; each has its own label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, description: str) -> Counter:
            return Counter(name, description, ["consumer"], registry=registry)

        def gauge(name: str, description: str) -> Gauge:
            return Gauge(name, description, ["consumer"], registry=registry)

        self.handled = counter("sluice_consumer_events_handled", "Events whose handler has returned")
        self.calls = counter(
            "sluice_consumer_calls", "Calls of the handler that returned; events per call show how well it batches"
        )
        self.repeats = counter(
            "sluice_consumer_repeats_dropped", "Events that stood on the log twice and were handled once"
        )
        self.failures = counter(
            "sluice_consumer_failures", "Calls of the handler that raised, a dependency that is away included"
        )
        self.dead_letters = counter(
            "sluice_consumer_dead_letters", "Records put into the dead-letter topic, those behind one included"
        )
        self.in_flight = gauge("sluice_consumer_events_in_flight", "Events received and not finished")
        self.held = gauge("sluice_consumer_held_keys", "Keys whose event failed alone and is being tried again")
        self.parked = gauge(
            "sluice_consumer_parked_keys", "Keys with open dead letters; their events wait in the dead-letter topic"
        )
        self.away = gauge("sluice_consumer_dependency_away", "1 while something the handler needs does not answer")
        self.age = gauge(
            "sluice_consumer_event_age_seconds", "Age of the newest event that was handled last, when it was done"
        )
        self.lag = gauge("sluice_consumer_lag_events", "Events on the log that are not finished")
        self.paused = gauge("sluice_consumer_paused", "1 while fetching is paused because too much is in flight")
        self.partitions = gauge("sluice_consumer_partitions", "Partitions that this process has")
        self.waiting = gauge(
            "sluice_consumer_partitions_waiting", "Partitions to which slots moved, until their old places are finished"
        )

    def of(self, consumer: str) -> "ConsumerMeters":
        return ConsumerMeters(self, consumer)


class ConsumerMeters:
    def __init__(self, meters: Meters, consumer: str) -> None:
        self._handled = meters.handled.labels(consumer)
        self._calls = meters.calls.labels(consumer)
        self._repeats = meters.repeats.labels(consumer)
        self._failures = meters.failures.labels(consumer)
        self._dead_letters = meters.dead_letters.labels(consumer)
        self._in_flight = meters.in_flight.labels(consumer)
        self._held = meters.held.labels(consumer)
        self._parked = meters.parked.labels(consumer)
        self._away = meters.away.labels(consumer)
        self._age = meters.age.labels(consumer)
        self._lag = meters.lag.labels(consumer)
        self._paused = meters.paused.labels(consumer)
        self._partitions = meters.partitions.labels(consumer)
        self._waiting = meters.waiting.labels(consumer)

    def handled(self, events: int, age_s: float) -> None:
        self._handled.inc(events)
        self._calls.inc()
        self._age.set(max(0.0, age_s))

    def repeated(self, events: int) -> None:
        self._repeats.inc(events)

    def failed(self) -> None:
        self._failures.inc()

    def buried(self, records: int) -> None:
        self._dead_letters.inc(records)

    def watch(
        self,
        *,
        in_flight: Callable[[], float],
        held: Callable[[], float],
        parked: Callable[[], float],
        away: Callable[[], float],
        partitions: Callable[[], float],
    ) -> None:
        """These are read when somebody asks."""
        self._in_flight.set_function(in_flight)
        self._held.set_function(held)
        self._parked.set_function(parked)
        self._away.set_function(away)
        self._partitions.set_function(partitions)

    def lag(self, events: int) -> None:
        self._lag.set(events)

    def paused(self, paused: bool) -> None:
        self._paused.set(paused)

    def waiting(self, partitions: int) -> None:
        self._waiting.set(partitions)
