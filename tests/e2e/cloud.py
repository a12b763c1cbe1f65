"""A cloud in a directory of its own: starting, killing and asking it."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("LENTICULAR_BINARY", ROOT / "target/release/lenticular"))
CLIENT = pathlib.Path(os.environ.get("LENTICULAR_CLIENT", ROOT / ".venv/bin/openstack"))
GUEST_IMAGE = pathlib.Path(os.environ.get("LENTICULAR_GUEST", ROOT / "guest/out/lenticular-guest.qcow2"))

# An id that nothing has; the same in every process that runs tests.
NOTHING = "0b5f7a1e-0000-4000-8000-000000000000"

# How long anything may take on a busy machine without hardware acceleration. Only failures wait so long.
DEADLINE_S = 180


def wait_until(what, check, deadline_s=DEADLINE_S, every_s=0.1):
    """Waits on a level: calls check until it gives something true, which is returned."""
    end = time.monotonic() + deadline_s
    last = None
    while time.monotonic() < end:
        last = check()
        if last:
            return last
        time.sleep(every_s)
    raise AssertionError(f"within {deadline_s} s it never came true that {what}; last seen: {last!r}")


def rows(text):
    """The rows of the tables in what a command printed, head first, with the parts of wrapped cells joined."""
    found = []
    for line in text.splitlines():
        if not line.startswith("│"):
            continue
        cells = [cell.strip() for cell in line.strip("│").split("┆")]
        if cells[0]:
            found.append(cells)
        else:
            found[-1] = [f"{before} {more}".strip() for before, more in zip(found[-1], cells)]
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def guest_processes(data):
    """The hypervisor processes that work below this data directory."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            works_in = (entry / "cwd").readlink()
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if b"qemu-system" in words[0] and state != "Z" and works_in.is_relative_to(data):
            found.append(int(entry.name))
    return found


