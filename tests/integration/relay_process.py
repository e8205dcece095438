"""A relay in a process of its own, for tests that kill it: reads its settings from SLUICE_*."""

from commands.relay import run
from sluice.settings import RelaySettings

if __name__ == "__main__":
    run(RelaySettings())
