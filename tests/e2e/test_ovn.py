"""Real guests on OVN, on the three hosts of a lab: who reaches whom, who does not, and what goes on while what is killed."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest

from cloud import wait_until
from lab import left_here
from net import Capture, Outside, Pings, Tenant, answers, host_key, ovn_lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")


@pytest.fixture(scope="module")
def lab(tmp_path_factory, key):
    with ovn_lab(tmp_path_factory.mktemp("ovn") / "data", key) as lab:
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


@pytest.fixture(scope="module")
def blue(lab, red):
    """Another tenant with the same range."""
    tenant = Tenant(lab, "blue")
    tenant.one = tenant.server("one", host="host-1").float().ready().wait_ssh()
    return tenant


def test_a_guest_is_reached_under_its_floating_ip_and_goes_out_under_it(lab, red):
    assert red.one.ssh("hostname") == "one"
    assert red.one.address in red.one.ssh("ip -4 address show dev eth0")
    outside = Outside(lab.outside)
    try:
        assert red.one.ssh(f"timeout 5 wget -q -O - {outside.url}") == "outside"
        assert set(outside.seen) == {red.one.floating}
    finally:
        outside.close()
    # More than one packet's worth, both ways: sizes and checksums are right all the way.
    done = red.one.ssh("head -c 3000000 /dev/zero | md5sum; head -c 2000000 /dev/zero")
    assert len(done) > 2_000_000


def test_guests_of_a_network_meet_across_hosts(lab, red):
    assert lab.host_of(red.one.id) == "host-1" and lab.host_of(red.two.id) == "host-2"
    assert red.one.pings(red.two.address, 5) == 5
    assert red.one.connects(red.two.address, 22) == "open"


def test_a_guest_without_a_floating_ip_goes_out_under_its_routers_address(lab, red):
    outside = Outside(lab.outside)
    try:
        forward = red.make("floatingips", "floatingip", floating_network_id=lab.external)
        red.make(f"floatingips/{forward['id']}/port_forwardings", "port_forwarding", protocol="tcp", external_port=2222,
                 internal_port=22, internal_port_id=red.two.port["id"], internal_ip_address=red.two.address)
        where = {"address": forward["floating_ip_address"], "port": 2222}
        red.two.wait_ssh(**where)
        assert red.two.ssh("hostname", **where) == "two"
        assert red.two.ssh(f"timeout 5 wget -q -O - {outside.url}", **where) == "outside"
        router = lab.get(f"/network/v2.0/routers/{red.router}")["router"]["external_gateway_info"]
        assert set(outside.seen) == {router["external_fixed_ips"][0]["ip_address"]}
        assert not answers(forward["floating_ip_address"], 22), "nothing else of it is forwarded"
        # Guests of the router's own networks are led there as well, the forwarded one itself among them.
        assert red.one.connects(forward["floating_ip_address"], 2222) == "open"
        asked = red.two.ssh(f"timeout 3 nc {forward['floating_ip_address']} 2222 </dev/null | head -c 4", ok=False, **where)
        assert asked.stdout == "SSH-", asked
    finally:
        outside.close()


def test_tenants_with_one_range_never_meet(red, blue):
    assert red.one.address == blue.one.address
    assert red.one.ssh("cat /etc/hostname; hostname") and blue.one.ssh("hostname") == "one"
    assert host_key(red.one.floating) != host_key(blue.one.floating) != ""
    # Red's second guest is on no network of blue's: the same address is nobody there.
    assert red.one.pings(red.two.address) == 1
    assert blue.one.pings(red.two.address) == 0
    arps = "timeout 3 arping -c 2 -I eth0 %s 2>&1 | grep -c 'Unicast reply\\|reply from' || true"
    assert blue.one.ssh("su -c \"" + arps % red.two.address + "\"") in ("0", "")


def test_floating_ips_on_two_hosts_reach_each_other(red):
    two = red.server("far", host="host-2").float().ready().wait_ssh()
    try:
        assert red.one.connects(two.floating, 22) == "open"
        assert two.connects(red.one.floating, 22) == "open"
    finally:
        red.lab.delete(two.id)
        red.lab.wait_gone(two.id)


def test_metadata_tells_each_guest_of_itself_and_believes_no_header(lab, red, blue):
    for guest in (red.one, blue.one):
        assert f'"uuid":"{guest.id}"' in guest.metadata("/openstack/latest/meta_data.json")
        assert guest.metadata("/latest/meta-data/instance-id") == guest.id
        assert guest.metadata("/latest/meta-data/local-ipv4") == guest.address
        assert guest.metadata("/latest/meta-data/public-hostname") == guest.metadata("/latest/meta-data/hostname")
    assert red.one.metadata("/latest/meta-data/public-ipv4") == red.one.floating
    lies = [f"--header='{name}: {value}'" for name, value in [
        ("X-Forwarded-For", red.two.address), ("X-Instance-ID", red.two.id), ("X-Neutron-Network-ID", red.network)]]
    assert f'"uuid":"{blue.one.id}"' in blue.one.metadata("/openstack/latest/meta_data.json", *lies)
    assert "ssh-ed25519" in red.one.metadata("/latest/meta-data/public-keys/0/openssh-key")
    # What its owner changes, it is told while it runs.
    lab.request("PUT", f"/compute/v2.1/servers/{red.one.id}", json={"server": {"name": "renamed"}})
    wait_until("it is told", lambda: '"name":"renamed"' in red.one.metadata("/openstack/latest/meta_data.json"))
    lab.request("PUT", f"/compute/v2.1/servers/{red.one.id}", json={"server": {"name": "one"}})
    listing = red.one.metadata("/openstack")
    assert "2018-08-27" in listing and "latest" in listing


def test_a_password_that_a_guest_posts_reaches_its_owner(lab, red, blue):
    guest = red.one
    shown = lambda token=None: lab.request("GET", path, token=token or red.token)
    path = f"/compute/v2.1/servers/{guest.id}/os-server-password"
    post = lambda text: guest.ssh("timeout 8 wget -q -O - --post-data='%s' http://169.254.169.254/openstack/latest/password" % text,
                                  ok=False).returncode
    assert shown().json() == {"password": ""}
    assert post("c2VjcmV0") == 0
    assert post("another") != 0, "it is set once"
    assert shown().json() == {"password": "c2VjcmV0"}
    assert shown(blue.token).status_code == 404
    wait_until("the guest is told, too", lambda: guest.metadata("/openstack/latest/password") == "c2VjcmV0")
    assert lab.request("DELETE", path, token=blue.token).status_code == 404
    assert lab.request("DELETE", path, token=red.token).status_code == 204
    assert shown().json() == {"password": ""}
    wait_until("another can be posted", lambda: post("another") == 0)


def test_a_guest_reaches_nothing_of_the_hosts(lab, red):
    hosts = lab.outside.replace("10.197.", "10.199.")
    # OVN's database for hosts, the agents' listener, an agent.
    for address, port in ((hosts, 6642), (hosts, 9171), (hosts[:-1] + "11", 9172)):
        assert red.one.connects(address, port) == "silent", (address, port)


def test_security_groups_let_through_what_their_rules_say_and_nothing_else(lab, red):
    closed = red.make("security-groups", "security_group", name="closed")["id"]
    friends = red.make("security-groups", "security_group", name="friends")["id"]
    target = red.server("target", group=closed, host="host-3").ready()
    # From the first packet on, nothing comes in.
    assert red.one.pings(target.address) == 0 and red.one.connects(target.address, 22) == "silent"

    def allowed(rule, check):
        made = red.rule(group=closed, **rule)
        wait_until(f"{rule} lets it through", check)
        lab.request("DELETE", f"/network/v2.0/security-group-rules/{made['id']}")
        wait_until(f"without {rule} it is refused", lambda: not check())

    opens = lambda port: lambda: red.one.connects(target.address, port) == "open"
    refuses = lambda port: lambda: red.one.connects(target.address, port) == "refused"
    allowed({"protocol": "icmp"}, lambda: red.one.pings(target.address) == 1)
    allowed({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}, opens(22))
    allowed({"protocol": "tcp", "port_range_min": 80, "port_range_max": 90}, refuses(81))
    allowed({"protocol": "tcp", "remote_ip_prefix": f"{red.one.address}/32"}, opens(22))
    addresses = red.make("address-groups", "address_group", name="one", addresses=[f"{red.one.address}/32"])["id"]
    allowed({"protocol": "tcp", "remote_address_group_id": addresses}, opens(22))
    red.rule(group=closed, protocol="tcp", remote_group_id=friends)
    assert red.one.connects(target.address, 22) == "silent"
    lab.request("PUT", f"/network/v2.0/ports/{red.one.port['id']}",
                json={"port": {"security_groups": [red.group, friends]}})
    wait_until("a member of the remote group is let through", opens(22))
    lab.request("PUT", f"/network/v2.0/ports/{red.one.port['id']}", json={"port": {"security_groups": [red.group]}})
    lab.delete(target.id)
    lab.wait_gone(target.id)


def test_a_guest_cannot_pass_for_another(lab, red):
    root = lambda command: red.one.ssh(f"su -c '{command}'", ok=False)
    # Another's address beside its own: what it sends under that goes nowhere.
    root("ip address add 10.50.0.77/24 dev eth0")
    done = red.one.ssh(f"ping -c 2 -W 1 -I 10.50.0.77 {red.two.address}", ok=False)
    assert " 0 packets received" in done.stdout, done.stdout
    # Nor does anybody learn that it has it.
    root("arping -c 2 -U -I eth0 10.50.0.77")
    root("ip address del 10.50.0.77/24 dev eth0")
    # Another Ethernet address silences it, until it has its own again.
    mac = red.one.port["mac_address"]
    script = (f"ip link set eth0 address fa:16:3e:de:ad:01; ping -c 2 -W 1 {red.two.address} >/tmp/spoofed 2>&1; "
              f"ip link set eth0 address {mac}; ip route add default via 10.50.0.1; sleep 1")
    red.one.ssh(f"su -c '({script}) >/dev/null 2>&1 &' ", ok=False)
    red.one.wait_ssh()
    wait_until("it has tried", lambda: "packets received" in red.one.ssh("cat /tmp/spoofed", ok=False).stdout)
    assert " 0 packets received" in red.one.ssh("cat /tmp/spoofed")


def test_a_floating_ip_goes_dark_with_its_instance(lab, red):
    guest = red.server("gone", host="host-3").float().ready().wait_ssh()
    key = host_key(guest.floating)
    assert key and key not in [host_key(red.one.floating), host_key("127.0.0.1")]
    lab.act(guest.id, "os-stop")
    lab.wait_status(guest.id, "SHUTOFF")
    assert not answers(guest.floating), "a stopped instance answers nobody"
    lab.act(guest.id, "os-start")
    lab.wait_status(guest.id, "ACTIVE")
    wait_until("the same guest answers again", lambda: host_key(guest.floating) == key)
    lab.delete(guest.id)
    lab.wait_gone(guest.id)
    assert not answers(guest.floating), "nobody has the address now"


def test_a_guest_that_moves_keeps_its_connections(lab, red, measured):
    guest = red.server("mover", host="host-2").float().ready()
    red.one.ssh(f"(ping -i 0.05 -c 1200 -W 1 {guest.address} >/tmp/moving 2>&1 &)")
    with Capture(lab, "host-3", "ext0") as new_home:
        lab.act(guest.id, "os-migrateLive", {"host": "host-3", "block_migration": True, "disk_over_commit": False})
        wait_until("it has moved", lambda: lab.host_of(guest.id) == "host-3")
        lab.wait_status(guest.id, "ACTIVE")
        # OVN announces a floating IP once a second, from the next second on; the host does not wait for that.
        own = socket.inet_aton(guest.floating)
        announced = lambda: [f for f in new_home.frames if f[12:14] == b"\x08\x06" and f[28:32] == f[38:42] == own]
        wait_until("the floating IP is announced more than three times", lambda: len(announced()) > 3, deadline_s=2.5)
    red.one.ssh("killall -INT ping", ok=False)
    said = wait_until("ping has counted", lambda: re.search(r"(\d+) packets transmitted, (\d+) packets received",
                                                            red.one.ssh("cat /tmp/moving")))
    sent, got = map(int, said.groups())
    measured(f"{sent} pings, one each 50 ms, {sent - got} lost in a live migration")
    assert sent - got < 40
    assert red.one.pings(guest.address, 3) == 3
    lab.delete(guest.id)


DAEMONS = ["ovn-northd", "ovsdb-nb", "ovsdb-sb", "host-1/ovn-controller", "host-1/ovsdb-server", "host-1/ovs-vswitchd"]


def test_the_gateway_stays_while_its_switch_does_and_is_taken_over_when_its_host_is_gone(lab, red, measured):
    """What goes by the router's own address goes on, whatever becomes of the gateway's host."""
    outside = Outside(lab.outside)
    southbound = lambda *words: subprocess.run(
        ["ovn-sbctl", f"--db=unix:{lab.data}/ovn/sb.sock", "--bare", *words], capture_output=True, text=True, check=True).stdout
    def gateway():
        leg = lab.get(f"/network/v2.0/ports?device_id={red.router}&device_owner=network:router_gateway")["ports"][0]["id"]
        chassis = southbound("--columns=chassis", "find", "Port_Binding", f"logical_port=cr-leg-{leg}").strip()
        return southbound("--columns=name", "list", "Chassis", chassis).strip() if chassis else None
    try:
        first = wait_until("the router has a gateway", gateway)
        ask = f"timeout 3 wget -q -O - {outside.url}"
        two = red.server("third", host=next(h for h in ("host-2", "host-3") if h != first)).ready()
        forward = red.make("floatingips", "floatingip", floating_network_id=lab.external)
        red.make(f"floatingips/{forward['id']}/port_forwardings", "port_forwarding", protocol="tcp", external_port=2200,
                 internal_port=22, internal_port_id=two.port["id"], internal_ip_address=two.address)
        where = {"address": forward["floating_ip_address"], "port": 2200}
        two.wait_ssh(**where)
        router = lab.get(f"/network/v2.0/routers/{red.router}")["router"]["external_gateway_info"]
        pings = Pings(router["external_fixed_ips"][0]["ip_address"], every_s=0.05)
        pings.start()
        # Without its controller the host forwards on. First the agent, which would start it again.
        lab.kill(first)
        kill = lambda daemon: os.kill(int(lab.daemon(f"{first}/{daemon}").read_text()), signal.SIGKILL)
        kill("ovn-controller")
        for _ in range(10):
            time.sleep(1)
            assert two.ssh(ask, **where) == "outside", "new connections, too"
        lost, _ = pings.end()
        measured(f"the gateway's ovn-controller was away for 10 s: {lost} of {len(pings.sent)} pings lost")
        assert gateway() == first and len(pings.answered) > len(pings.sent) * 0.9
        # Then the host loses its power.
        kill("ovs-vswitchd")
        kill("ovsdb-server")
        began = time.monotonic()
        second = wait_until("another host is the gateway", lambda: (gateway() not in (None, first)) and gateway())
        wait_until("the guest is reached, and goes out, by the other host",
                   lambda: two.ssh(ask, ok=False, **where).stdout.strip() == "outside")
        measured(f"the gateway went from {first} to {second} within {time.monotonic() - began:.1f} s")
        lab.restart()
        two.wait_ssh(**where)
        wait_until("all hosts are back", lambda: red.one.pings(red.two.address, 10) == 10)
        lab.delete(two.id)
    finally:
        outside.close()
        lab.restart()


def test_the_network_outlives_each_daemon(lab, red, measured):
    measured("killed                   | longest silence of a ping each 50 ms")
    for name in [*DAEMONS, "host-1", "control-plane"]:
        red.one.ssh(f"(ping -i 0.05 -c 160 -W 1 {red.two.address} >/tmp/outlive 2>&1 &)")
        if name in ("host-1", "control-plane"):
            lab.kill(name)
            time.sleep(1)
            lab.restart()
        else:
            lab.kill_daemon(name)
        wait_until("ping has ended", lambda: "packets received" in red.one.ssh("cat /tmp/outlive", ok=False).stdout)
        seen = sorted(int(n) for n in re.findall(r"seq=(\d+)", red.one.ssh("cat /tmp/outlive")))
        gaps = [b - a for a, b in zip([-1, *seen], [*seen, 160])]
        measured(f"{name:24} | {50 * (max(gaps) - 1):5} ms")
        assert max(gaps) < 120, f"{name}: {gaps}"
        red.one.wait_ssh()
    # Metadata, too, is answered again by whoever was started anew.
    wait_until("metadata is answered", lambda: red.one.id in red.one.ssh(
        "timeout 5 wget -q -O - http://169.254.169.254/latest/meta-data/instance-id", ok=False).stdout)


def test_guests_have_all_they_need_while_the_control_plane_is_away(lab, red):
    lab.kill("control-plane")
    try:
        assert red.one.metadata("/latest/meta-data/instance-id") == red.one.id
        assert red.one.pings(red.two.address, 3) == 3
        renewed = red.one.ssh("su -c 'udhcpc -n -q -t 5 -T 1 -i eth0 -s /bin/true' 2>&1", ok=False)
        assert f"lease of {red.one.address} obtained" in renewed.stdout, renewed.stdout
    finally:
        lab.restart()


def test_ipv6_addresses_come_from_the_router_and_reach_across_hosts(lab):
    six = Tenant(lab, "six", cidr="10.66.0.0/24")
    subnet = six.make("subnets", "subnet", network_id=six.network, ip_version=6, cidr="fd00:66::/64",
                      ipv6_ra_mode="slaac", ipv6_address_mode="slaac")["id"]
    six.plug_router(subnet)
    for protocol in ("ipv6-icmp", "tcp"):
        six.rule(protocol=protocol, ethertype="IPv6")
    one, two = six.server("six-one", host="host-1").float(), six.server("six-two", host="host-2")
    one.ready().wait_ssh()
    two.ready()
    own = lambda guest: next(ip["ip_address"] for ip in guest.port["fixed_ips"] if ":" in ip["ip_address"])
    wait_until("the guest has the address of its port", lambda: own(one) in one.ssh("ip -6 address show dev eth0"))
    wait_until("they meet across hosts", lambda: " 0% packet loss" in one.ssh(f"ping -c 2 -W 1 {own(two)}", ok=False).stdout)
    ask = r"printf 'GET /latest/meta-data/instance-id HTTP/1.0\r\n\r\n' | timeout 5 nc fe80::a9fe:a9fe%eth0 80"
    wait_until("metadata is answered", lambda: one.id in one.ssh(ask, ok=False).stdout)


def test_no_host_wanted_more_of_the_southbound_database_than_it_may(lab):
    for name in ("host-1", "host-2", "host-3"):
        log = (lab.data / "hosts" / name / "ovs/ovn-controller.log").read_text()
        assert "connected" in log and "permission error" not in log, [x for x in log.splitlines() if "permission" in x][:3]


def test_a_lab_on_ovn_leaves_nothing_behind(tmp_path, key):
    # What belongs to hosts' switches, and to no lab's own wires.
    of_hosts = lambda: left_here(("br-", "ovs-", "tap", "lenticular-", "lns-"))
    # A device of this machine's own, which is called as one is in each of the lab's hosts.
    subprocess.run(["ip", "link", "add", "br-underlay", "type", "bridge"], check=True)
    try:
        before = of_hosts()
        with ovn_lab(tmp_path / "data", key, hosts=2) as lab:
            tenant = Tenant(lab, "tenant")
            tenant.server("one").ready()
            mark = lab.mark()
            assert len(left_here(mark)) == 10, "two bridges, and for each host three devices and a namespace"
        assert "br-underlay" in before and of_hosts() == before
        assert left_here(mark) == []
    finally:
        subprocess.run(["ip", "link", "delete", "br-underlay"])
    assert not (tmp_path / "data").exists()
