"""What a real guest sees of its ports' own settings on OVN: limits, marks, trunks, DHCP options, addresses of pairs,
interfaces that come and go."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

import dhcp6
from cloud import wait_until
from net import Outside, Pings, Tenant, ovn_lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")


@pytest.fixture(scope="module")
def lab(tmp_path_factory, key):
    with ovn_lab(tmp_path_factory.mktemp("ports") / "data", key, hosts=2) as lab:
        yield lab


@pytest.fixture(scope="module")
def red(lab):
    """A tenant with two guests on two hosts; the first has a floating IP. Its subnet says more than it must, and the
    first guest's port still more."""
    tenant = Tenant(lab, "red")
    change(lab, "subnet", tenant.subnet, dns_nameservers=["192.0.2.53", "192.0.2.54"],
           host_routes=[{"destination": "198.51.100.0/24", "nexthop": "10.50.0.9"}])
    options = {"ntp-server": "192.0.2.123", "tftp-server": "boot.example.org", "bootfile-name": "pxe/red.0", "mtu": "1300"}
    port = tenant.make("ports", "port", network_id=tenant.network, security_groups=[tenant.group], extra_dhcp_opts=[
        {"opt_name": name, "opt_value": value} for name, value in options.items()])
    tenant.one = tenant.server("one", host="host-1", port=port["id"]).float()
    tenant.two = tenant.server("two", host="host-2")
    tenant.one.ready().wait_ssh()
    tenant.two.ready()
    return tenant


@pytest.fixture(scope="module")
def inner(red):
    """A second network of red's, with no router; red's second guest is on it, too."""
    network = red.make("networks", "network", name="inner")["id"]
    red.make("subnets", "subnet", network_id=network, cidr="10.51.0.0/24", ip_version=4)
    red.two.inner = attach(red.lab, red.two, network)
    return network


def change(lab, noun, which, **fields):
    answer = lab.request("PUT", f"/network/v2.0/{noun}s/{which}", json={noun: fields})
    assert answer.status_code == 200, answer.text
    return answer.json()[noun]


def attach(lab, guest, network):
    """Gives a running guest an interface; its port and address, once the guest has it."""
    port = guest.tenant.make("ports", "port", network_id=network, security_groups=[guest.tenant.group])
    lab.post(f"/compute/v2.1/servers/{guest.id}/os-interface", {"interfaceAttachment": {"port_id": port["id"]}})
    [ip] = port["fixed_ips"]
    lab.wait_console(guest.id, f"lenticular-guest: address {ip['ip_address']}")
    return {"port": port["id"], "address": ip["ip_address"]}


def test_a_guest_is_told_what_subnet_and_port_say(red):
    resolvers = red.one.ssh("cat /etc/resolv.conf")
    assert "nameserver 192.0.2.53\nnameserver 192.0.2.54" in resolvers
    assert "198.51.100.0/24 via 10.50.0.9 dev eth0" in red.one.ssh("ip route")
    assert "mtu 1300 " in red.one.ssh("ip link show dev eth0")
    red.one.ssh("printf '#!/bin/sh\\nenv > /tmp/lease.$1\\n' > /tmp/show; chmod 755 /tmp/show")
    red.one.root("udhcpc -n -q -t 5 -T 1 -i eth0 -O ntpsrv -O tftp -O bootfile -s /tmp/show")
    lease = dict(line.split("=", 1) for line in red.one.ssh("cat /tmp/lease.bound").splitlines() if "=" in line)
    assert lease["ip"] == red.one.address
    assert (lease["ntpsrv"], lease["tftp"], lease["bootfile"]) == ("192.0.2.123", "boot.example.org", "pxe/red.0")
    assert (lease["dns"], lease["mtu"]) == ("192.0.2.53 192.0.2.54", "1300")


