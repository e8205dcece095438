"""What the figures were measured on, and with which promises of durability."""

import asyncio
import json
import os
import platform
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from deploy.local import cassandra, kafka
from deploy.local.layout import ClusterSpec
from sluice.sqlite_file import SqliteFile

PACKAGES = ("grpcio", "protobuf", "uvloop", "asyncpg", "cassandra-driver", "confluent-kafka")
POSTGRES_SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
SYNCHRONOUS = {0: "off", 1: "normal", 2: "full", 3: "extra"}
SYNCED_WRITES = 50
SYNCED_BYTES = 8_192


def describe_machine(directory: Path) -> dict[str, Any]:
    """`directory` is where the servers keep their data: its disk is the one that counts."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: version(name) for name in PACKAGES},
        "load_average_before": os.getloadavg()[0],
        "synced_write_ms": round(_synced_write_ms(directory), 3),
    }


def describe_servers(spec_directory: Path, postgres_url: str) -> dict[str, Any]:
    """Read from the running servers and from the files that they were started with."""
    node = json.loads((spec_directory / "cassandra-1" / "cassandra.yaml").read_text())
    spec = ClusterSpec(spec_directory)
    return {
        "sqlite": asyncio.run(_sqlite_settings(spec_directory.parent / "looked-at.db")),
        "postgresql": asyncio.run(_postgres_settings(postgres_url)),
        "cassandra": {
            "version": cassandra.VERSION,
            "nodes": spec.nodes,
            "replication_factor": spec.nodes,
            "commitlog_sync": node["commitlog_sync"],
            "paxos_variant": node["paxos_variant"],
        },
        "kafka": {"version": kafka.VERSION, "brokers": 1, "replication_factor": 1, "acks": "all", "idempotent": True},
    }


async def _postgres_settings(url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    try:
        return {name: await connection.fetchval(f"SHOW {name}") for name in POSTGRES_SETTINGS}
    finally:
        await connection.close()


async def _sqlite_settings(path: Path) -> dict[str, str]:
    """As the embedded gateway opens its file; they belong to the connection that writes."""
    file = await SqliteFile.open(path)
    try:
        found = {
            name: await file.write(lambda connection, name=name: connection.execute(f"PRAGMA {name}").fetchone()[0])  # type: ignore[misc]
            for name in ("journal_mode", "synchronous")
        }
    finally:
        await file.close()
    return {"version": sqlite3.sqlite_version, **found, "synchronous": SYNCHRONOUS[found["synchronous"]]}


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _synced_write_ms(directory: Path) -> float:
    """The least that a commit can take here: median of appending one page and waiting for the disk."""
    path = directory / "synced"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        times = []
        for _ in range(SYNCED_WRITES):
            started = time.perf_counter()
            os.write(descriptor, bytes(SYNCED_BYTES))
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()
    return 1000 * median(times)
