"""Three brokers agree on who they are without a file that they share; one is named and set up as ever."""

from pathlib import Path

import pytest

from deploy.local import kafka
from deploy.local.layout import ClusterSpec, assign_ports, brokers, endpoints


def three(directory: Path) -> list[kafka.Broker]:
    spec = ClusterSpec(directory, brokers=3)
    return brokers(spec, assign_ports(spec, {}, ()))


def test_each_is_told_of_the_same_voters(tmp_path: Path) -> None:
    found = three(tmp_path)
    told = {kafka._controllers(tmp_path / broker.name, found) for broker in found}
    assert len(told) == 1
    assert all(f"@127.0.0.1:{broker.controller_port}:" in next(iter(told)) for broker in found)
    assert len({kafka._agreed_id(tmp_path / broker.name, "cluster") for broker in found}) == 1
    assert len({kafka._agreed_id(tmp_path / "kafka-1", broker.name) for broker in found}) == 3


def test_another_cluster_has_other_ids(tmp_path: Path) -> None:
    assert kafka._agreed_id(tmp_path / "a/kafka-1", "cluster") != kafka._agreed_id(tmp_path / "b/kafka-1", "cluster")


@pytest.mark.parametrize(("count", "copies", "in_sync"), [(1, 1, 1), (3, 3, 2)])
def test_there_are_as_many_copies_as_brokers_and_most_must_be_written(
    tmp_path: Path, count: int, copies: int, in_sync: int
) -> None:
    found = three(tmp_path)[:count]
    lines = kafka._properties(tmp_path, found, 0).splitlines()
    for name in ("default.replication.factor", "offsets.topic.replication.factor"):
        assert f"{name}={copies}" in lines
    for name in ("min.insync.replicas", "transaction.state.log.min.isr"):
        assert f"{name}={in_sync}" in lines


def test_clients_are_told_of_every_broker(tmp_path: Path) -> None:
    spec = ClusterSpec(tmp_path, brokers=3)
    ports = assign_ports(spec, {}, ())
    assert endpoints(spec, ports).kafka == ",".join(f"127.0.0.1:{ports[name]}" for name in spec.names("kafka"))


def test_one_broker_keeps_its_name(tmp_path: Path) -> None:
    assert ClusterSpec(tmp_path).names("kafka") == ["kafka"]


def test_two_brokers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="brokers must be one of"):
        ClusterSpec(tmp_path, brokers=2)
