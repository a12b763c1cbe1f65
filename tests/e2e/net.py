"""A lab on OVN: tenants with networks, routers and floating IPs, commands in their guests, and what outsiders see."""

import base64
import contextlib
import http.server
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from cloud import GUEST_IMAGE, wait_until
from lab import Lab


@contextlib.contextmanager
def ovn_lab(data, key, hosts=3):
    """A lab on OVN with the guest's image, for as long as it is needed."""
    lab = OvnLab(data, hosts=hosts)
    try:
        lab.start(key)
        lab.image = lab.upload("guest", path=GUEST_IMAGE)
        yield lab
    finally:
        lab.down()


class OvnLab(Lab):
    """A lab whose guests are connected by OVN, with an external network that this machine is on."""

    def start(self, key):
        super().start("--network", "ovn")
        self.key = key
        number = re.search(r"10\.199\.(\d+)\.", (self.data / "server.toml").read_text()).group(1)
        self.outside = f"10.197.{number}.1"
        self.external = self.make("networks", "network", name="public", **{
            "router:external": True, "provider:network_type": "flat", "provider:physical_network": "external"})["id"]
        self.make("subnets", "subnet", network_id=self.external, cidr=f"10.197.{number}.0/24", ip_version=4,
                  gateway_ip=self.outside, enable_dhcp=False,
                  allocation_pools=[{"start": f"10.197.{number}.100", "end": f"10.197.{number}.250"}])
        return self

    def make(self, path, noun, token=None, **fields):
        return self.post(f"/network/v2.0/{path}", {noun: fields}, token=token)[noun]

    def daemon(self, name):
        """The pid file of one of the control plane's daemons, or of a host's (`host-1/ovs-vswitchd`)."""
        host, _, of = name.rpartition("/")
        return self.data / "hosts" / host / "ovs" / f"{of}.pid" if host else self.data / "ovn" / f"{name}.pid"

    def within(self, host, *words):
        """The words of a command in a host's network namespace."""
        return ["ip", "netns", "exec", self.described()["namespaces"][int(host.removeprefix("host-")) - 1], *map(str, words)]

    @contextlib.contextmanager
    def plugged(self, host, port):
        """A device in a host's namespace that the host's switch takes for a port's guest."""
        device = f"test{port['id'][:8]}"
        switch = ["ovs-vsctl", f"--db=unix:{self.data}/hosts/{host}/ovs/db.sock"]
        subprocess.run([*switch, "add-port", "br-int", device, "--", "set", "Interface", device, "type=internal",
                        f"external_ids:iface-id={port['id']}"], check=True)
        try:
            for words in (["addrgenmode", "none"], ["up"]):
                subprocess.run(self.within(host, "ip", "link", "set", device, *words), check=True)
            yield device
        finally:
            subprocess.run([*switch, "del-port", "br-int", device], check=True)

    def kill_daemon(self, name):
        """Ends it without any warning, and waits until it was started again."""
        file = self.daemon(name)
        old = file.read_text().strip()
        os.kill(int(old), signal.SIGKILL)
        wait_until(f"{name} is started again", lambda: self.runs(file) not in (None, old))

    @staticmethod
    def runs(file):
        try:
            pid = file.read_text().strip()
            return pid if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().find(os.fsencode(file)) >= 0 else None
        except OSError:
            return None


class Tenant:
    """A project with a user, a network behind a router, and a security group that lets ssh and pings in."""

    def __init__(self, lab, name, cidr="10.50.0.0/24", router=True):
        self.lab, self.name = lab, name
        roles = {r["name"]: r["id"] for r in lab.get("/identity/v3/roles")["roles"]}
        self.project = lab.post("/identity/v3/projects", {"project": {"name": name}})["project"]["id"]
        user = lab.post("/identity/v3/users", {"user": {"name": name, "password": "s3cret"}})["user"]["id"]
        admin = lab.get("/identity/v3/users?name=admin")["users"][0]["id"]
        for who, role in ((user, "member"), (admin, "admin")):
            lab.request("PUT", f"/identity/v3/projects/{self.project}/users/{who}/roles/{roles[role]}")
        self.token = lab.login(name, "s3cret", name)
        keypair = {"keypair": {"name": "key", "public_key": lab.key[1]}}
        self.post("/compute/v2.1/os-keypairs", keypair)
        # The administrator's, who starts servers on hosts that tests name; made by the first tenant.
        self.lab.post("/compute/v2.1/os-keypairs", keypair, ok=(200, 201, 409))
        self.network = self.make("networks", "network", name=name)["id"]
        self.subnet = self.make("subnets", "subnet", network_id=self.network, cidr=cidr, ip_version=4)["id"]
        if router:
            self.router = self.make("routers", "router", name=name,
                                    external_gateway_info={"network_id": lab.external})["id"]
            self.plug_router(self.subnet)
        self.group = self.make("security-groups", "security_group", name="reachable")["id"]
        for protocol in ("tcp", "icmp"):
            self.rule(protocol=protocol)

    def plug_router(self, subnet):
        answer = self.lab.request("PUT", f"/network/v2.0/routers/{self.router}/add_router_interface", token=self.token,
                                  json={"subnet_id": subnet})
        assert answer.status_code == 200, answer.text

    def post(self, path, body, **more):
        return self.lab.post(path, body, token=self.token, **more)

    def make(self, path, noun, **fields):
        return self.lab.make(path, noun, token=self.token, **fields)

    def rule(self, group=None, **fields):
        fields = {"direction": "ingress", "ethertype": "IPv4", **fields}
        return self.make("security-group-rules", "security_group_rule", security_group_id=group or self.group, **fields)

    def server(self, name, group=None, host=None, script=None, network=None, flavor="42", port=None):
        """Starts a server, and waits until its guest is up."""
        more = {"user_data": base64.b64encode(script.encode()).decode()} if script else {}
        if host:
            more["availability_zone"] = f"nova:{host}"
        body = {"server": {
            "name": name, "imageRef": self.lab.image, "flavorRef": flavor, "key_name": "key",
            "networks": [{"port": port} if port else {"uuid": network or self.network}], "security_groups": [{"name": group or self.group}], **more}}
        # Only an administrator may name a host.
        token = self.lab.login("admin", project=self.name) if host else self.token
        made = self.lab.post("/compute/v2.1/servers", body, token=token, version="2.79")["server"]["id"]
        return Guest(self, made)


