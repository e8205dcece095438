"""How Kafka is reached: its brokers, and what their TLS and logins need.

Everywhere one text says it: `host:port,host:port`, or that with `?properties=FILE` behind it. The file has properties
of Kafka's client for TLS and logins, as librdkafka calls them.
"""

from collections.abc import Mapping

from sluice.properties_file import read_properties, split_properties

SECURITY_PROPERTIES = frozenset(
    {
        "enable.ssl.certificate.verification",
        "https.ca.location",
        "sasl.kerberos.keytab",
        "sasl.kerberos.kinit.cmd",
        "sasl.kerberos.min.time.before.relogin",
        "sasl.kerberos.principal",
        "sasl.kerberos.service.name",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.extensions",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.password",
        "sasl.username",
        "security.protocol",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.cipher.suites",
        "ssl.crl.location",
        "ssl.curves.list",
        "ssl.endpoint.identification.algorithm",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.sigalgs.list",
    }
)
"""Of librdkafka's CONFIGURATION.md. All others are ours to set: what is promised of events rests on some of them."""

SECURITY_PROTOCOLS = frozenset({"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"})


def client_properties(kafka: str) -> Mapping[str, str]:
    """What every client of Kafka is made with, besides its own. Raises ValueError, which names what is wrong."""
    servers, file = split_properties(kafka)
    if file is None:
        return {"bootstrap.servers": servers}
    properties = read_properties(file, SECURITY_PROPERTIES, "librdkafka's properties for TLS and logins")
    if properties.get("security.protocol", "ssl").lower() not in SECURITY_PROTOCOLS:
        raise ValueError(f"{file}: security.protocol is one of {', '.join(sorted(SECURITY_PROTOCOLS))}")
    return {"bootstrap.servers": servers, **properties}
