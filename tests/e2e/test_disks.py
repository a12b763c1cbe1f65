"""Servers with several disks, and hosts that say what they are. With real guests where disks matter."""

import base64
import json

from cloud import guest_processes, wait_until
from test_real_guest import READY, ssh, where


# A guest that says what its disk of 64 MiB has at the end of its first page.
SAYS_SWAP = """#!/bin/sh
for d in /sys/block/vd*; do
  [ $(cat $d/size) = 131072 ] && echo signature $(head -c 4096 /dev/${d##*/} | tail -c 10) > /dev/ttyS0
done
"""


def flavor(cloud, name, **more):
    body = {"flavor": {"name": name, "ram": 128, "vcpus": 1, "disk": 1, **more}}
    return cloud.post("/compute/v2.1/flavors", body)["flavor"]["id"]


def test_a_guest_has_the_disks_of_its_flavor(real, key):
    wide = flavor(real, "wide-disks", **{"OS-FLV-EXT-DATA:ephemeral": 1, "swap": 64})
    server = real.create("wide", real.image, flavor=wide, network=real.net, key_name="key",
                         user_data=base64.b64encode(SAYS_SWAP.encode()).decode())
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, READY)
    real.wait_console(server, "signature SWAPSPACE2")
    forward = where(real, server)["ssh_forward"]
    sizes = ssh(key[0], forward, "for d in /sys/block/vd*; do echo $(cat $d/size) $(cat $d/serial); done")
    disks = {int(size): name for size, *name in (line.split() for line in sizes.splitlines())}
    assert {1 << 21, 64 << 11} <= set(disks), sizes
    assert ssh(key[0], forward, "cat /sys/block/vda/size") == str(1 << 21)
    # Guests find them by their serial numbers, as they find a cloud's volumes.
    assert disks[64 << 11] and len(disks[64 << 11][0]) == 20
    directory = real.data / "agent" / "guests" / server
    assert len(list(directory.glob("*.qcow2"))) == 3 and len(list(directory.glob("*.json"))) == 3

    # A flavor without them is no flavor for it, and with larger ones it is.
    answer = real.request("POST", f"/compute/v2.1/servers/{server}/action", json={"resize": {"flavorRef": "84"}})
    assert answer.status_code == 400 and "same disks" in answer.text, answer.text
    real.act(server, "os-stop")
    real.wait_status(server, "SHUTOFF")
    # A disk that vanished is missed at the next start, and never made anew.
    swap = next(path for path in directory.glob("*.qcow2") if path.stat().st_size < 500_000 and path.name != "root.qcow2")
    real.kill()
    swap.rename(directory / "gone")
    real.start().wait_for_hosts()
    real.act(server, "os-start")
    wait_until("the loss is told", lambda: real.server(server)["status"] == "ERROR")
    assert "missing on its host" in real.server(server)["fault"]["message"]
    assert guest_processes(real.data) == []
    (directory / "gone").rename(swap)
    real.act(server, "os-start")
    real.wait_status(server, "ACTIVE")
    real.delete(server)
    real.wait_gone(server)
    assert not directory.exists()


def test_several_disks_move_together(sim, blank):
    wide = flavor(sim, "wide-moves", **{"OS-FLV-EXT-DATA:ephemeral": 2, "swap": 128})
    server = sim.create("wide-mover", blank[0], flavor=wide)
    sim.wait_status(server, "ACTIVE")
    sim.act(server, "migrate")
    sim.wait_status(server, "VERIFY_RESIZE")
    left = json.loads(sim.lenticular("server", "disk", "list", server, "--json"))
    assert len(left) == 3 and {disk["generation"] for disk in left} == {1} and len({disk["host"] for disk in left}) == 1
    sim.act(server, "confirmResize")
    sim.wait_status(server, "ACTIVE")
    sim.delete(server)
    sim.wait_gone(server)


def test_a_server_comes_back_to_a_host_that_it_once_left(sim, blank):
    server = sim.create("returns", blank[0])
    home = sim.wait_status(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"]
    sim.act(server, "migrate")
    assert sim.wait_status(server, "VERIFY_RESIZE")["OS-EXT-SRV-ATTR:host"] != home
    sim.act(server, "confirmResize")
    sim.wait_status(server, "ACTIVE")
    sim.act(server, "shelve")
    sim.wait_status(server, "SHELVED_OFFLOADED")
    sim.post(f"/compute/v2.1/servers/{server}/action", {"unshelve": {"host": home}}, version="2.91")
    assert sim.wait_status(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"] == home
    sim.delete(server)
    sim.wait_gone(server)


def test_a_host_is_checked_when_an_operator_asks(sim):
    before = json.loads(sim.lenticular("host", "show", "sim-0001", "--json"))
    shown = json.loads(sim.lenticular("host", "check", "sim-0001", "--wait", "--json"))
    assert shown["checks_done"] == shown["checks_asked"] == before["checks_asked"] + 1
    assert shown["protocol"] == 3 and shown["kernel"] and shown["agent"]
    assert {check: trouble for check, trouble, _ in shown["checks"]} == dict.fromkeys(["hypervisor", "network", "bridge", "tunnels", "guests"])
    said = sim.lenticular("host", "check", "sim-0001", "--wait")
    assert "check hypervisor" in said and "passed" in said
    code, said = sim.lenticular("host", "check", "nowhere", ok=False)
    assert code != 0 and "nowhere" in said
