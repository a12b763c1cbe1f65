"""Several hosts on this machine, each a network namespace with an agent of its own; and a watch over what runs twice."""

import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from cloud import BINARY, GUEST_IMAGE, Cloud, wait_until

# A guest that counts: each number is on its disk before it is on its console.
COUNTER = """#!/bin/sh
cat > /var/lib/persist/boot <<'END'
#!/bin/sh
cd /var/lib/persist
n=$(cat n 2>/dev/null || echo 0)
while true; do
  n=$((n+1)); echo $n > n.new; sync; mv n.new n; sync; echo "count $n" > /dev/ttyS0; sleep 0.1
done
END
chmod 755 /var/lib/persist/boot
"""


class Lab(Cloud):
    """A cloud made by `lenticular lab up`."""

    def __init__(self, data, hosts=3):
        super().__init__(data, hosts)

    def start(self, *more):
        more = more or ("--network", "user")
        done = subprocess.run([BINARY, "--data", self.data, "lab", "up", "--hosts", str(self.hosts), "--listen",
                               f"127.0.0.1:{self.port}", *more], env=self.env, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr
        return self

    def start_probed(self):
        """Starts on OVN, and waits until all hosts have said whether others answer them."""
        self.start("--network", "ovn")
        names = [f"host-{n}" for n in range(1, self.hosts + 1)]
        probed = lambda: all({"bridge", "tunnels"} <= self.checks(name).keys() for name in names)
        wait_until("all hosts are probed", probed, deadline_s=90)
        return self

    def show_host(self, name):
        return json.loads(self.lenticular("host", "show", name, "--json"))

    def checks(self, name):
        """What is wrong by each check of a host, and since when."""
        return {check: (trouble, since) for check, trouble, since in self.show_host(name)["checks"]}

    def cut_tunnels(self, host):
        """No other host hears this one any more, until the context ends."""
        return Cut(self.mark(), host)

    def down(self):
        if (self.data / "lab.json").exists():
            self.lenticular("lab", "down")

    def logs(self):
        """The control plane's first."""
        return sorted(self.data.glob("*.log"))

    def described(self):
        return json.loads((self.data / "lab.json").read_text())

    def mark(self):
        """What the names of its devices and namespaces on this machine begin with."""
        return self.described()["links"][0][:6]

    def pid(self, name):
        return self.described()["processes"][name]["pid"]

    def kill(self, name):
        """Ends an agent or the control plane without any warning. While a process still dies, `lab start` takes it for one
        that runs."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        wait_until(f"{name} has ended", lambda: has_ended(pid), deadline_s=30, every_s=0.01)

    def restart(self):
        self.lenticular("lab", "start")
        wait_until("the control plane answers", self.answers, every_s=0.1)

    def answers(self):
        try:
            return self.request("GET", "/healthz").status_code == 200
        except OSError:
            return False

    def host_of(self, server):
        return self.server(server)["OS-EXT-SRV-ATTR:host"]

    def counting(self, name):
        """A server whose guest counts."""
        server = self.create(name, self.image, network=self.net, user_data=base64.b64encode(COUNTER.encode()).decode())
        self.wait_status(server, "ACTIVE")
        self.wait_counting(server)
        return server

    def counts(self, server):
        return [int(n) for n in re.findall(r"^count (\d+)\s*$", self.console(server), re.M)]

    def wait_counting(self, server):
        """The guest counts on from now; gives the last number seen."""
        first = (self.counts(server) or [0])[-1]
        return wait_until("the guest counts on", lambda: next((n for n in self.counts(server)[-1:] if n > first), None))


@contextlib.contextmanager
def guest_lab(data):
    """Three hosts, an image of a guest, and a network."""
    lab = Lab(data)
    try:
        lab.start()
        lab.image = lab.upload("guest", path=GUEST_IMAGE)
        lab.net = lab.network("net", "10.40.0.0/24")
        yield lab
    finally:
        lab.down()


def in_order(numbers):
    return all(a < b for a, b in zip(numbers, numbers[1:]))


class Cut:
    """The tunnels of one host are cut: what it sends into them is dropped."""

    def __init__(self, mark, host):
        self.table, self.device = mark, f"{mark}u{host.removeprefix('host-')}"

    def __enter__(self):
        hook = f"{{ type filter hook ingress device {self.device} priority 0; }}"
        for words in (["add", "table", "netdev", self.table], [f"add chain netdev {self.table} in {hook}"],
                      [f"add rule netdev {self.table} in udp dport 6081 drop"]):
            subprocess.run(["nft", *words], check=True)

    def __exit__(self, *_):
        subprocess.run(["nft", "delete", "table", "netdev", self.table], check=True)


def has_ended(pid):
    """Whether a process is gone, or a zombie with all its threads: a thread that still ends holds the process's locks."""
    try:
        threads = [path / "stat" for path in pathlib.Path(f"/proc/{pid}/task").iterdir()]
        return all(stat.read_text().rpartition(")")[2].split()[0] in "ZX" for stat in threads)
    except (FileNotFoundError, ProcessLookupError):
        return not pathlib.Path(f"/proc/{pid}").exists()


def left_here(mark):
    """The network namespaces and devices of this machine whose names begin so."""
    devices = [path.name for path in pathlib.Path("/sys/class/net").iterdir()]
    spaces = [line.split()[0] for line in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True,
                                                         check=True).stdout.splitlines()]
    return sorted(name for name in devices + spaces if name.startswith(mark))


