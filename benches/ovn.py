"""Measures the northbound side of OVN with many networks and ports, and prints a table. Run as root, with the release
build and OVN installed:

    .venv/bin/python benches/ovn.py [NETWORKS]       (1,000 networks of 10 ports unless said otherwise)
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

from cloud import BINARY, Cloud, wait_until  # noqa: E402

PORTS = 10


class Northbound:
    """A client of the database, as small as can be."""

    def __init__(self, data):
        self.path = str(data / "ovn/nb.sock")

    def select(self, table, where, columns):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            ask = {"method": "transact", "id": 1, "params": ["OVN_Northbound", {
                "op": "select", "table": table, "where": where, "columns": columns}]}
            client.sendall(json.dumps(ask).encode())
            text = b""
            while True:
                text += client.recv(1 << 20)
                try:
                    answer = json.loads(text)
                except ValueError:
                    continue
                return answer["result"][0]["rows"]

    def count(self, table):
        try:
            return len(self.select(table, [], ["_uuid"]))
        except (OSError, ValueError, KeyError):
            return 0

    def has_port(self, port):
        return bool(self.select("Logical_Switch_Port", [["name", "==", port]], ["_uuid"]))


class Central(Cloud):
    """A control plane with OVN's central part, and simulated hosts."""

    def start(self):
        args = [BINARY, "--data", self.data, "up", "--listen", f"127.0.0.1:{self.port}", "--agent-listen", "127.0.0.1:0",
                "--sim-hosts", str(self.hosts), "--network", "ovn"]
        self.data.mkdir(parents=True, exist_ok=True)
        log = open(self.data.parent / "cloud.log", "ab")
        self.process = subprocess.Popen(args, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env)
        wait_until("the cloud answers", self.healthy, every_s=0.02)
        return self


def rss_mb(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def fill(cloud, networks):
    project = cloud.get("/identity/v3/projects?name=admin")["projects"][0]["id"]
    unlimited = {name: -1 for name in ("network", "subnet", "port")}
    answer = cloud.request("PUT", f"/network/v2.0/quotas/{project}", json={"quota": unlimited})
    assert answer.status_code == 200, answer.text
    last = None
    for first in range(0, networks, 50):
        count = min(50, networks - first)
        made = cloud.post("/network/v2.0/networks", {"networks": [{"name": f"n{first + n}"} for n in range(count)]})
        ids = [n["id"] for n in made["networks"]]
        cloud.post("/network/v2.0/subnets", {"subnets": [
            {"network_id": i, "cidr": "10.0.0.0/24", "ip_version": 4} for i in ids]})
        ports = [{"network_id": i} for i in ids for _ in range(PORTS)]
        last = cloud.post("/network/v2.0/ports", {"ports": ports})["ports"][-1]
    return last


def main():
    networks = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as scratch:
        cloud = Central(pathlib.Path(scratch) / "data", hosts=3).start()
        north = Northbound(cloud.data)
        try:
            began = time.monotonic()
            last = fill(cloud, networks)
            made = time.monotonic() - began
            # A port of each network's own beside those that were asked for: where it is answered for metadata.
            all_ports = networks * (PORTS + 1)
            wait_until("all is written", lambda: north.count("Logical_Switch_Port") >= all_ports, every_s=0.05)
            caught_up = time.monotonic() - began - made
            rows = {t: north.count(t) for t in ("Logical_Switch", "Logical_Switch_Port", "ACL", "DHCP_Options")}
            # northd has as much to do as the control plane had.
            time.sleep(10)
            changes = []
            for _ in range(20):
                began = time.monotonic()
                port = cloud.post("/network/v2.0/ports", {"port": {"network_id": last["network_id"]}})["port"]["id"]
                wait_until("it is written", lambda: north.has_port(port), every_s=0.001)
                changes.append(time.monotonic() - began)
            idle = rss_mb(cloud.process.pid)
            # From nothing: the database is lost while the control plane is away.
            cloud.stop()
            cloud.lenticular("down", "--keep-guests")
            for pid in (cloud.data / "ovn").glob("*.pid"):
                number = pid.read_text().strip()
                subprocess.run(["kill", "-9", number], check=False)
            for file in (cloud.data / "ovn").glob("nb.db*"):
                file.unlink()
            began = time.monotonic()
            cloud.start()
            ready = time.monotonic() - began
            # Ports of simulated hosts are no less than those of real ones.
            wanted = rows["Logical_Switch_Port"] + len(changes)
            wait_until("it is as it was", lambda: north.count("Logical_Switch_Port") >= wanted, every_s=0.05)
            synced = time.monotonic() - began
            print(f"{networks} networks, {networks * PORTS} ports: rows written               {rows}")
            print(f"made by bulk requests / the database behind by                {made:.1f} s / {caught_up * 1000:.0f} ms")
            print(f"one change: POST of a port to its row, median / worst of 20   {statistics.median(changes) * 1000:.1f} / {max(changes) * 1000:.1f} ms")
            print(f"first sync into an empty database, start of the cloud included {synced:.1f} s (the API answers after {ready:.1f} s)")
            print(f"memory of the control plane                                   {idle:.0f} MB")
        finally:
            cloud.lenticular("down", ok=False)
            cloud.down()


if __name__ == "__main__":
    main()
