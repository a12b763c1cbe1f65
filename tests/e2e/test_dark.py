"""Hosts whose guests reach nobody, though their agents look well: on the real switches of a lab."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

from cloud import wait_until
from lab import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

HOSTS = ("host-1", "host-2", "host-3")


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "data")
    try:
        yield lab.start("--network", "ovn")
    finally:
        lab.down()


def run(*words):
    subprocess.run(words, check=True)


def show(lab, host):
    return json.loads(lab.lenticular("host", "show", host, "--json"))


def found(lab, host):
    """The check's trouble and since when, by its name."""
    return {name: (trouble, since) for name, trouble, since in show(lab, host)["checks"]}


def is_probed(lab):
    return all({"bridge", "tunnels"} <= found(lab, host).keys() for host in HOSTS)


def wait_dark(lab, host, why):
    wait_until(f"{host} is dark", lambda: show(lab, host)["state"] == "not ready", deadline_s=30)
    reason = show(lab, host)["reason"]
    assert reason.startswith("it is dark (") and why in reason, reason
    service = next(s for s in lab.get("/compute/v2.1/os-services?binary=nova-compute")["services"] if s["host"] == host)
    assert (service["status"], service["disabled_reason"]) == ("disabled", f"not ready: {reason}")
    assert service["state"] == "up", "its agent looks well"
    assert {other: show(lab, other)["state"] for other in HOSTS if other != host and show(lab, other)["state"] != "up"} == {}


def test_a_host_that_reaches_nobody_is_dark_with_its_cause(lab):
    wait_until("all hosts are probed", lambda: is_probed(lab), deadline_s=90)
    known = {host: found(lab, host) for host in HOSTS}
    assert {known[host][check][0] for host in HOSTS for check in ("bridge", "tunnels")} == {None}

    # An agent that dies, and a switch that is started anew, are no loss.
    lab.kill("host-1")
    os.kill(switch_of(lab, "host-2"), signal.SIGKILL)
    lab.restart()
    lab.wait_for_hosts()
    lab.lenticular("host", "check", "host-1", "--wait")

    # The tunnels of one host are cut, between it and all others.
    run("nft", "add", "table", "netdev", lab.mark())
    try:
        hook = f"{{ type filter hook ingress device {lab.mark()}u3 priority 0; }}"
        run("nft", f"add chain netdev {lab.mark()} in {hook}")
        run("nft", f"add rule netdev {lab.mark()} in udp dport 6081 drop")
        wait_dark(lab, "host-3", "none of the hosts that it asks answers: ")
    finally:
        run("nft", "delete", "table", "netdev", lab.mark())
    for host in ("host-1", "host-2"):
        assert found(lab, host)["bridge"] == known[host]["bridge"], "it has not changed since the begin"
    wait_until("host-3 is well", lambda: show(lab, "host-3")["state"] == "up", deadline_s=120)

    # The switch of one host hangs.
    os.kill(switch_of(lab, "host-2"), signal.SIGSTOP)
    try:
        wait_dark(lab, "host-2", "br-int does not answer")
    finally:
        os.kill(switch_of(lab, "host-2"), signal.SIGCONT)

    # Small packets arrive, and those of tenants do not.
    run("ip", "link", "set", "dev", f"{lab.mark()}u3", "mtu", "1400")
    cut = "packets of 1442 bytes do not arrive at host-3"
    wait_until("host-1 misses large packets", lambda: cut in (found(lab, "host-1")["tunnels"][0] or ""), deadline_s=120)
    assert show(lab, "host-1")["state"] == "up", "a warning closes nothing"


def switch_of(lab, host):
    return int((lab.data / "hosts" / host / "ovs" / "ovs-vswitchd.pid").read_text())
