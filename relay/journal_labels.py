"""Shows what the relays of several journals count, each under the label `journal`, on one page."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class JournalLabels(Collector):
    """What `registries` hold, by number of the journal, under the same names."""

    def __init__(self, registries: Sequence[CollectorRegistry]) -> None:
        self._registries = registries

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for number, registry in enumerate(self._registries):
            for metric in registry.collect():
                family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                family.samples += [
                    sample._replace(labels={**sample.labels, "journal": str(number)}) for sample in metric.samples
                ]
        return families.values()
