"""Orders that come faster than they can be refused: what a gateway still serves, and what memory it takes for that.

The last part: memory that a process has needed once it keeps.
"""

from bench.parts.rates import at_rate, peak_of
from bench.plan import FLOOD
from bench.stage import Stage


def run(stage: Stage) -> None:
    for system in (stage.embedded, stage.cluster):
        peak = peak_of(stage, system, repetition=0)
        at_rate(stage, "flood", system, FLOOD * peak, share_of_peak=FLOOD, peak=peak, repetition=0)
