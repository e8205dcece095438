"""What an order costs with more SKUs, with more stock servers, and with more journals. One run of each."""

from bench.fleets import fleet, sharded
from bench.orders import HOT_SKUS, SOME_SKUS, very_many_skus
from bench.stage import Stage, stream_load
from bench.stocking import create_skus, make_journals, write_skus

STOCKDS_OF_JOURNALS = 2

FIRST_ORDERS_IN_FLIGHT = 4
"""Messages of 500 first orders of SKUs. What they take shares rounds of consensus; with twice as many a server that has
only just started was seen to refuse some."""


def run(stage: Stage) -> None:
    plan = stage.plan
    skus = very_many_skus(plan.many_skus)
    stage.say(f"writing {len(skus):,} SKUs")
    write_skus(stage.ends.cassandra, skus)
    load = stream_load(plan, stage.cluster, skus, plan.many_messages)
    load |= {"warm_messages": FIRST_ORDERS_IN_FLIGHT, "in_flight": FIRST_ORDERS_IN_FLIGHT}
    stage.run("skus", stage.cluster, f"{len(skus):,} SKUs", [load], {"skus": len(skus), "repetition": 0})
    for stockds in plan.stockds:
        with fleet(stockds, stage.directory, stage.ends, stage.cluster) as system:
            for name, sold in (("hot", HOT_SKUS), ("some", SOME_SKUS[: plan.skus_at_most])):
                load = stream_load(plan, system, sold, plan.messages)
                notes = {"load": name, "stockds": stockds, "repetition": 0}
                stage.run("stockds", system, name, [load], notes)
    for journals in plan.journals:
        journal_url = make_journals(stage.ends.postgres, journals)
        with sharded(journal_url, STOCKDS_OF_JOURNALS, stage.directory, stage.ends) as system:
            create_skus(system.endpoint, HOT_SKUS)
            load = stream_load(plan, system, HOT_SKUS, plan.messages)
            stage.run("journals", system, f"{journals} journals", [load], {"journals": journals, "repetition": 0})
