"""Measures moves of real guests between the hosts of a lab, and prints a table. Run as root, with the release build:

    .venv/bin/python benches/moves.py
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))

import base64  # noqa: E402

import bare  # noqa: E402

from cloud import GUEST_IMAGE, wait_until  # noqa: E402
from lab import Lab  # noqa: E402

RUNS = 10
LIVE = {"host": None, "block_migration": True, "disk_over_commit": False}
# A guest that says something on its console a hundred times a second.
TALKER = b"""#!/bin/sh
cat > /var/lib/persist/boot <<'END'
#!/bin/sh
while true; do echo . > /dev/ttyS0; usleep 10000; done
END
chmod 755 /var/lib/persist/boot
"""


def console(lab, host, server):
    return lab.data / "hosts" / host / "guests" / server / "console.log"


def size(path):
    try:
        return path.stat().st_size
    except OSError:
        return 0


def live(lab, server):
    """One live migration: seconds until the API says that the guest is elsewhere, and for how long it was silent."""
    home = lab.host_of(server)
    others = [f"host-{n + 1}" for n in range(lab.hosts) if f"host-{n + 1}" != home]
    began = time.monotonic()
    lab.act(server, "os-migrateLive", LIVE)
    source, grew, had = console(lab, home, server), began, 0
    there, first, copied = None, None, 0
    while first is None and time.monotonic() < began + 60:
        now = time.monotonic()
        if size(source) != had:
            had, grew = size(source), now
        for host in others:
            path = console(lab, host, server)
            if size(path) > had and had and now > grew + 0.02:
                there, first = host, now
        time.sleep(0.001)
    wait_until("it has moved", lambda: lab.host_of(server) == there and lab.server(server)["OS-EXT-STS:task_state"] is None,
               every_s=0.02)
    return time.monotonic() - began, first - grew


class Silence(threading.Thread):
    """Watches two console files: for how long did the first stand still before the second grew beyond it?"""

    def __init__(self, source, target):
        super().__init__(daemon=True)
        self.source, self.target = source, target
        self.gap = None
        self.start()

    def run(self):
        grew, had = time.monotonic(), size(self.source)
        while True:
            now = time.monotonic()
            if size(self.source) != had:
                had, grew = size(self.source), now
            if size(self.target) > 0 and now > grew + 0.02:
                self.gap = now - grew
                return
            time.sleep(0.001)

    def __call__(self):
        self.join(60)
        return self.gap


def alone(lab, server, scratch):
    """The same guest, moved by QMP alone: total, QEMU's own word for the downtime, and the silence of the console."""
    home = lab.host_of(server)
    base = scratch / "base.qcow2"
    overlay = lab.data / "hosts" / home / "guests" / server / "root.qcow2"
    subprocess.run(["qemu-img", "convert", "-U", "-O", "qcow2", overlay, base], check=True)
    memory_mb = lab.get("/compute/v2.1/flavors/42")["flavor"]["ram"]
    rows = []
    for n in range(RUNS):
        place = scratch / f"alone-{n}"
        place.mkdir()

        def talks(qemu):
            wait_until("the guest talks", lambda: qemu.console.exists() and b"lenticular-guest: ready" in qemu.console.read_bytes())
            time.sleep(2)

        rows.append(bare.measure(base, place, memory_mb, talks, Silence))
    return rows


LINK_MBIT = 1000


