"""How to reach the API server and as whom: the service account in a pod, else the kubeconfig that KUBECONFIG names.

Read by the `kubernetes` package, so what kubectl understands (client certificates, tokens, exec plug-ins) works. Used by
`perennial.adapters.cluster` for every request and by `perennial.door` for the login of the watches.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IN_CLUSTER = "KUBERNETES_SERVICE_HOST"


class CredentialsError(Exception):
    """Neither a service account nor a usable kubeconfig."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One snapshot of the configuration; the token may have changed in the next."""

    server: str
    ca_file: str | None
    certificate_file: str | None
    key_file: str | None
    token: str | None
    verify: bool


class Credentials:
    """The configuration, with its own renewal of tokens (a projected token lives for an hour)."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration

    @classmethod
    def from_environment(cls) -> Credentials:
        """Service account when in a pod, else KUBECONFIG. Raises CredentialsError."""
        from kubernetes import client, config  # noqa: PLC0415 - heavy, and not wanted by those who only import types

        configuration = client.Configuration()
        try:
            if os.environ.get("KUBECONFIG"):
                load: Any = config.load_kube_config
                load(os.environ["KUBECONFIG"], client_configuration=configuration)
            elif os.environ.get(IN_CLUSTER):
                load = config.load_incluster_config
                load(client_configuration=configuration)
            else:
                raise CredentialsError("not in a pod, and KUBECONFIG is not set: set it to the kubeconfig of the cluster to use")
        except config.ConfigException as error:
            raise CredentialsError(f"the Kubernetes configuration cannot be used: {error}") from error
        return cls(configuration)

    def connection(self) -> Connection:
        """As it is now; renews the token when it is due."""
        settings = self._configuration
        if settings.refresh_api_key_hook is not None:
            settings.refresh_api_key_hook(settings)
        bearer = settings.api_key.get("authorization") or settings.api_key.get("BearerToken") or ""
        return Connection(
            server=str(settings.host).rstrip("/"),
            ca_file=settings.ssl_ca_cert,
            certificate_file=settings.cert_file,
            key_file=settings.key_file,
            token=bearer.split(" ", 1)[-1].strip() or None,
            verify=bool(settings.verify_ssl),
        )

    def tls(self) -> ssl.SSLContext:
        """For the API server: its CA, and our client certificate if there is one."""
        connection = self.connection()
        context = ssl.create_default_context(cafile=connection.ca_file)
        if not connection.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if connection.certificate_file and Path(connection.certificate_file).exists():
            context.load_cert_chain(connection.certificate_file, connection.key_file)
        return context
