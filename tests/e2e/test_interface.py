"""Interfaces that are attached to a running server and detached from it: a real guest sees them come and go."""

import pytest

from cloud import wait_until


@pytest.fixture
def server(real):
    server = real.create("plugged", real.image, network=real.net)
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, "lenticular-guest: ready")
    yield server
    real.delete(server)


def console_has(cloud, server, words):
    wait_until(f"the console says '{words}'", lambda: words in cloud.console(server))


def test_an_interface_comes_and_goes_while_the_guest_runs(real, server):
    other = real.network("other", "10.31.0.0/24")
    real.openstack("server", "add", "network", server, "other")
    [port] = real.get(f"/network/v2.0/ports?device_id={server}&network_id={other}")["ports"]
    address = port["fixed_ips"][0]["ip_address"]
    console_has(real, server, f"lenticular-guest: address {address}")
    shown = real.server(server)["addresses"]
    assert [a["addr"] for a in shown["other"]] == [address] and len(shown) == 2
    real.openstack("server", "remove", "port", server, port["id"])
    console_has(real, server, "lenticular-guest: interface eth1 is gone")
    assert list(real.server(server)["addresses"]) == ["net"]
    # Its place in the guest is free for another.
    real.openstack("server", "add", "fixed", "ip", server, "other")
    [port] = real.get(f"/network/v2.0/ports?device_id={server}&network_id={other}")["ports"]
    console_has(real, server, f"lenticular-guest: address {port['fixed_ips'][0]['ip_address']}")
    # It has it after a reboot, too.
    real.act(server, "reboot", {"type": "HARD"})
    real.wait_console(server, "lenticular-guest: ready", 2)
    console = real.console(server).rsplit("lenticular-guest: boot 2", 1)[1]
    assert f"lenticular-guest: address {port['fixed_ips'][0]['ip_address']}" in console, console


def test_a_server_has_so_many_places_and_no_more(real, server):
    net = real.network("many", "10.32.0.0/24")
    path = f"/compute/v2.1/servers/{server}/os-interface"
    for _ in range(7):
        real.post(path, {"interfaceAttachment": {"net_id": net}})
    answer = real.request("POST", path, json={"interfaceAttachment": {"net_id": net}})
    assert answer.status_code in (400, 409) and "8 interfaces" in answer.text, answer.text
    assert len(real.get(path)["interfaceAttachments"]) == 8
