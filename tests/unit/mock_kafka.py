"""A broker that the Kafka client's own library plays: real requests over a socket, and errors where a test wants."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka

OFFSET_FETCH = 9
"""The number of the request in Kafka's protocol."""

_PRODUCER = 0
_ERROR_BYTES = 512
_VOID = ctypes.c_void_p


class MockKafka:
    def __init__(self, library: ctypes.CDLL, cluster: int, bootstrap: str) -> None:
        self._library = library
        self._cluster = cluster
        self.bootstrap = bootstrap

    def make_topic(self, name: str, partitions: int) -> None:
        make = self._library.rd_kafka_mock_topic_create
        make.argtypes = [_VOID, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
        assert make(self._cluster, name.encode(), partitions, 1) == 0

    def answer_with_error(self, request: int, error: int, times: int) -> None:
        push = self._library.rd_kafka_mock_push_request_errors_array
        push.argtypes = [_VOID, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)]
        push(self._cluster, request, times, (ctypes.c_int * times)(*([error] * times)))


@contextmanager
def mock_kafka() -> Iterator[MockKafka]:
    library = _library()
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    owner = library.rd_kafka_new(_PRODUCER, library.rd_kafka_conf_new(), error, _ERROR_BYTES)
    assert owner, error.value
    cluster = library.rd_kafka_mock_cluster_new(owner, 1)
    try:
        yield MockKafka(library, cluster, library.rd_kafka_mock_cluster_bootstraps(cluster).decode())
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(owner)


def _library() -> ctypes.CDLL:
    """The one that the Python client has loaded: its wheel brings it."""
    (file,) = Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka*.so*")
    library = ctypes.CDLL(str(file))
    library.rd_kafka_conf_new.restype = _VOID
    library.rd_kafka_new.restype = _VOID
    library.rd_kafka_new.argtypes = [ctypes.c_int, _VOID, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_destroy.argtypes = [_VOID]
    library.rd_kafka_mock_cluster_new.restype = _VOID
    library.rd_kafka_mock_cluster_new.argtypes = [_VOID, ctypes.c_int]
    library.rd_kafka_mock_cluster_destroy.argtypes = [_VOID]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [_VOID]
    return library
