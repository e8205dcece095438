"""`grpc.health.v1.Health`, honestly: a service is SERVING only while everything that it needs answers."""

import asyncio
from collections.abc import Mapping, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sluice.reachability import Reachability


class Health:
    """`needs` names per service what it cannot do without. The empty name stands for the whole process."""

    def __init__(self, server: grpc.aio.Server, needs: Mapping[str, Sequence[Reachability]]) -> None:
        self._servicer = health.aio.HealthServicer()
        self._needs = needs
        self._draining = False
        self._changed = asyncio.Event()
        for need in {need for needed in needs.values() for need in needed}:
            need.on_change = self._changed.set
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def publish(self) -> None:
        """Keeps the answers true, for ever."""
        while not self._draining:
            self._changed.clear()
            for service, needs in self._needs.items():
                serving = not any(need.away for need in needs)
                await self._servicer.set(
                    service,
                    health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING,
                )
            await self._changed.wait()

    def missing(self) -> Sequence[str]:
        """Why the whole process is not serving; empty if it is. Any thread may ask."""
        return ["it drains"] if self._draining else [f"{need.name} away" for need in self._needs[""] if need.away]

    async def drain(self) -> None:
        """From now on nothing is serving, whatever happens."""
        self._draining = True
        self._changed.set()
        await self._servicer.enter_graceful_shutdown()
