"""Everything that runs while it is measured, and the document that the figures go into."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measuring import measured
from bench.plan import ORDERS_A_MESSAGE, STREAM_IN_FLIGHT, Plan
from bench.settings import Program
from bench.settling import wait_until_quiet
from bench.systems import System
from bench.workers import worker
from deploy.local.layout import Endpoints

LOADS = "bench.loads"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """`targets`: where the bare journal function writes, by kind. `programs` by name, missing ones included."""

    plan: Plan
    directory: Path
    say: Say
    document: dict[str, Any]
    noop: System
    embedded: System
    cluster: System
    ends: Endpoints
    targets: dict[str, str]
    programs: dict[str, Program]

    def run(
        self,
        kind: str,
        system: System,
        label: str,
        loads: Sequence[dict[str, Any]],
        notes: Mapping[str, Any],
        standing_still: Sequence[str] = (),
    ) -> dict[str, Any]:
        """One run, from quiet to quiet, noted in the document. With several loads the first one's result counts, and
        all are in `loads`.
        """
        wait_until_quiet(system.metrics, self.plan.quiet_s)
        results, cost = self.drive(system, loads, standing_still)
        more = {"loads": results} if len(results) > 1 else {}
        return self.note(kind, system.name, label, {**results[0], **more, **cost, **notes})

    def drive(
        self, system: System, loads: Sequence[dict[str, Any]], standing_still: Sequence[str] = ()
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        with ExitStack() as started:
            workers = [started.enter_context(worker(LOADS, load)) for load in loads]
            return measured(workers, system, standing_still)

    def note(self, kind: str, system: str, label: str, result: dict[str, Any]) -> dict[str, Any]:
        run = {"kind": kind, "system": system, **result}
        self.document["runs"].append(run)
        refused = f", refused {run['refused']}" if run["refused"] else ""
        self.say(f"{kind:12}{system:22}{label:24}{run['orders_per_s']:>10,.0f}/s{refused}")
        return run

    def leave_out(self, what: str, why: str) -> None:
        """Said once, on the terminal and on the page."""
        entry = {"what": what, "why": why}
        if entry not in self.document["left_out"]:
            self.document["left_out"].append(entry)
            self.say(f"left out: {what}: {why}")


def unary_load(plan: Plan, system: System, skus: Sequence[str], in_flight: int) -> dict[str, Any]:
    return {
        "kind": "unary",
        "endpoint": system.endpoint,
        "skus": list(skus),
        "in_flight": in_flight,
        "warm_s": plan.warm_s,
        "seconds": plan.seconds,
    }


def stream_load(plan: Plan, system: System, skus: Sequence[str], messages: int) -> dict[str, Any]:
    """The first units of a SKU are taken while orders of the warm-up wait: of many SKUs, a message at a time."""
    return {
        "kind": "stream",
        "endpoint": system.endpoint,
        "skus": list(skus),
        "batch": ORDERS_A_MESSAGE,
        "in_flight": STREAM_IN_FLIGHT,
        "warm_messages": plan.warm_messages,
        "warm_in_flight": STREAM_IN_FLIGHT if len(skus) == 1 else 1,
        "messages": messages,
    }
