"""The client library on the cluster: a thousand coroutines that place one order each, beside batches made by hand."""

from bench.client import compare
from bench.stage import Stage


def run(stage: Stage) -> None:
    for run in compare(stage.cluster, stage.plan.client_orders, stage.plan.repetitions, stage.say):
        stage.document["runs"].append({"kind": "client", **run})
