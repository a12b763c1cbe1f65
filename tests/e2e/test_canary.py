"""Canaries: small guests with which the hosts of a lab prove what they do for servers, and name what is broken."""

import json
import os
import signal
import subprocess
import threading

import pytest

from cloud import wait_until
from lab import Lab, guests

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

HOSTS = ("host-1", "host-2", "host-3")


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "data")
    try:
        yield lab.start("--network", "ovn")
    finally:
        lab.down()


def show(lab, host):
    return json.loads(lab.lenticular("host", "show", host, "--json"))


def found(lab, host):
    return {name: trouble for name, trouble, _ in show(lab, host)["checks"]}


def flows(lab, host, command, flow):
    bridge = f"unix:{lab.data}/hosts/{host}/ovs/br-int.mgmt"
    subprocess.run(["ovs-ofctl", command, bridge, flow], check=True)


def nothing_is_left(lab):
    assert guests(lab.data) == {}
    for host in HOSTS:
        assert list((lab.data / "hosts" / host).glob("guests/*")) == [], host
        assert list((lab.data / "hosts" / host).glob("disks/*")) == [], host
        ports = subprocess.run(["ovs-vsctl", f"--db=unix:{lab.data}/hosts/{host}/ovs/db.sock", "list-ports", "br-int"],
                               capture_output=True, text=True, check=True).stdout.split()
        assert [port for port in ports if port.startswith("tap")] == [], host


def test_a_canary_names_what_is_broken_and_leaves_nothing(lab):
    wait_until("all hosts are probed", lambda: all({"bridge", "tunnels"} <= found(lab, host).keys() for host in HOSTS),
               deadline_s=90)
    code = {}

    def run(host):
        code[host] = lab.lenticular("host", "canary", host, "--wait", ok=False)

    # The first host's guests do not get their metadata. The third reaches no other host.
    flows(lab, "host-1", "add-flow", "priority=65535,ip,nw_dst=169.254.169.254,actions=drop")
    subprocess.run(["nft", "add", "table", "netdev", lab.mark()], check=True)
    hook = f"{{ type filter hook ingress device {lab.mark()}u3 priority 0; }}"
    subprocess.run(["nft", f"add chain netdev {lab.mark()} in {hook}"], check=True)
    subprocess.run(["nft", f"add rule netdev {lab.mark()} in udp dport 6081 drop"], check=True)
    try:
        running = [threading.Thread(target=run, args=(host,)) for host in HOSTS]
        for thread in running:
            thread.start()
        # The agent of the second host dies in the middle of it.
        wait_until("the canary of host-2 runs", lambda: [1 for _, host, _ in guests(lab.data).values() if host == "host-2"],
                   deadline_s=60)
        lab.kill("host-2")
        lab.restart()
        for thread in running:
            thread.join(timeout=300)
    finally:
        subprocess.run(["nft", "delete", "table", "netdev", lab.mark()], check=True)
        flows(lab, "host-1", "del-flows", "ip,nw_dst=169.254.169.254")
    assert {host: status for host, (status, _) in code.items()} == {"host-1": 2, "host-2": 0, "host-3": 2}, code
    assert found(lab, "host-1")["canary"] == "step 'metadata' was not done after 60 s"
    assert found(lab, "host-2")["canary"] is None
    assert found(lab, "host-3")["canary"] == "step 'other host' was not done after 60 s"
    nothing_is_left(lab)

    # It is no server, for nobody.
    assert lab.get("/compute/v2.1/servers?all_tenants=1")["servers"] == []
    assert lab.get("/compute/v2.1/os-simple-tenant-usage")["tenant_usages"] == []

    # Whoever is to take servers must have passed.
    lab.lenticular("rule", "add", "require", "check:canary", "--reason", "see the runbook", "--yes-close")
    assert show(lab, "host-1")["state"] == "not ready" and "step 'metadata'" in show(lab, "host-1")["reason"]
    assert show(lab, "host-2")["state"] == "up"
    lab.lenticular("host", "canary", "host-1", "--wait")
    assert show(lab, "host-1")["state"] == "up"
    nothing_is_left(lab)

    # A guest that dies is told as what it is.
    last = threading.Thread(target=run, args=("host-2",))
    last.start()
    (qemu,) = wait_until("the canary runs", lambda: list(guests(lab.data)), deadline_s=60)
    os.kill(qemu, signal.SIGKILL)
    last.join(timeout=120)
    assert code["host-2"][0] == 2 and "the guest's process has ended" in code["host-2"][1], code
    nothing_is_left(lab)