def guests(data="/"):
    """Guests' processes on all hosts of labs below a directory: which server, which host's directory, and the CPU time of
    the guest itself."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"qemu-system" not in words[0] or b"-pidfile" not in words:
                continue
            works_in = (entry / "cwd").readlink()
            if not works_in.is_relative_to(data):
                continue
            ticks = 0
            for task in (entry / "task").iterdir():
                stat = (task / "stat").read_text()
                if "(CPU " in stat:
                    fields = stat.rsplit(")", 1)[1].split()
                    ticks += int(fields[11]) + int(fields[12])
        except (OSError, ValueError, IndexError):
            continue
        found[int(entry.name)] = (works_in.name, works_in.parents[1].name, ticks)
    return found


class Watch(threading.Thread):
    """Looks ten times a second whether a guest runs twice: two processes of one server that both go on, twice in a row
    (at the moment of a switch-over both have run within the same tenth)."""

    def __init__(self):
        super().__init__(daemon=True)
        self.doubled = []
        self.looks = 0
        self._over = threading.Event()

    def run(self):
        before, suspects = guests(), set()
        while not self._over.wait(0.1):
            now = guests()
            self.looks += 1
            going = {}
            for pid, (server, host, ticks) in now.items():
                if pid in before and ticks > before[pid][2]:
                    going.setdefault(server, set()).add((pid, host))
            doubled = {(server, frozenset(who)) for server, who in going.items() if len(who) > 1}
            self.doubled += [(server, sorted(who)) for server, who in doubled & suspects]
            before, suspects = now, doubled

    def end(self):
        self._over.set()
        self.join()
        assert self.looks > 10, "nobody looked"
        assert not self.doubled, f"ran twice: {self.doubled}"


def strike(lab, server, rng, source, log):
    """Kills one of those who take part in a move, at a moment that nobody knows before."""
    time.sleep(rng.uniform(0, 0.9))
    hosts = [f"host-{n + 1}" for n in range(lab.hosts)]
    what = rng.choice(["nothing", "control-plane", "source agent", "target agent", "source guest", "target guest"])
    processes = [(pid, host) for pid, (of, host, _) in guests().items() if of == server]
    if what == "control-plane":
        lab.kill("control-plane")
    elif what == "source agent":
        lab.kill(source)
    elif what == "target agent":
        others = [host for _, host in processes if host != source] or [h for h in hosts if h != source]
        lab.kill(rng.choice(others))
    elif what != "nothing":
        fits = [pid for pid, host in processes if (host == source) == (what == "source guest")]
        if fits:
            os.kill(rng.choice(fits), signal.SIGKILL)
    log.append(what)
    time.sleep(rng.uniform(0, 1))


