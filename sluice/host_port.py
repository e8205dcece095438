"""Addresses as people write them."""


def split_host_port(value: str) -> tuple[str, int]:
    """`host:port` apart. Raises ValueError."""
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{value!r} is not host:port")
    return host.strip("[]"), int(port)
