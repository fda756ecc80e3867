"""`python -m perennial`: reads the settings, sets up the logs and runs `perennial.bootstrap`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from perennial.settings import PREFIX, VARIABLES, SettingsError, from_environment

EXIT_SETTINGS = 2


def main() -> int:
    """Exit code 0 after a signal, 2 when a setting is wrong."""
    _parser().parse_args()
    try:
        settings = from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"perennial: {error}\nSee: python -m perennial --help\n")
        return EXIT_SETTINGS
    from perennial import bootstrap, log  # noqa: PLC0415 - --help answers without loading Kopf
    from perennial.adapters.credentials import CredentialsError  # noqa: PLC0415

    log.set_up(settings.log_level, settings.log_format)
    try:
        asyncio.run(bootstrap.run(settings))
    except CredentialsError as error:
        sys.stderr.write(f"perennial: {error}\n")
        return EXIT_SETTINGS
    return 0


def _parser() -> argparse.ArgumentParser:
    variables = "\n".join(f"  {PREFIX}{name:22} {words}" for name, words in VARIABLES)
    return argparse.ArgumentParser(
        prog="python -m perennial",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "The Perennial operator: retrains, judges, serves and rolls back the models that ModelDeployments ask for.\n"
            "In a cluster it is installed by the chart charts/perennial. Outside of one, point KUBECONFIG at the cluster."
        ),
        epilog=(
            f"Set by environment variables:\n{variables}\n\n"
            "It answers /healthz, /readyz and /metrics on the metrics port, and ends within seconds of SIGTERM."
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
