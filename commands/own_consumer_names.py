"""Sluice's own consumers by name, for commands that need no more of them."""

from collections.abc import Sequence

LIFECYCLE = "lifecycle"
COMPENSATION = "compensation"
PROJECTION = "projection"
QUEUE = "queue"
OWN_CONSUMERS = (LIFECYCLE, COMPENSATION, PROJECTION, QUEUE)


def chosen_consumers(setting: str) -> Sequence[str]:
    """The names in the setting. Raises SystemExit if one is unknown."""
    names = [name.strip() for name in setting.split(",") if name.strip()]
    if unknown := [name for name in names if name not in OWN_CONSUMERS]:
        raise SystemExit(f"consumers: {unknown[0]!r} is none of {', '.join(OWN_CONSUMERS)}")
    return names
