"""Measures moves of real guests between the hosts of a lab, and prints a table. Run as root, with the release build:

    .venv/bin/python benches/moves.py
"""

import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))

import base64  # noqa: E402

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
            print(f"live migration, POST to the API's word, median of {RUNS}   {statistics.median(r[0] for r in rows):.2f} s")
            print(f"live migration, the guest silent, median / worst         {statistics.median(r[1] for r in rows) * 1000:.0f}"
                  f" / {max(r[1] for r in rows) * 1000:.0f} ms")
            print(f"cold migration, POST to running, median of {len(colds)}           {statistics.median(colds):.2f} s")
            print(f"memory of the control plane / of an agent                {rss['control-plane'] / 1024:.1f} / {rss['host-1'] / 1024:.1f} MB")
        finally:
            lab.down()


if __name__ == "__main__":
    main()