def test_a_bandwidth_limit_holds_in_both_directions(lab, red):
    size, kbps = 750_000, 1000
    outside = Outside(lab.outside)

    def upload():
        began = time.monotonic()
        assert len(red.one.ssh(f"head -c {size} /dev/zero", timeout=100)) == size
        return time.monotonic() - began

    def download():
        began = time.monotonic()
        got = red.one.ssh(f"timeout 90 wget -q -O - {outside.url}{size} | wc -c", timeout=100)
        assert int(got) == size
        return time.monotonic() - began

    # What is let through at once is a tenth of a second's worth; no transfer can be quicker than the rest takes.
    least = size * 8 / 1000 / kbps * 0.9
    try:
        for direction, transfer in (("egress", upload), ("ingress", download)):
            assert transfer() < least, "the machine is too slow to show anything"
            # Only an operator makes policies.
            policy = lab.make("qos/policies", "policy", name=direction, shared=True)["id"]
            lab.make(f"qos/policies/{policy}/bandwidth_limit_rules", "bandwidth_limit_rule", max_kbps=kbps,
                     max_burst_kbps=100, direction=direction)
            change(lab, "port", red.one.port["id"], qos_policy_id=policy)
            wait_until(f"{direction} is limited", lambda: transfer() >= least)
            change(lab, "port", red.one.port["id"], qos_policy_id=None)
            wait_until(f"{direction} is not limited any more", lambda: transfer() < least)
    finally:
        outside.close()


def test_a_dscp_mark_is_seen_outside(lab, red):
    def marks():
        pings = Pings(red.one.floating, every_s=0.05)
        pings.start()
        wait_until("it is answered", lambda: len(pings.answered) > 3)
        pings.end()
        return pings.marks

    assert marks() == {0}
    policy = lab.make("qos/policies", "policy", name="marked", shared=True)["id"]
    lab.make(f"qos/policies/{policy}/dscp_marking_rules", "dscp_marking_rule", dscp_mark=26)
    change(lab, "port", red.one.port["id"], qos_policy_id=policy)
    wait_until("all packets are marked", lambda: marks() == {26})
    change(lab, "port", red.one.port["id"], qos_policy_id=None)
    wait_until("none is", lambda: marks() == {0})


def test_an_interface_that_comes_to_a_running_guest_carries_traffic_until_it_goes(lab, red, inner):
    assert "eth1" not in red.one.ssh("ls /sys/class/net")
    ours = attach(lab, red.one, inner)
    wait_until("they meet on the new interface", lambda: red.one.pings(red.two.inner["address"]) == 1)
    assert red.one.pings(red.two.inner["address"], 3, "-I eth1") == 3
    lab.request("DELETE", f"/compute/v2.1/servers/{red.one.id}/os-interface/{ours['port']}")
    wait_until("the interface is gone", lambda: "eth1" not in red.one.ssh("ls /sys/class/net"))
    assert red.one.pings(red.two.inner["address"]) == 0
    assert red.one.pings(red.two.address) == 1, "the other interface is not touched"


def test_a_trunk_carries_a_network_in_a_vlan_of_its_guest(lab, red, inner):
    parent = red.make("ports", "port", network_id=red.network, security_groups=[red.group])["id"]
    sub = red.make("ports", "port", network_id=inner, security_groups=[red.group])
    entry = {"port_id": sub["id"], "segmentation_type": "vlan", "segmentation_id": 5}
    trunk = red.make("trunks", "trunk", port_id=parent, sub_ports=[entry])["id"]
    guest = red.server("trunk", host="host-1", port=parent).float().ready().wait_ssh()
    guest.root("ip link add link eth0 name eth0.5 type vlan id 5")
    guest.root(f"ip link set eth0.5 address {sub['mac_address']} up")
    guest.root("udhcpc -n -q -t 8 -T 1 -i eth0.5 -s /lib/lenticular/dhcp")
    assert sub["fixed_ips"][0]["ip_address"] in guest.ssh("ip -4 address show dev eth0.5")
    assert guest.pings(red.two.inner["address"], 3) == 3
    active = lambda: lab.get(f"/network/v2.0/ports/{sub['id']}")["port"]["status"] == "ACTIVE"
    wait_until("the subport is active", active)
    answer = lab.request("PUT", f"/network/v2.0/trunks/{trunk}/remove_subports", json={"sub_ports": [{"port_id": sub["id"]}]})
    assert answer.status_code == 200, answer.text
    wait_until("without the subport the VLAN leads nowhere", lambda: guest.pings(red.two.inner["address"]) == 0)
    lab.request("PUT", f"/network/v2.0/trunks/{trunk}/add_subports", json={"sub_ports": [entry]})
    wait_until("a subport that comes to a running guest does", lambda: guest.pings(red.two.inner["address"]) == 1)
    move = {"os-migrateLive": {"host": "host-2", "block_migration": "auto"}}
    lab.post(f"/compute/v2.1/servers/{guest.id}/action", move, version="2.79")
    wait_until("the guest has moved", lambda: lab.server(guest.id)["OS-EXT-SRV-ATTR:host"] == "host-2")
    lab.wait_status(guest.id, "ACTIVE")
    wait_until("the subport is active", active)
    assert lab.get(f"/network/v2.0/ports/{sub['id']}")["port"]["binding:host_id"] == "host-2"
    wait_until("the subport has gone with its parent", lambda: guest.pings(red.two.inner["address"]) == 1)
    lab.delete(guest.id)
    lab.wait_gone(guest.id)


