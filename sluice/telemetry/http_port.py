"""The port for who runs Sluice: `/metrics` for Prometheus, `/livez` and `/readyz` for who starts and stops processes.

A thread of its own answers, so it answers while the gRPC port is flooded.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, start_http_server

from sluice.errors import CannotListen
from sluice.host_port import split_host_port
from sluice.telemetry.standing import Standing

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

PATHS = ("/metrics", "/livez", "/readyz")


def serve(registry: CollectorRegistry, standing: Standing, listen: str) -> int:
    """Returns the port. Raises CannotListen."""
    host, port = split_host_port(listen)
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise CannotListen(f"cannot listen on {listen} for metrics: {error.strerror}") from error
    shows_metrics = server.get_app()
    assert shows_metrics is not None
    server.set_app(_by_path(shows_metrics, standing))
    return int(server.server_port)


def _by_path(shows_metrics: "WSGIApplication", standing: Standing) -> "WSGIApplication":
    def answer(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return shows_metrics(environ, start_response)
        if path == "/livez":
            return _told(standing.why_not_alive, "alive", start_response)
        if path == "/readyz":
            return _told(standing.why_not_ready, "ready", start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [f"there is {', '.join(PATHS)}\n".encode()]

    return answer


def _told(why_not: Callable[[], str], word: str, start_response: "StartResponse") -> Iterable[bytes]:
    reason = why_not()
    start_response("503 Service Unavailable" if reason else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"not {word}: {reason}\n".encode() if reason else f"{word}\n".encode()]
