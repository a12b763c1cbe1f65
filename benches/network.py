"""Measures OVN under real guests on the hosts of a lab, and prints a table. Run as root, with the release build:

    .venv/bin/python benches/network.py [GUESTS]       (50 guests at once unless said otherwise)
"""

import os
import pathlib
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))

from cloud import GUEST_IMAGE, wait_until  # noqa: E402
from net import OvnLab, Tenant  # noqa: E402

RUNS = 10
LIVE = {"host": None, "block_migration": True, "disk_over_commit": False}


class Pings(threading.Thread):
    """Pings an address every 10 ms, and notes when each was answered."""

    def __init__(self, address, every_s=0.01):
        super().__init__(daemon=True)
        self.address, self.every_s = address, every_s
        self.sent, self.answered = {}, {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.settimeout(0.2)
        self.id = os.getpid() & 0xFFFF
        self.over = threading.Event()

    @staticmethod
    def checksum(data):
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        total = (total >> 16) + (total & 0xFFFF)
        return ~(total + (total >> 16)) & 0xFFFF

    def send(self):
        number = 0
        while not self.over.is_set():
            head = struct.pack("!BBHHH", 8, 0, 0, self.id, number & 0xFFFF) + b"lenticul"
            packet = head[:2] + struct.pack("!H", self.checksum(head)) + head[4:]
            self.sent[number] = time.monotonic()
            try:
                self.socket.sendto(packet, (self.address, 0))
            except OSError:
                pass
            number += 1
            time.sleep(self.every_s)

    def run(self):
        threading.Thread(target=self.send, daemon=True).start()
        while not self.over.is_set():
            try:
                packet, (source, _) = self.socket.recvfrom(2048)
            except OSError:
                continue
            kind, _, _, ident, number = struct.unpack("!BBHHH", packet[20:28])
            if kind == 0 and ident == self.id and source == self.address:
                self.answered.setdefault(number, time.monotonic())

    def end(self):
        """How many were lost, and the longest time without an answer in seconds."""
        time.sleep(0.5)
        self.over.set()
        self.join()
        last = max(self.answered, default=0)
        lost = [n for n in self.sent if n < last and n not in self.answered]
        times = sorted(self.answered.values())
        return len(lost), max((b - a for a, b in zip(times, times[1:])), default=0)


def moved(lab, guest):
    home = lab.host_of(guest.id)
    pings = Pings(guest.floating)
    pings.start()
    time.sleep(0.5)
    lab.act(guest.id, "os-migrateLive", LIVE)
    wait_until("it has moved", lambda: lab.host_of(guest.id) != home and lab.server(guest.id)["OS-EXT-STS:task_state"] is None,
               every_s=0.02)
    time.sleep(1)
    return pings.end()


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
    began = time.monotonic()
    body = {"server": {"name": "crowd", "imageRef": lab.image, "flavorRef": "42", "min_count": count, "key_name": "key",
                       "networks": [{"uuid": tenant.network}], "security_groups": [{"name": tenant.group}]}}
    tenant.post("/compute/v2.1/servers", body, version="2.79")
    ours = lambda: lab.get("/compute/v2.1/servers?all_tenants=1&name=crowd")["servers"]
    addresses = []
    for server in ours():
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
        lab = OvnLab(pathlib.Path(scratch) / "lab").start((key, (key.parent / "key.pub").read_text().strip()))
        try:
            lab.image = lab.upload("guest", path=GUEST_IMAGE)
            tenant = Tenant(lab, "bench")
            guest = tenant.server("mover").float().ready().wait_ssh()
            plugs = [attached(lab, tenant, guest) for _ in range(5)]
            moves = [moved(lab, guest) for _ in range(RUNS)]
            print(f"an interface attached to a running guest: ACTIVE after, median   {statistics.median(plugs) * 1000:.0f} ms")
            print(f"live migration, pinged every 10 ms: lost, median / worst of {RUNS}   {statistics.median(m[0] for m in moves):.0f}"
                  f" / {max(m[0] for m in moves)} pings")
            print(f"live migration, longest time without an answer, median / worst  {statistics.median(m[1] for m in moves) * 1000:.0f}"
                  f" / {max(m[1] for m in moves) * 1000:.0f} ms")
            if count:
                print(f"{count} guests at once: the last is reached after                 {crowd(lab, tenant, count):.0f} s")
        finally:
            lab.down()


if __name__ == "__main__":
    main()