def test_addresses_of_a_pair_pass_and_others_do_not(lab, red):
    red.one.root("ip address add 10.50.0.200/32 dev eth0; ip address add 10.50.0.201/32 dev eth0")
    passes = lambda address: red.one.pings(red.two.address, options=f"-I {address}") == 1
    port = red.one.port["id"]
    assert not passes("10.50.0.200") and not passes("10.50.0.201")
    change(lab, "port", port, allowed_address_pairs=[{"ip_address": "10.50.0.200"}])
    wait_until("the pair's address passes", lambda: passes("10.50.0.200"))
    assert not passes("10.50.0.201")
    change(lab, "port", port, allowed_address_pairs=[])
    wait_until("without the pair it does not", lambda: not passes("10.50.0.200"))
    change(lab, "port", port, port_security_enabled=False, security_groups=[])
    wait_until("without port security any passes", lambda: passes("10.50.0.200") and passes("10.50.0.201"))
    change(lab, "port", port, port_security_enabled=True, security_groups=[red.group])
    wait_until("with it none does", lambda: not passes("10.50.0.200") and not passes("10.50.0.201"))
    assert passes(red.one.address)
    red.one.root("ip address del 10.50.0.200/32 dev eth0; ip address del 10.50.0.201/32 dev eth0")


@pytest.mark.parametrize("mode", ["dhcpv6-stateful", "dhcpv6-stateless"])
def test_dhcpv6_answers_as_its_subnet_says(lab, red, mode):
    """The test guest has no DHCPv6; a client of our own is plugged into a host's switch instead."""
    network = red.make("networks", "network", name=mode)["id"]
    subnet = red.make("subnets", "subnet", network_id=network, ip_version=6, cidr="fd00:77::/64", ipv6_ra_mode=mode,
                      ipv6_address_mode=mode, dns_nameservers=["2001:db8::53"])["id"]
    port = red.make("ports", "port", network_id=network, security_groups=[red.group])
    change(lab, "port", port["id"], **{"binding:host_id": "host-1"})
    with lab.plugged("host-1", port) as device:
        ask = lambda kind: json.loads(subprocess.run(
            lab.within("host-1", sys.executable, dhcp6.__file__, device, port["mac_address"], kind),
            capture_output=True, text=True, check=True).stdout)
        told = wait_until("it is told of resolvers", lambda: ask("information"))
        assert told["resolvers"] == ["2001:db8::53"] and not told["addresses"]
        own = [ip["ip_address"] for ip in port["fixed_ips"]]
        given = ask("address")
        if mode == "dhcpv6-stateful":
            assert given["addresses"] == own and given["resolvers"] == ["2001:db8::53"]
        else:
            assert given is None or given["addresses"] == []
    lab.request("DELETE", f"/network/v2.0/ports/{port['id']}")
    lab.request("DELETE", f"/network/v2.0/networks/{network}")
    assert lab.request("GET", f"/network/v2.0/subnets/{subnet}").status_code == 404