class Guest:
    """A server with a guest in it."""

    def __init__(self, tenant, server):
        self.tenant, self.lab, self.id = tenant, tenant.lab, server
        self.lab.wait_status(server, "ACTIVE")
        self.port = self.lab.get(f"/network/v2.0/ports?device_id={server}")["ports"][0]
        self.address = self.port["fixed_ips"][0]["ip_address"]
        self.floating = None

    def ready(self):
        self.lab.wait_console(self.id, "lenticular-guest: ready")
        return self

    def float(self):
        """Gives it a floating IP."""
        made = self.tenant.make("floatingips", "floatingip", floating_network_id=self.lab.external,
                                port_id=self.port["id"])
        self.floating_id, self.floating = made["id"], made["floating_ip_address"]
        return self

    def ssh(self, command, port=22, address=None, ok=True, timeout=20):
        done = run_ssh(self.lab.key[0], address or self.floating, command, port, timeout)
        if ok:
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip() if ok else done

    def root(self, command, ok=True, timeout=20):
        """Runs a command, which has no single quotes, as root."""
        return self.ssh(f"su -c '{command}'", ok=ok, timeout=timeout)

    def wait_ssh(self, **where):
        wait_until("ssh answers", lambda: self.ssh("true", ok=False, **where).returncode == 0)
        return self

    def pings(self, address, count=1, options=""):
        """How many of so many pings are answered."""
        done = self.ssh(f"ping -c {count} -i 0.2 -W 1 {options} {address}", ok=False)
        return int(re.search(r"(\d+) packets received", done.stdout).group(1))

    def connects(self, address, port):
        """`open`, `refused` or `silent`."""
        done = self.ssh(f"timeout 3 nc {address} {port} </dev/null 2>&1 >/dev/null; echo status=$?", ok=False)
        if "refused" in done.stdout:
            return "refused"
        return "open" if "status=0" in done.stdout else "silent"

    def metadata(self, path, *options):
        return self.ssh(f"timeout 8 wget -q {' '.join(options)} -O - http://169.254.169.254{path}")


def run_ssh(key, address, command, port=22, timeout=20):
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=3", "LogLevel=ERROR"]
    words = ["ssh", "-i", str(key), "-p", str(port), *(f"-o{option}" for option in options), f"lenticular@{address}", command]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 255, "", "it took too long")


def tap(port):
    """The device by which a host plugs a port."""
    return f"tap{port['id'][:11]}"


def host_key(address):
    """The ssh host key that answers there; empty if nobody does."""
    done = subprocess.run(["ssh-keyscan", "-T", "3", "-t", "ed25519", address], capture_output=True, text=True)
    return done.stdout.split()[-1] if done.stdout.strip() else ""


def answers(address, port=22):
    """Whether anybody answers there, if only with a refusal."""
    try:
        socket.create_connection((address, port), timeout=2).close()
        return True
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


class Pings(threading.Thread):
    """Pings an address from this machine, and notes when each ping was answered, and with which DSCP marks."""

    def __init__(self, address, every_s=0.01):
        super().__init__(daemon=True)
        self.address, self.every_s = address, every_s
        self.sent, self.answered, self.marks = {}, {}, set()
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

    def wait_for_more(self, count):
        """Waits until so many more pings were sent."""
        had = len(self.sent)
        wait_until(f"{count} more pings were sent", lambda: len(self.sent) >= had + count)

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
                self.marks.add(packet[1] >> 2)

    def end(self):
        """How many were lost, and the longest time without an answer in seconds."""
        time.sleep(0.5)
        self.over.set()
        self.join()
        last = max(self.answered, default=0)
        lost = [n for n in self.sent if n < last and n not in self.answered]
        times = sorted(self.answered.values())
        return len(lost), max((b - a for a, b in zip(times, times[1:])), default=0)


class Capture:
    """What passes a device of a host while it is open: Ethernet frames, in both directions."""

    def __init__(self, lab, host, device):
        here = pathlib.Path(__file__).parent / "capture.py"
        self.process = subprocess.Popen(lab.within(host, sys.executable, here, device), stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().strip() == "ready"
        self.frames = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            # The process ends at any moment, perhaps within a line.
            if line.endswith("\n"):
                self.frames.append(bytes.fromhex(line))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # What is on its way is still seen.
        time.sleep(0.5)
        self.process.terminate()
        self.process.wait()
        self.reader.join()


class Outside:
    """A web server of the world outside, which notes who asked, and gives as many bytes as the path asks for."""

    def __init__(self, address):
        self.seen = seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append(self.client_address[0])
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"outside\n" if self.path == "/" else bytes(int(self.path[1:])))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

