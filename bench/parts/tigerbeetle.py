"""TigerBeetle as its own users reach it from Python: several clients, each with batches of pending transfers on one hot
account, without any server of ours in between.
"""

from bench.peer_systems import Missing, own_server
from bench.stage import Stage
from bench.systems import nothing_but

UNITS = 1_000_000_000


def run(stage: Stage, repetition: int) -> None:
    try:
        with own_server("tigerbeetle", stage.directory, stage.programs["tigerbeetle"]) as server:
            stage.document["servers"]["tigerbeetle"] = dict(server.facts)
            for clients in stage.plan.tigerbeetle_clients:
                for batch in stage.plan.tigerbeetle_batches:
                    load = {
                        "kind": "tigerbeetle",
                        "endpoint": server.address,
                        "sku": "hot",
                        "units": UNITS,
                        "batch": batch,
                        "warm_transfers": min(batch * 2, stage.plan.tigerbeetle_transfers),
                        "transfers": stage.plan.tigerbeetle_transfers // clients,
                    }
                    results, cost = stage.drive(nothing_but("tigerbeetle", server.pids), [load] * clients)
                    accepted = sum(result["accepted"] for result in results)
                    # They begin at the same moment; the last one to end decides.
                    elapsed_s = max(result["elapsed_s"] for result in results)
                    rates = {"accepted": accepted, "elapsed_s": elapsed_s, "orders_per_s": accepted / elapsed_s}
                    notes = {"clients": clients, "batch": batch, "repetition": repetition}
                    label = f"{clients} clients, {batch} a batch"
                    stage.note("tigerbeetle", "tigerbeetle", label, results[0] | rates | cost | notes)
    except Missing as missing:
        stage.leave_out("TigerBeetle from Python", str(missing))
