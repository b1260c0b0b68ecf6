"""The corpus of hosts and addresses: what may be reached, and what may not, whoever asks."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from connectors.addresses import clean_host, judge, refusal
from connectors.errors import ConnectorError, OptionsError, Unavailable

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700::1111",
    "2a00:1450:4001::200e",
    "::ffff:8.8.8.8",
    "100.128.0.1",
    "172.32.0.1",
]

PRIVATE = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "0.1.2.3",
    "10.9.8.7",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "169.254.1.1",
    "100.64.0.1",
    "100.127.255.254",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::ffff:10.9.8.7",
    "::ffff:127.0.0.1",
    "::7f00:1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2002:a00:1::",
    "2001:0:a00:1::",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
]

METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "::a9fe:a9fe",
]

EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize("address", PRIVATE + METADATA)
def test_other_addresses_do_not(address: str) -> None:
    assert refusal(address) is not None


@pytest.mark.parametrize("address", PRIVATE)
def test_an_administrator_can_allow_private_ranges(address: str) -> None:
    assert refusal(address, EVERYTHING) is None


@pytest.mark.parametrize("address", METADATA)
def test_nobody_can_allow_metadata(address: str) -> None:
    assert "never allowed" in (refusal(address, EVERYTHING) or "")


def test_an_allowed_range_allows_no_other() -> None:
    networks = (ip_network("10.1.0.0/16"),)
    assert refusal("10.1.2.3", networks) is None
    assert refusal("10.2.2.3", networks) == "a private network"
    assert refusal("::1", networks) == "this machine itself"


@pytest.mark.parametrize(
    ("host", "clean"),
    [
        ("db.example.net", "db.example.net"),
        ("DB.Example.NET.", "db.example.net"),
        ("192-168.example.net", "192-168.example.net"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1.", "10.0.0.1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("::1", "::1"),
        ("my_db", "my_db"),
        ("1.example.net", "1.example.net"),
        ("ｅxample.net", "example.net"),
    ],
)
def test_honest_hosts_are_understood(host: str, clean: str) -> None:
    assert clean_host(host) == clean


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "0x0a.1",
        "0x7f000001",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "127.0.0.01",
        "①②⑦.0.0.1:80",
        "a b.example.net",
        "a\nb.example.net",
        "a\\b.example.net",
        "me@example.net",
        "example.net:3306",
        "example.net/x",
        "a,b",
        "-a.example.net",
        "a..b",
        "x" * 64 + ".example.net",
        ".".join(["x" * 60] * 5),
        "fe80::1%eth0",
        "[::1]:5432",
        "%2e",
        "/var/run/postgresql",
        "@abstract",
    ],
)
def test_odd_hosts_are_refused(host: str) -> None:
    with pytest.raises(OptionsError, match="is not a host name"):
        clean_host(host)


def judged(host: str, *answers: str, allowed: str = "") -> str:
    networks = tuple(ip_network(text) for text in allowed.split())
    try:
        found = judge(host, 5432, networks, lambda name, port: answers)
    except OptionsError as error:
        return "never" if "never" in error.message else "refused"
    except Unavailable:
        return "no answer"
    return "public" if found.is_public else "allowed"


@pytest.mark.parametrize(
    ("host", "answers", "allowed", "expected"),
    [
        ("db.example.net", ["8.8.8.8"], "", "public"),
        ("db.example.net", ["8.8.8.8", "2606:4700::1111"], "", "public"),
        ("db.example.net", ["8.8.8.8", "10.0.0.1"], "", "refused"),
        ("db.example.net", ["10.0.0.1"], "10.0.0.0/8", "allowed"),
        ("db.example.net", ["10.0.0.1", "192.168.0.1"], "10.0.0.0/8", "refused"),
        ("db.example.net", ["169.254.169.254"], "169.254.0.0/16", "never"),
        ("db.example.net", [], "", "no answer"),
        ("localhost", ["127.0.0.1"], "", "refused"),
        ("localhost", ["127.0.0.1", "::1"], "127.0.0.0/8 ::1/128", "allowed"),
        ("localhost", ["127.0.0.1", "::1"], "127.0.0.0/8", "refused"),
        ("postgres", ["172.18.0.2"], "172.16.0.0/12", "allowed"),
        ("postgres", ["8.8.8.8"], "", "refused"),
        ("db.internal", ["8.8.8.8"], "", "refused"),
        ("metadata.google.internal", ["169.254.169.254"], "0.0.0.0/0", "never"),
    ],
)
def test_every_answer_of_the_resolver_is_judged(
    host: str, answers: list[str], allowed: str, expected: str
) -> None:
    assert judged(host, *answers, allowed=allowed) == expected


def test_the_resolver_is_asked_once_and_its_answer_is_what_is_connected_to() -> None:
    answers = [["8.8.8.8"], ["127.0.0.1"]]
    found = judge("db.example.net", 5432, (), lambda host, port: answers.pop(0))
    assert found.addresses == ("8.8.8.8",)
    assert len(answers) == 1


def test_an_unknown_name_is_unavailable() -> None:
    with pytest.raises(ConnectorError, match=r"no-such-host.invalid"):
        judge("no-such-host.invalid", 5432)