def link_rate(lab):
    """What the link between two hosts gives to one plain TCP connection, in bytes per second."""
    names = lab.described()["namespaces"]
    receive = ("import socket,sys\ns=socket.create_server(('0.0.0.0',9999));print('up',flush=True);c,_=s.accept()\n"
               "n=0\nwhile d:=c.recv(1<<20): n+=len(d)\nprint(n)")
    address = json.loads(lab.lenticular("host", "show", "host-1", "--json"))["peer_address"].rsplit(":", 1)[0]
    send = ("import socket,time\nc=socket.create_connection(('%s',9999));b=bytes(1<<20);t=time.monotonic()\n"
            "for _ in range(512): c.sendall(b)\nc.shutdown(1);print(time.monotonic()-t)" % address)
    server = subprocess.Popen(["ip", "netns", "exec", names[0], "python3", "-c", receive], stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "up\n"
    took = subprocess.run(["ip", "netns", "exec", names[1], "python3", "-c", send], capture_output=True, text=True, check=True)
    server.wait()
    return (512 << 20) / float(took.stdout)


def large(lab):
    """A stopped server's overlay of 1 GiB over a link of so many Mbit/s: what of the link's rate the copy reaches."""
    for link in lab.described()["links"][1:]:
        subprocess.run(["tc", "qdisc", "replace", "dev", link, "root", "tbf", "rate", f"{LINK_MBIT}mbit", "burst", "512kb",
                        "latency", "50ms"], check=True)
    # Both ways: what leaves a host goes through the device inside its namespace.
    for name in lab.described()["namespaces"]:
        inside = subprocess.run(["ip", "-n", name, "-br", "link"], capture_output=True, text=True, check=True).stdout
        device = next(w.split("@")[0] for w in inside.split() if "@" in w)
        subprocess.run(["ip", "netns", "exec", name, "tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate",
                        f"{LINK_MBIT}mbit", "burst", "512kb", "latency", "50ms"], check=True)
    rate = link_rate(lab)
    flavor = lab.post("/compute/v2.1/flavors", {"flavor": {"name": "large", "ram": 128, "vcpus": 1, "disk": 3}})["flavor"]["id"]
    took = {}
    for name, bytes_written in (("small", 0), ("large", 1 << 30)):
        server = lab.create(name, lab.image, flavor=flavor)
        lab.wait_status(server, "ACTIVE")
        lab.wait_console(server, "lenticular-guest: ready")
        lab.act(server, "os-stop")
        lab.wait_status(server, "SHUTOFF")
        overlay = lab.data / "hosts" / lab.host_of(server) / "guests" / server / "root.qcow2"
        if bytes_written:
            subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P 7 1G {bytes_written}", overlay], check=True,
                           capture_output=True)
        began = time.monotonic()
        lab.act(server, "migrate")
        wait_until("it has moved", lambda: lab.server(server)["status"] == "VERIFY_RESIZE", every_s=0.02)
        took[name] = time.monotonic() - began
        lab.delete(server)
    return rate, (1 << 30) / (took["large"] - took["small"])


def cold(lab, server):
    """One cold migration: seconds until the guest runs elsewhere."""
    boots = lab.console(server).count("lenticular-guest: ready")
    began = time.monotonic()
    lab.act(server, "migrate")
    wait_until("it has moved", lambda: lab.server(server)["status"] == "VERIFY_RESIZE", every_s=0.02)
    took = time.monotonic() - began
    lab.act(server, "confirmResize")
    lab.wait_status(server, "ACTIVE")
    # A guest that still comes up does not notice its power button.
    lab.wait_console(server, "lenticular-guest: ready", boots + 1)
    return took


def main():
    with tempfile.TemporaryDirectory() as scratch:
        lab = Lab(pathlib.Path(scratch) / "lab").start()
        try:
            lab.image = lab.upload("guest", path=GUEST_IMAGE)
            net = lab.network("net", "10.40.0.0/24")
            server = lab.create("bench", lab.image, network=net, user_data=base64.b64encode(TALKER).decode())
            lab.wait_status(server, "ACTIVE")
            lab.wait_console(server, "lenticular-guest: ready")
            time.sleep(2)
            rows = [live(lab, server) for _ in range(RUNS)]
            colds = [cold(lab, server) for _ in range(3)]
            rss = {}
            for name in ("control-plane", "host-1"):
                status = pathlib.Path(f"/proc/{lab.pid(name)}/status").read_text()
                rss[name] = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
            scratch = pathlib.Path(scratch)
            own = alone(lab, server, scratch)
            lab.act(server, "os-stop")
            lab.wait_status(server, "SHUTOFF")
            rate, reached = large(lab)
            print(f"QMP alone: total, median                                 {statistics.median(r[0] for r in own):.2f} s")
            print(f"QMP alone: QEMU's word for the downtime, median          {statistics.median(r[1] for r in own):.0f} ms")
            print(f"QMP alone: the guest silent, median / worst              {statistics.median(r[2] for r in own) * 1000:.0f}"
                  f" / {max(r[2] for r in own) * 1000:.0f} ms")
            print(f"1 GiB overlay over a link of {LINK_MBIT} Mbit/s: of {rate / 1e6:.0f} MB/s  {reached / 1e6:.0f} MB/s, {reached / rate:.0%}")
            print(f"live migration, POST to the API's word, median of {RUNS}   {statistics.median(r[0] for r in rows):.2f} s")
            print(f"live migration, the guest silent, median / worst         {statistics.median(r[1] for r in rows) * 1000:.0f}"
                  f" / {max(r[1] for r in rows) * 1000:.0f} ms")
            print(f"cold migration, POST to running, median of {len(colds)}           {statistics.median(colds):.2f} s")
            print(f"memory of the control plane / of an agent                {rss['control-plane'] / 1024:.1f} / {rss['host-1'] / 1024:.1f} MB")
        finally:
            lab.down()


if __name__ == "__main__":
    main()
