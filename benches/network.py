"""Measures OVN under real guests on the hosts of a lab, and prints a table. Run as root, with the release build:

    .venv/bin/python benches/network.py [GUESTS]       (50 guests at once unless said otherwise)
"""

import json
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))

from cloud import wait_until  # noqa: E402
from net import Pings, Tenant, ovn_lab  # noqa: E402

RUNS = 10
LIVE = {"host": None, "block_migration": True, "disk_over_commit": False}


def downtimes(lab, guest):
    """How long the guest stood still in each of its moves, by the word of the QEMU that sent it, in milliseconds."""
    lines = [json.loads(line) for log in lab.data.glob("host-*.log") for line in log.read_text().splitlines() if guest.id in line]
    lines.sort(key=lambda line: line["timestamp"])
    return [line["fields"]["downtime_ms"] for line in lines if "downtime_ms" in line["fields"]]


def moved(lab, guest):
    """What QEMU says of a move's downtime in ms, how many pings were lost, and the longest time without an answer in s."""
    home = lab.host_of(guest.id)
    pings = Pings(guest.floating)
    pings.start()
    time.sleep(0.5)
    lab.act(guest.id, "os-migrateLive", LIVE)
    wait_until("it has moved", lambda: lab.host_of(guest.id) != home and lab.server(guest.id)["OS-EXT-STS:task_state"] is None,
               every_s=0.02)
    time.sleep(1)
    lost, silence = pings.end()
    downtime_ms = downtimes(lab, guest)[-1]
    print(f"  a move: QEMU's downtime {downtime_ms} ms, lost {lost} pings of 10 ms, longest silence {silence * 1000:.0f} ms", flush=True)
    return downtime_ms, lost, silence


def attached(lab, tenant, guest):
    """An interface that a running guest gets: seconds from the request until its port is ACTIVE."""
    began = time.monotonic()
    made = tenant.post(f"/compute/v2.1/servers/{guest.id}/os-interface",
                       {"interfaceAttachment": {"net_id": tenant.network}})["interfaceAttachment"]["port_id"]
    wait_until("the port is active", lambda: lab.get(f"/network/v2.0/ports/{made}")["port"]["status"] == "ACTIVE",
               every_s=0.005)
    took = time.monotonic() - began
    lab.request("DELETE", f"/compute/v2.1/servers/{guest.id}/os-interface/{made}")
    wait_until("it is gone", lambda: lab.request("GET", f"/network/v2.0/ports/{made}").status_code == 404)
    return took


def answers(address):
    try:
        with socket.create_connection((address, 22), timeout=2) as stream:
            return stream.recv(4) == b"SSH-"
    except OSError:
        return False


def crowd(lab, tenant, count):
    """Guests that all start at once: seconds until the last is reached under its floating IP."""
    quota = {"quota": {name: -1 for name in ("port", "floatingip")}}
    lab.request("PUT", f"/network/v2.0/quotas/{tenant.project}", json=quota)
    lab.request("PUT", f"/compute/v2.1/os-quota-sets/{tenant.project}", json={"quota_set": {"instances": -1, "cores": -1, "ram": -1}})
    # The guests do nothing once they are up: cores are not what this is about.
    for provider in lab.get("/placement/resource_providers")["resource_providers"]:
        path = f"/placement/resource_providers/{provider['uuid']}/inventories"
        there = lab.get(path)
        there["inventories"]["VCPU"]["allocation_ratio"] = count
        assert lab.request("PUT", path, json=there).status_code == 200
    began = time.monotonic()
    body = {"server": {"name": "crowd", "imageRef": lab.image, "flavorRef": "42", "min_count": count, "key_name": "key",
                       "networks": [{"uuid": tenant.network}], "security_groups": [{"name": tenant.group}]}}
    tenant.post("/compute/v2.1/servers", body, version="2.79")
    ours = lab.get("/compute/v2.1/servers/detail?all_tenants=1&name=crowd")["servers"]
    assert len(ours) == count and not [s["fault"] for s in ours if s["status"] == "ERROR"]
    addresses = []
    for server in ours:
        [port] = lab.get(f"/network/v2.0/ports?device_id={server['id']}")["ports"]
        made = tenant.make("floatingips", "floatingip", floating_network_id=lab.external, port_id=port["id"])
        addresses.append(made["floating_ip_address"])
    left = set(addresses)

    def none_left():
        for address in list(left):
            if answers(address):
                left.discard(address)
        return not left

    wait_until("all are reached", none_left, deadline_s=1800, every_s=1)
    return time.monotonic() - began


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory() as scratch:
        key = pathlib.Path(scratch) / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        with ovn_lab(pathlib.Path(scratch) / "lab", (key, (key.parent / "key.pub").read_text().strip())) as lab:
            tenant = Tenant(lab, "bench")
            guest = tenant.server("mover").float().ready().wait_ssh()
            plugs = [attached(lab, tenant, guest) for _ in range(5)]
            moves = [moved(lab, guest) for _ in range(RUNS)]
            print(f"an interface attached to a running guest: ACTIVE after, median   {statistics.median(plugs) * 1000:.0f} ms")
            show = lambda values: f"{statistics.median(values):.0f} / {max(values):.0f}"
            print(f"live migration, QEMU's own downtime, median / worst of {RUNS}        {show([m[0] for m in moves])} ms")
            print(f"live migration, pinged every 10 ms: lost, median / worst        {show([m[1] for m in moves])} pings")
            print(f"live migration, longest time without an answer, median / worst  {show([m[2] * 1000 for m in moves])} ms")
            print(f"live migration, lost x 10 ms over QEMU's downtime, worst        {max(m[1] * 10 / max(m[0], 1) for m in moves):.1f}")
            if count:
                print(f"{count} guests at once: the last is reached after                 {crowd(lab, tenant, count):.0f} s")


if __name__ == "__main__":
    main()
