"""Addresses: what leads back inside is not reached, however it is written."""

import socket

import pytest

from service.adapters.addresses import may_reach, networks

INSIDE = [
    "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "168.63.129.16", "224.0.0.1", "255.255.255.255", "192.0.2.1",
    "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1",
    "2002:7f00:1::", "2001::1", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_what_leads_inside_is_not_reached(address):
    assert not may_reach(address, (), is_secret=True)


@pytest.mark.parametrize("name", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost"])
def test_no_other_way_to_write_it_helps(name):
    found = {info[4][0] for info in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)}
    assert found
    assert not any(may_reach(address, (), is_secret=True) for address in found)


@pytest.mark.parametrize("address", ["1.1.1.1", "140.82.112.3", "2606:4700:4700::1111"])
def test_what_is_public_is_reached_over_tls_alone(address):
    assert may_reach(address, (), is_secret=True)
    assert not may_reach(address, (), is_secret=False)


def test_what_is_allowed_is_reached_and_its_neighbours_are_not():
    allowed = networks(["10.20.0.0/16", "::1"])
    assert may_reach("10.20.30.40", allowed, is_secret=False)
    assert may_reach("::ffff:10.20.30.40", allowed, is_secret=False)
    assert may_reach("::1", allowed, is_secret=False)
    assert not may_reach("10.21.0.1", allowed, is_secret=True)
