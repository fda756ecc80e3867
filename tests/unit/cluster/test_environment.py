"""What comes from environment and machine: the user's own cluster, the cache's place, packages, what image builds inherit."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import buildah, external, host, settings
from cluster.errors import ClusterError


def test_without_variables_the_embedded_cluster_is_meant() -> None:
    assert external.from_environment({"KUBECONFIG": "/home/me/.kube/config"}) is None


def test_both_variables_name_a_cluster_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    chosen = external.from_environment(
        {"PERENNIAL_KUBECONFIG": str(tmp_path / "config"), "PERENNIAL_REGISTRY": "registry.example/team/"}
    )
    assert chosen == external.External(tmp_path / "config", "registry.example/team")


@pytest.mark.parametrize(
    ("one", "other"), [("PERENNIAL_KUBECONFIG", "PERENNIAL_REGISTRY"), ("PERENNIAL_REGISTRY", "PERENNIAL_KUBECONFIG")]
)
def test_one_variable_without_the_other_is_refused(one: str, other: str) -> None:
    with pytest.raises(ClusterError, match=f"{one} is set and {other} is not"):
        external.from_environment({one: "x"})


def test_a_kubeconfig_that_does_not_exist_is_named() -> None:
    with pytest.raises(ClusterError, match="names /nowhere, which is not a file"):
        external.from_environment({"PERENNIAL_KUBECONFIG": "/nowhere", "PERENNIAL_REGISTRY": "r"})


@pytest.mark.parametrize(
    ("environment", "cache"),
    [
        ({"PERENNIAL_CACHE": "/fast/p", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/fast/p"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/perennial"),
        ({"HOME": "/h"}, "/h/.cache/perennial"),
    ],
)
def test_the_cache_is_where_the_user_wants_it(environment: dict[str, str], cache: str) -> None:
    assert settings.from_environment(environment).cache == Path(cache)


def test_without_a_home_in_the_environment_it_is_the_accounts() -> None:
    assert settings.from_environment({}).cache == Path.home() / ".cache" / "perennial"


def test_image_builds_inherit_only_declared_variables_about_indexes_and_certificates() -> None:
    dockerfile = "ARG BASE_IMAGE\nARG PIP_INDEX_URL\nARG SSL_CERT_FILE=/x\nARG HOME\narg https_proxy\n"
    environment = {
        "PIP_INDEX_URL": "https://index.example",
        "PIP_TOKEN_FILE": "undeclared",
        "SSL_CERT_FILE": "/certs",
        "HOME": "/h",
        "https_proxy": "http://proxy.example",
    }
    assert buildah.inherited(dockerfile, environment) == {
        "PIP_INDEX_URL": "https://index.example",
        "SSL_CERT_FILE": "/certs",
        "https_proxy": "http://proxy.example",
    }


def test_pips_environment_wins_over_its_file() -> None:
    listing = ":env:.cert='/env.pem'\n:env:.find-links='/a /b'\nglobal.cert='/file.pem'\nglobal.timeout='9'\ninstall.user='no'\n"
    assert buildah.parse_pip_configuration(listing) == {"cert": "/env.pem", "timeout": "9", "find-links": "/a /b"}


def test_capabilities_are_read_from_the_effective_set() -> None:
    held = host.capabilities("Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t000001fffeffffff\n")
    assert held >> host.CAP_SYS_ADMIN & 1
    assert not held >> 24 & 1
    assert host.capabilities("nothing") == 0


def programs(source: str) -> Iterator[str]:
    """The first word of each command written out in a call of shell.run or shell.succeeds, behind `inside(...)` too."""
    for call in ast.walk(ast.parse(source)):
        if not (isinstance(call, ast.Call) and ast.unparse(call.func) in ("shell.run", "shell.succeeds") and call.args):
            continue
        words = call.args[0].elts if isinstance(call.args[0], ast.List) else []
        if words and isinstance(words[0], ast.Starred) and ast.unparse(words[0]).startswith("*inside("):
            words = words[1:]
        if words and isinstance(words[0], ast.Constant):
            yield str(words[0].value)


def test_every_program_is_of_a_minimal_debian_or_of_a_package_that_is_installed() -> None:
    minimal = {"apt-get", "dpkg", "rm", "sh", "umount"}
    built = {"go"}
    found = {name for path in Path(host.__file__).parent.glob("*.py") for name in programs(path.read_text())}
    assert {"ip", "sh", "apt-get"} <= found
    assert not found - minimal - built - set(host.PACKAGES.values())