class Cloud:
    """One cloud. `hosts` simulated hosts, or 0 for this machine with QEMU. `settings` is the text of its settings file."""

    def __init__(self, data, hosts=0, env=None, settings=None):
        self.data = pathlib.Path(data)
        self.hosts = hosts
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {**os.environ, **(env or {}), "LENTICULAR_LOG": "info"}
        self.settings = settings
        self.preexec = None
        self.store = None
        self.process = None
        self._token = None

    def start(self):
        args = [BINARY, "--data", self.data, "up", "--listen", f"127.0.0.1:{self.port}",
                "--agent-listen", "127.0.0.1:0"]
        if self.hosts:
            args += ["--sim-hosts", str(self.hosts)]
        if self.store:
            args += ["--store", self.store]
        self.data.mkdir(parents=True, exist_ok=True)
        if self.settings:
            file = self.data.parent / f"{self.data.name}.settings.toml"
            file.write_text(self.settings)
            args += ["--settings", file]
        log = open(self.data.parent / f"{self.data.name}.log", "ab")
        self.process = subprocess.Popen(args, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env,
                                        preexec_fn=self.preexec)
        wait_until("the cloud answers", self.healthy, every_s=0.02)
        return self

    def healthy(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the cloud ended with {self.process.returncode}:\n{self.log()[-3000:]}")
        try:
            return requests.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def logs(self):
        """The files in which its processes say what they do."""
        return [self.data.parent / f"{self.data.name}.log"]

    def log(self):
        return self.logs()[0].read_text(errors="replace")

    def kill(self):
        """Ends the process without any warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0, self.log()[-3000:]

    def down(self):
        """Stops everything that this cloud started."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for pid in guest_processes(self.data):
            os.kill(pid, signal.SIGKILL)
        if self.process and not self.hosts:
            # What it made on this machine beside its processes.
            subprocess.run([BINARY, "--data", self.data, "down"], env=self.env, capture_output=True, timeout=DEADLINE_S)

    def wait_for_hosts(self):
        count = max(self.hosts, 1)
        up = lambda: [s for s in self.get("/compute/v2.1/os-services?binary=nova-compute")["services"] if s["state"] == "up"]
        wait_until(f"{count} hosts are up", lambda: len(up()) == count)
        return self

    # -- as a stock client

    def client_env(self):
        return {**self.env, "OS_CLIENT_CONFIG_FILE": str(self.data / "clouds.yaml"), "OS_CLOUD": "lenticular"}

    def openstack(self, *args, ok=True):
        """Runs the stock client; gives what it printed, or with ok=False its exit code and all output."""
        done = subprocess.run([CLIENT, *map(str, args)], env=self.client_env(), capture_output=True, text=True,
                              timeout=DEADLINE_S)
        if not ok:
            return done.returncode, done.stdout + done.stderr
        assert done.returncode == 0, f"openstack {' '.join(map(str, args))}: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def openstack_json(self, *args):
        return json.loads(self.openstack(*args, "-f", "json"))

    def lenticular(self, *args, ok=True):
        """Runs the operator's command; gives what it printed, or with ok=False its exit code and all output."""
        done = subprocess.run([BINARY, "--data", self.data, *args], env=self.client_env(), capture_output=True, text=True,
                              timeout=DEADLINE_S)
        if not ok:
            return done.returncode, done.stdout + done.stderr
        assert done.returncode == 0, done.stderr
        return done.stdout

    def enrol(self, *args):
        """Makes a token that lets a host in: `token`, `join` and more."""
        return json.loads(self.lenticular("host", "enrol", "--json", *args))

    # -- over HTTP

    def password(self):
        return (self.data / "admin-password").read_text().strip()

    def login(self, user="admin", password=None, project="admin", scope=True):
        domain = {"name": "Default"}
        auth = {"identity": {"methods": ["password"], "password": {
            "user": {"name": user, "domain": domain, "password": password or self.password()}}}}
        if scope:
            auth["scope"] = {"project": {"name": project, "domain": domain}}
        answer = requests.post(f"{self.url}/identity/v3/auth/tokens", json={"auth": auth}, timeout=DEADLINE_S)
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    def token(self):
        if self._token is None:
            self._token = self.login()
        return self._token

    def request(self, method, path, token=None, version=None, headers=None, **kwargs):
        headers = dict(headers or {})
        headers.setdefault("X-Auth-Token", token or self.token())
        if version:
            headers["OpenStack-API-Version"] = f"compute {version}"
        kwargs.setdefault("timeout", 60)
        return requests.request(method, self.url + path, headers=headers, **kwargs)

    def get(self, path, **kwargs):
        answer = self.request("GET", path, **kwargs)
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def post(self, path, body, ok=(200, 201, 202, 204), **kwargs):
        answer = self.request("POST", path, json=body, **kwargs)
        assert answer.status_code in ok, f"POST {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    # -- what tests need again and again

    def upload(self, name, path=None, data=None, disk_format="qcow2"):
        body = {"name": name, "disk_format": disk_format, "container_format": "bare", "visibility": "public"}
        image = self.post("/image/v2/images", body)["id"]
        content = open(path, "rb") if path else data
        answer = self.request("PUT", f"/image/v2/images/{image}/file", data=content,
                              headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code == 204, answer.text
        return image

    def network(self, name="net", cidr="10.20.0.0/16"):
        network = self.post("/network/v2.0/networks", {"network": {"name": name}})["network"]["id"]
        self.post("/network/v2.0/subnets", {"subnet": {"network_id": network, "cidr": cidr, "ip_version": 4}})
        return network

    def create(self, name, image, flavor="42", network=None, **more):
        networks = [{"uuid": network}] if network else "none"
        body = {"server": {"name": name, "imageRef": image, "flavorRef": flavor, "networks": networks, **more}}
        return self.post("/compute/v2.1/servers", body, version="2.79")["server"]["id"]

    def server(self, server):
        return self.get(f"/compute/v2.1/servers/{server}", version="2.79")["server"]

    def act(self, server, action, args=None):
        return self.post(f"/compute/v2.1/servers/{server}/action", {action: args})

    def wait_status(self, server, status):
        def check():
            now = self.server(server)
            if now["status"] == "ERROR" and status != "ERROR":
                raise AssertionError(f"the server is in ERROR: {now['fault']}\n{self.log()[-3000:]}")
            return now if now["status"] == status and now["OS-EXT-STS:task_state"] is None else None
        return wait_until(f"server {server} is {status}", check)

    def wait_gone(self, server):
        gone = lambda: self.request("GET", f"/compute/v2.1/servers/{server}").status_code == 404
        wait_until(f"server {server} is gone", gone)

    def delete(self, server):
        answer = self.request("DELETE", f"/compute/v2.1/servers/{server}")
        assert answer.status_code in (204, 404), answer.text

    def console(self, server):
        answer = self.request("POST", f"/compute/v2.1/servers/{server}/action", json={"os-getConsoleOutput": {}})
        return answer.json()["output"] if answer.status_code == 200 else ""

    def wait_console(self, server, text, count=1):
        wait_until(f"the console shows {text!r} {count} times", lambda: self.console(server).count(text) >= count)
