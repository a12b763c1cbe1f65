"""What must never pass on OVN, with real guests: what security groups refuse, whatever ends or moves; what one tenant says
to another; and an answer under an address whose guest is gone."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cloud import wait_until
from lab import guests
from net import Capture, Outside, Pings, Tenant, answers, host_key, ovn_lab, tap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")


@pytest.fixture(scope="module")
def lab(tmp_path_factory, key):
    with ovn_lab(tmp_path_factory.mktemp("guard") / "data", key, hosts=2) as lab:
        yield lab


@pytest.fixture(scope="module")
def red(lab):
    """A tenant with two guests on two hosts; the first has a floating IP."""
    tenant = Tenant(lab, "red")
    tenant.one = tenant.server("one", host="host-1").float()
    tenant.two = tenant.server("two", host="host-2")
    tenant.one.ready().wait_ssh()
    tenant.two.ready()
    return tenant


def test_what_is_refused_stays_so_from_the_first_packet_through_every_end_and_a_move(lab, red):
    closed = red.make("security-groups", "security_group", name="closed")["id"]
    port = red.make("ports", "port", network_id=red.network, security_groups=[closed])
    address = port["fixed_ips"][0]["ip_address"]
    floating = red.make("floatingips", "floatingip", floating_network_id=lab.external, port_id=port["id"])
    outside = Pings(floating["floating_ip_address"], every_s=0.05)
    outside.start()
    # From within the network as well, and from before the guest is there.
    red.one.ssh(f"(ping -i 0.05 -W 1 {address} >/tmp/refused 2>&1 &)")
    guest = red.server("closed", host="host-2", port=port["id"]).ready()
    for name in ("ovn-northd", "ovsdb-nb", "ovsdb-sb", "host-2/ovn-controller", "host-2/ovsdb-server", "host-2/ovs-vswitchd"):
        lab.kill_daemon(name)
        outside.wait_for_more(40)
    for name in ("host-2", "control-plane"):
        lab.kill(name)
        lab.restart()
    lab.act(guest.id, "os-migrateLive", {"host": "host-1", "block_migration": True, "disk_over_commit": False})
    wait_until("it has moved", lambda: lab.host_of(guest.id) == "host-1")
    lab.wait_status(guest.id, "ACTIVE")
    for name in ("host-1/ovn-controller", "host-1/ovs-vswitchd"):
        lab.kill_daemon(name)
        outside.wait_for_more(40)
    red.one.wait_ssh()
    # The same pings are answered once a rule lets them in: they did reach the guest's door all the time.
    assert not outside.answered
    assert "bytes from" not in red.one.ssh("cat /tmp/refused")
    red.rule(group=closed, protocol="icmp")
    wait_until("both are let in", lambda: outside.answered and "bytes from" in red.one.ssh("cat /tmp/refused"))
    outside.end()
    red.one.ssh("killall ping", ok=False)
    lab.delete(guest.id)
    lab.wait_gone(guest.id)


def test_a_stateless_group_knows_no_answers(lab, red):
    group = red.make("security-groups", "security_group", name="stateless", stateful=False)["id"]
    red.rule(group=group, protocol="tcp", port_range_min=22, port_range_max=22)
    outside = Outside(lab.outside)
    guest = red.server("stateless", group=group, host="host-2").float().ready().wait_ssh()
    asks = lambda who: who.ssh(f"timeout 3 wget -q -O - {outside.url}", ok=False).stdout.strip() == "outside"
    try:
        assert asks(red.one), "a group that keeps state lets answers in"
        assert not asks(guest), "this one does not"
        assert red.one.pings(guest.address) == 0
        rule = red.rule(group=group, protocol="tcp", remote_ip_prefix=f"{lab.outside}/32")["id"]
        wait_until("answers are let in by a rule of their own", lambda: asks(guest))
        lab.request("DELETE", f"/network/v2.0/security-group-rules/{rule}")
        wait_until("and by nothing else", lambda: not asks(guest))
    finally:
        outside.close()
    lab.delete(guest.id)
    lab.wait_gone(guest.id)


def test_what_a_guest_says_to_all_stays_in_its_network(lab, red):
    blue = Tenant(lab, "blue")
    neighbour = blue.server("neighbour", host="host-1").ready()
    with Capture(lab, "host-1", tap(neighbour.port)) as there, Capture(lab, "host-2", tap(red.two.port)) as here:
        red.one.root("arping -c 2 -U -I eth0 10.50.0.99; arping -c 2 -I eth0 10.50.0.98", ok=False)
        red.one.root(f"arping -c 2 -U -I eth0 {red.one.address}", ok=False)
        red.one.ssh("ping -c 2 -W 1 10.50.0.255", ok=False)
        red.one.root("udhcpc -n -q -t 2 -T 1 -i eth0 -s /bin/true")
    mac = bytes.fromhex(red.one.port["mac_address"].replace(":", ""))
    # The sender of an ARP packet stands in it, too.
    of_red = lambda frames: [frame for frame in frames if mac in frame]
    assert any(frame[:6] == b"\xff" * 6 and frame[12:14] == b"\x08\x06" for frame in of_red(here.frames)), "nobody broadcast"
    assert of_red(there.frames) == []
    # What it asks DHCP is heard by nobody, not even in its own network.
    dhcp = lambda frames: [f for f in frames if f[12:14] == b"\x08\x00" and f[23] == 17 and f[34:38] == b"\0\x44\0\x43"]
    assert dhcp(here.frames) == []
    lab.delete(neighbour.id)
    lab.wait_gone(neighbour.id)


# Answers ssh on all addresses of where it is started.
LISTENER = "import socket; s = socket.create_server(('', 22)); print('ready', flush=True)\nwhile True: s.accept()"


def test_a_floating_ip_whose_host_is_gone_is_answered_by_nobody(lab, red):
    guest = red.server("dark", host="host-2").float().ready().wait_ssh()
    assert answers(guest.floating)
    # The host itself serves ssh, and so does its neighbour, on all the addresses they have.
    listeners = [subprocess.Popen(lab.within(host, sys.executable, "-c", LISTENER), stdout=subprocess.PIPE, text=True)
                 for host in ("host-1", "host-2")]
    try:
        for listener in listeners:
            assert listener.stdout.readline().strip() == "ready"
        key = host_key(guest.floating)
        assert key, "it is the guest that answers, with its own key"
        # The host loses its power: first the agent, which would start the others again.
        lab.kill("host-2")
        for daemon in ("ovs-vswitchd", "ovn-controller", "ovsdb-server"):
            os.kill(int(lab.daemon(f"host-2/{daemon}").read_text()), signal.SIGKILL)
        for pid, (_, host, _) in guests(lab.data).items():
            if host == "host-2":
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 15
        while time.monotonic() < end:
            assert not answers(guest.floating), "somebody answers for a guest that is gone"
        lab.restart()
        lab.wait_status(guest.id, "ERROR")
        assert not answers(guest.floating)
        lab.act(guest.id, "os-start")
        lab.wait_status(guest.id, "ACTIVE")
        wait_until("the same guest answers again", lambda: host_key(guest.floating) == key)
    finally:
        for listener in listeners:
            listener.kill()
        lab.restart()
