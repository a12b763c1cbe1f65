"""Canaries: small guests with which the hosts of a lab prove what they do for servers, and name what is broken."""

import os
import signal
import subprocess
import threading

import pytest

from cloud import wait_until
from lab import guests, has_ended

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

HOSTS = ("host-1", "host-2", "host-3")


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
        devices = subprocess.run(["ip", "-n", f"{lab.mark()}-{host}", "-br", "link"], capture_output=True, text=True, check=True)
        assert "tap" not in devices.stdout, devices.stdout


def test_a_canary_names_what_is_broken_and_leaves_nothing(probed_lab):
    lab, code = probed_lab, {}

    def run(host):
        code[host] = lab.lenticular("host", "canary", host, "--wait", ok=False)

    # The first host's guests do not get their metadata. The third reaches no other host.
    flows(lab, "host-1", "add-flow", "priority=65535,ip,nw_dst=169.254.169.254,actions=drop")
    with lab.cut_tunnels("host-3"):
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
    flows(lab, "host-1", "del-flows", "ip,nw_dst=169.254.169.254")
    assert {host: status for host, (status, _) in code.items()} == {"host-1": 2, "host-2": 0, "host-3": 2}, code
    assert lab.checks("host-1")["canary"][0] == "step 'metadata' was not done after 60 s"
    assert lab.checks("host-2")["canary"][0] is None
    assert lab.checks("host-3")["canary"][0] == "step 'other host' was not done after 60 s"
    nothing_is_left(lab)

    # It is no server, for nobody.
    assert lab.get("/compute/v2.1/servers?all_tenants=1")["servers"] == []
    assert lab.get("/compute/v2.1/os-simple-tenant-usage")["tenant_usages"] == []

    # With a rule, only hosts that have passed take servers.
    lab.lenticular("rule", "add", "require", "check:canary", "--reason", "see the runbook", "--yes-close")
    assert lab.show_host("host-1")["state"] == "not ready" and "step 'metadata'" in lab.show_host("host-1")["reason"]
    assert lab.show_host("host-2")["state"] == "up"
    lab.lenticular("host", "canary", "host-1", "--wait")
    assert lab.show_host("host-1")["state"] == "up"
    nothing_is_left(lab)

    # A guest that dies is told as what it is.
    log = lab.data / "host-2.log"
    built = log.read_text().count('"step":"build"')
    last = threading.Thread(target=run, args=("host-2",))
    last.start()
    wait_until("the canary is built", lambda: log.read_text().count('"step":"build"') > built, deadline_s=60)
    (qemu,) = guests(lab.data)
    os.kill(qemu, signal.SIGKILL)
    last.join(timeout=120)
    assert code["host-2"][0] == 2 and "the guest's process has ended" in code["host-2"][1], code
    nothing_is_left(lab)

    # An agent that stops takes its canary with it: while it builds the guest, and after these steps.
    log = lab.data / "host-1.log"
    for step in (None, None, "build", "suspend"):
        sign = f'"step":"{step}"' if step else "the host runs a canary"
        before = log.read_text().count(sign)
        lab.lenticular("host", "canary", "host-1")
        wait_until("the canary is there", lambda: log.read_text().count(sign) > before, deadline_s=120, every_s=0.01)
        pid = lab.pid("host-1")
        os.kill(pid, signal.SIGTERM)
        wait_until("the agent has ended", lambda: has_ended(pid), deadline_s=60, every_s=0.05)
        nothing_is_left(lab)
        lab.restart()
        lab.wait_for_hosts()
