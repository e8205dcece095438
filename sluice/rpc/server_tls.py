"""TLS of a server: the certificate that it shows, which may be renewed while it runs, and those that it asks for."""

from pathlib import Path

import grpc
import structlog

from sluice.tls_files import TlsContents, TlsFiles, read_tls_files

_log = structlog.get_logger(__name__)


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Files that change are shown to whoever connects afterwards; files that are then wrong are not taken, and the log
    says so. Raises ValueError, which names the file that is not there or is not what it should be.
    """
    shown = _Shown(files)
    return grpc.dynamic_ssl_server_credentials(
        shown.first,
        shown.changed,  # type: ignore[arg-type]  # it may return None; its types do not know
        require_client_authentication=files.client_ca is not None,
    )


class _Shown:
    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = self._versions()
        self.first = _configuration(read_tls_files(files))

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked by gRPC before each handshake, in a thread of its own. None: what was shown before."""
        seen = self._versions()
        if seen == self._seen:
            return None
        self._seen = seen
        try:
            contents = read_tls_files(self._files)
        except ValueError as error:
            _log.error("the files of TLS have changed and cannot be used", reason=str(error))
            return None
        _log.info("the files of TLS have changed", certificate=str(self._files.certificate))
        return _configuration(contents)

    def _versions(self) -> list[tuple[int, int, int] | None]:
        return [_version(file) for file in self._files if file is not None]


def _version(file: Path) -> tuple[int, int, int] | None:
    """Other than before if the file is another one, or was written. None: it is not there."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _configuration(contents: TlsContents) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(contents.key, contents.certificate)], contents.client_ca)
