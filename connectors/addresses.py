"""Which hosts may be reached: the judge of addresses, and the one place that asks the resolver.

The judge is pure. A caller resolves once, lets every answer be judged, and connects to the address that
was judged, so that a second answer of the resolver changes nothing.
"""

from __future__ import annotations

import re
import socket
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NoReturn

from connectors.errors import OptionsError, Unavailable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

# Named one by one, since `is_global` differs between releases of Python and calls some of these global.
_SPECIAL: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(text), why)
    for text, why in (
        ("127.0.0.0/8", "this machine itself"),
        ("::1/128", "this machine itself"),
        ("0.0.0.0/8", "this machine itself"),
        ("::/128", "this machine itself"),
        ("10.0.0.0/8", "a private network"),
        ("172.16.0.0/12", "a private network"),
        ("192.168.0.0/16", "a private network"),
        ("fc00::/7", "a private network"),
        ("fec0::/10", "a private network"),
        ("169.254.0.0/16", "a link-local network"),
        ("fe80::/10", "a link-local network"),
        ("100.64.0.0/10", "a carrier's shared network"),
        ("192.0.0.0/24", "a reserved network"),
        ("192.0.2.0/24", "an example network"),
        ("198.51.100.0/24", "an example network"),
        ("203.0.113.0/24", "an example network"),
        ("2001:db8::/32", "an example network"),
        ("3fff::/20", "an example network"),
        ("192.88.99.0/24", "a relay"),
        ("198.18.0.0/15", "a benchmark network"),
        ("64:ff9b::/96", "a translated address"),
        ("64:ff9b:1::/48", "a translated address"),
        ("2002::/16", "a tunnelled address"),
        ("2001::/32", "a tunnelled address"),
        ("::/96", "a tunnelled address"),
        ("5f00::/16", "a reserved network"),
        ("224.0.0.0/4", "a multicast group"),
        ("ff00::/8", "a multicast group"),
        ("240.0.0.0/4", "a reserved network"),
    )
)

# Where clouds hand out their machines' credentials. No administrator can allow these.
_METADATA: frozenset[Address] = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.169.253",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::253",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)

_NAT64 = (ip_network("64:ff9b::/96"), ip_network("::/96"))
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.ASCII)
_INTERNAL = (".internal", ".local", ".localhost", ".localdomain", ".home.arpa")


@dataclass(frozen=True, slots=True)
class Judged:
    """A host whose addresses have all passed: connect to these, under this name."""

    host: str
    addresses: tuple[str, ...]
    is_public: bool


def refusal(address: str | Address, networks: Sequence[Network] = ()) -> str | None:
    """Why this address may not be reached, as the end of "it is ..."; None if it may.

    `networks` are the private ranges that an administrator allowed.
    """
    real = _unwrapped(ip_address(address) if isinstance(address, str) else address)
    if real in _METADATA or _carried(real) in _METADATA:
        return "a cloud's metadata service, which is never allowed"
    if any(real.version == network.version and real in network for network in networks):
        return None
    for network, why in _SPECIAL:
        if real.version == network.version and real in network:
            return why
    return None if real.is_global and not real.is_multicast else "a reserved network"


def clean_host(host: str) -> str:
    """The host as it is asked for: lower case, without the final dot, international names in ASCII.

    Raises OptionsError for what is no host name, or an address written so that programs disagree on it.
    """
    name = unicodedata.normalize("NFKC", host).lower().removesuffix(".")
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    try:
        address = ip_address(name)
    except ValueError:
        pass
    else:
        return _no_host(host) if "%" in name else str(address)  # a zone is a matter of this machine
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            _no_host(host)
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        _no_host(host)
    if _NUMERIC.fullmatch(labels[-1]):
        _no_host(host)  # 0x7f.1, 2130706433, 127.1: resolvers read these as addresses
    return name


def judge(host: str, port: int, networks: Sequence[Network] = (), resolve: Resolve | None = None) -> Judged:
    """Resolve a host once and judge every answer.

    Raises OptionsError when one of them may not be reached, Unavailable when there is no answer.
    """
    name = clean_host(host)
    answers = tuple(dict.fromkeys((resolve or lookup)(name, port)))
    if not answers:
        raise Unavailable(f"The name '{name}' has no address. Check the spelling of the host.")
    is_public = True
    for answer in answers:
        why = refusal(answer, networks)
        if why is not None:
            raise OptionsError(
                f"'{name}' may not be reached: its address is {why}."
                + (
                    " An administrator can allow its range in ALLOWED_NETWORKS." if "never" not in why else ""
                ),
                code="address",
            )
        is_public = is_public and refusal(answer) is None
    if is_public and _is_internal(name):
        # A short name may mean another machine on each network that it is asked from.
        raise OptionsError(f"'{name}' is not a full host name. Write it with its domain.", code="address")
    return Judged(name, answers, is_public)


def lookup(host: str, port: int) -> list[str]:
    """All addresses of a host. Raises Unavailable when the resolver has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unavailable(
            f"The name '{host}' cannot be resolved: {error.strerror}. Check the spelling of the host."
        ) from error
    return [str(entry[4][0]) for entry in found]


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _carried(address: Address) -> Address | None:
    """The IPv4 address inside a translated or tunnelled one."""
    if isinstance(address, IPv4Address):
        return None
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour or (address.teredo[1] if address.teredo else None)


def _is_internal(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(_INTERNAL)
    return False


def _no_host(host: str) -> NoReturn:
    shown = "".join(sign if sign.isprintable() else "?" for sign in host[:60])
    raise OptionsError(
        f"'{shown}' is not a host name or a plain IP address. Correct the host.", code="address"
    )
