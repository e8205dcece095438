"""Relays of several journals in one process: what each counts is told apart on one page."""

from prometheus_client import CollectorRegistry, generate_latest

from relay.journal_labels import JournalLabels
from relay.meters import RelayMeters


def test_each_journal_is_told_apart() -> None:
    page = CollectorRegistry()
    registries = [CollectorRegistry() for _ in range(3)]
    page.register(JournalLabels(registries))
    meters = [RelayMeters(each) for each in registries]
    meters[1].leading(True)
    meters[2].deleted(7)
    shown = generate_latest(page).decode()
    assert 'sluice_relay_leader{journal="0"} 0.0' in shown
    assert 'sluice_relay_leader{journal="1"} 1.0' in shown
    assert 'sluice_relay_rows_deleted_total{journal="2"} 7.0' in shown
    assert shown.count("# TYPE sluice_relay_leader gauge") == 1
