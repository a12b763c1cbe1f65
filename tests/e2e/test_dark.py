"""Hosts whose guests reach nobody, though their agents look well: on the real switches of a lab."""

import os
import signal
import subprocess

import pytest

from cloud import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

HOSTS = ("host-1", "host-2", "host-3")


def wait_dark(lab, host, why):
    wait_until(f"{host} is dark", lambda: lab.show_host(host)["state"] == "not ready", deadline_s=30)
    reason = lab.show_host(host)["reason"]
    assert reason.startswith("it is dark (") and why in reason, reason
    service = next(s for s in lab.get("/compute/v2.1/os-services?binary=nova-compute")["services"] if s["host"] == host)
    assert (service["status"], service["disabled_reason"]) == ("disabled", f"not ready: {reason}")
    assert service["state"] == "up", "its agent looks well"
    assert {lab.show_host(other)["state"] for other in HOSTS if other != host} == {"up"}


def switch_of(lab, host):
    return int((lab.data / "hosts" / host / "ovs" / "ovs-vswitchd.pid").read_text())


def test_a_host_that_reaches_nobody_is_dark_with_its_cause(probed_lab):
    lab = probed_lab
    known = {host: lab.checks(host) for host in HOSTS}
    assert {known[host][check][0] for host in HOSTS for check in ("bridge", "tunnels")} == {None}

    # An agent that dies, and a switch that is started anew, are no loss.
    lab.kill("host-1")
    os.kill(switch_of(lab, "host-2"), signal.SIGKILL)
    lab.restart()
    lab.wait_for_hosts()
    lab.lenticular("host", "check", "host-1", "--wait")

    # The tunnels of one host are cut, between it and all others.
    with lab.cut_tunnels("host-3"):
        wait_dark(lab, "host-3", "none of the hosts that it asks answers: ")
    for host in ("host-1", "host-2"):
        assert lab.checks(host)["bridge"] == known[host]["bridge"], "it has not changed since the begin"
    wait_until("host-3 is well", lambda: lab.show_host("host-3")["state"] == "up", deadline_s=120)

    # The switch of one host dies, and what takes its place hangs.
    old = switch_of(lab, "host-2")
    os.kill(old, signal.SIGKILL)
    hanging = wait_until("another switch begins", lambda: begun_after(lab, "host-2", old), every_s=0.01)
    os.kill(hanging, signal.SIGSTOP)
    try:
        wait_dark(lab, "host-2", "br-int does not answer")
    finally:
        os.kill(hanging, signal.SIGCONT)

    # Small packets arrive, and those of tenants do not.
    subprocess.run(["ip", "link", "set", "dev", f"{lab.mark()}u3", "mtu", "1400"], check=True)
    cut = "packets of 1442 bytes do not arrive at host-3"
    wait_until("host-1 misses large packets", lambda: cut in (lab.checks("host-1")["tunnels"][0] or ""), deadline_s=120)
    assert lab.show_host("host-1")["state"] == "up", "a warning closes nothing"


def begun_after(lab, host, old):
    try:
        pid = switch_of(lab, host)
    except (OSError, ValueError):
        return None
    return pid if pid != old and os.path.exists(f"/proc/{pid}") else None
