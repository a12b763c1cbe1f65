"""Control plane and agent in processes of their own: each comes and goes without the other noticing for long."""

import json
import signal
import subprocess

import requests

from cloud import BINARY, GUEST_IMAGE, Cloud, free_port, guest_processes, wait_until


class Apart(Cloud):
    """A cloud whose control plane is `lenticular server` and whose one host is `lenticular agent`."""

    def __init__(self, data):
        super().__init__(data)
        self.agent = None
        self.agent_port = free_port()
        self.agent_url = f"https://127.0.0.1:{self.agent_port}"
        self.data.mkdir(parents=True)
        self.server_config = self.data / "server.toml"
        self.server_config.write_text(
            f'data = "{self.data}"\nlisten = "127.0.0.1:{self.port}"\nagent_listen = "127.0.0.1:{self.agent_port}"\n')
        self.agent_config = self.data / "agent.toml"

    def run(self, *args):
        log = open(self.data.parent / f"{self.data.name}.log", "ab")
        return subprocess.Popen([BINARY, *args], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env)

    def start(self):
        self.process = self.run("server", "--config", self.server_config)
        wait_until("the control plane answers", self.healthy, every_s=0.02)
        return self

    def start_agent(self):
        """The first time it joins with a token, which stays in its configuration."""
        if not self.agent_config.exists():
            made = self.enrol("rack-1")
            assert made["join"] == self.agent_url and made["name"] == "rack-1"
            self.agent_config.write_text(
                f'join = "{made["join"]}"\ntoken = "{made["token"]}"\n'
                f'state = "{self.data}/agent"\nname = "rack-1"\nzone = "east"\n')
        self.agent = self.run("agent", "--config", self.agent_config)
        return self

    def agent_once(self, *args):
        """Runs an agent that is to fail; gives what it said."""
        done = subprocess.run([BINARY, "agent", *map(str, args)], env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        return done.stdout + done.stderr

    def refusals(self):
        return self.get("/operator/v1/refusals")

    def down(self):
        if self.agent and self.agent.poll() is None:
            self.agent.kill()
            self.agent.wait()
        super().down()


def test_each_side_is_restarted_while_a_guest_runs(tmp_path):
    c = Apart(tmp_path / "data")
    try:
        c.start().start_agent().wait_for_hosts()
        image = c.upload("guest", path=GUEST_IMAGE)
        server = c.create("apart", image)
        view = c.wait_status(server, "ACTIVE")
        assert view["OS-EXT-SRV-ATTR:host"] == "rack-1"
        assert view["OS-EXT-AZ:availability_zone"] == "east"
        c.wait_console(server, "lenticular-guest: ready")
        before = guest_processes(c.data)
        assert len(before) == 1

        # The host reads the image of its guest, and no other project's.
        body = {"name": "private", "disk_format": "raw", "container_format": "bare", "visibility": "private"}
        private = c.post("/image/v2/images", body)["id"]
        assert c.request("PUT", f"/image/v2/images/{private}/file", data=b"secret",
                         headers={"Content-Type": "application/octet-stream"}).status_code == 204
        identity = c.data / "agent/identity"
        data = lambda image: requests.get(f"{c.agent_url}/agent/v1/images/{image}/data", cert=str(identity / "host.pem"),
                                          verify=identity / "ca.pem", timeout=60).status_code
        assert (data(image), data(private)) == (200, 404)

        # The agent goes, in order and without: its guest stays, and is found again.
        for end in (signal.SIGTERM, signal.SIGKILL):
            c.agent.send_signal(end)
            c.agent.wait(timeout=30)
            assert guest_processes(c.data) == before
            c.start_agent()
            wait_until("the agent answers questions", lambda: "ready" in c.console(server))
        # The control plane goes: what is asked of it afterwards, the agent does without being started anew.
        c.kill()
        c.start().wait_for_hosts()
        c.act(server, "os-stop")
        c.wait_status(server, "SHUTOFF")
        assert guest_processes(c.data) == []
        c.delete(server)
        c.wait_gone(server)
    finally:
        c.down()


def test_only_an_enrolled_host_gets_in_and_only_as_itself(tmp_path):
    c = Apart(tmp_path / "data")
    try:
        c.start()
        # Without a certificate nothing is to be had, and not at all where clients come.
        hello = requests.post(f"{c.agent_url}/agent/v1/hello", json={}, verify=c.data / "ca.crt")
        assert hello.status_code == 401 and "host enrol" in hello.text
        assert c.request("POST", "/agent/v1/hello", json={}).status_code == 404

        # Only administrators let hosts in.
        c.openstack("user", "create", "--password", "pw", "--project", "admin", "jane")
        c.openstack("role", "add", "--user", "jane", "--project", "admin", "member")
        jane = c.login("jane", "pw")
        asked = c.request("POST", "/operator/v1/hosts/enrol", token=jane, json={"valid_for_s": 60})
        assert asked.status_code == 403

        token = c.enrol("--valid-for", "10m")
        home = c.data / "agent"
        one = c.run("agent", "--join", token["join"], "--token", token["token"], "--state", home, "--name", "one")
        c.agent = one
        wait_until("the host is there", lambda: [h["name"] for h in c.get("/operator/v1/hosts")] == ["one"])
        assert {p.stat().st_mode & 0o777 for p in (home / "identity").iterdir()} == {0o600}
        assert token["token"] not in c.log()

        # The token again, under another name; the name again, with another token; a token of another cloud.
        said = c.agent_once("--join", c.agent_url, "--token", token["token"], "--state", tmp_path / "two", "--name", "two")
        assert "was used before" in said
        said = c.agent_once("--join", c.agent_url, "--token", c.enrol()["token"], "--state", tmp_path / "two", "--name", "one")
        assert "--replace" in said
        foreign = c.enrol()["token"].split(".")
        foreign[1] = "A" * 43
        said = c.agent_once("--join", c.agent_url, "--token", ".".join(foreign), "--state", tmp_path / "two", "--name", "two")
        assert "did not make this token" in said
        code, said = c.lenticular("host", "enrol", "one", ok=False)
        assert code != 0 and "--replace" in said
        assert "no identity" in c.agent_once("--state", tmp_path / "two")

        # With the certificate of one host, in the name of another.
        identity = json.loads((home / "identity/identity.json").read_text())
        for part in ("key", "certificate"):
            (tmp_path / part).write_text(identity[part])
        as_one = dict(cert=(tmp_path / "certificate", tmp_path / "key"), verify=c.data / "ca.crt")
        hello = {"version": 2, "host_name": "victim", "boot_id": "b", "address": "", "zone": "nova",
                 "capacity": {"vcpus": 1, "memory_mb": 1, "disk_gb": 1}, "inventory": [],
                 "hypervisor": {"driver": "sim", "acceleration": "none", "version": 1, "arch": "x", "cpu_model": "x"}}
        stolen = requests.post(f"{c.agent_url}/agent/v1/hello", json=hello, **as_one)
        assert stolen.status_code == 403 and "does not speak for victim" in stolen.text
        codes = " ".join(r["why"] for r in c.refusals())
        for code in ("TokenUsed", "NameEnrolled", "NameOfAnother"):
            assert code in codes
        assert "NameOfAnother" in c.lenticular("host", "refusals")

        # It stops and starts without its token, from what it has.
        one.terminate()
        assert one.wait(timeout=30) == 0
        c.agent = c.run("agent", "--state", home)
        seen = c.log().count('"taken in"')
        wait_until("it is taken in again", lambda: c.log().count('"taken in"') > seen)

        # Retired: it is told so, and comes back with a new token only.
        c.lenticular("host", "retire", "one")
        assert c.get("/operator/v1/hosts") == []
        wait_until("it is told", lambda: "The host one was retired" in c.log())
        c.agent.terminate()
        c.agent.wait(timeout=30)
        code, said = c.lenticular("host", "retire", "one", ok=False)
        assert code != 0 and "could not be found" in said
        again = c.enrol("one")
        c.agent = c.run("agent", "--token", again["token"], "--state", home)
        wait_until("the host is back", lambda: [h["name"] for h in c.get("/operator/v1/hosts")] == ["one"])
    finally:
        c.down()


def test_a_host_with_servers_is_not_retired(tmp_path):
    c = Apart(tmp_path / "data")
    try:
        c.start().start_agent().wait_for_hosts()
        server = c.create("kept", c.upload("blank", data=b"\0" * 1024 * 1024, disk_format="raw"))
        wait_until("it has a host", lambda: c.server(server)["OS-EXT-SRV-ATTR:host"] == "rack-1")
        for force in ([], ["--force"]):
            code, said = c.lenticular("host", "retire", "rack-1", *force, ok=False)
            assert code != 0 and "409" in said and server in said
        c.delete(server)
        c.wait_gone(server)
        assert "is retired" in c.lenticular("host", "retire", "rack-1")
    finally:
        c.down()


def test_a_data_directory_from_before_enrols_its_own_host(tmp_path):
    """`up` with one machine asks nobody, not even over a directory whose agent had the shared secret."""
    c = Cloud(tmp_path / "data")
    try:
        c.data.mkdir(parents=True)
        (c.data / "agent-secret").write_text("old\n")
        c.start().wait_for_hosts()
        assert not (c.data / "agent-secret").exists()
        identity = c.data / "agent/identity/identity.json"
        first = identity.read_text()
        c.stop()
        c.start().wait_for_hosts()
        assert identity.read_text() == first, "a restart takes what is there"
        # Without its identity, or without the CA that it is of, the host enrols itself anew.
        for lost in ([identity], [c.data / "ca.key", c.data / "ca.crt"]):
            c.stop()
            for path in lost:
                path.unlink()
            c.start()
            wait_until("it has another identity", lambda: identity.exists() and identity.read_text() != first)
            c.wait_for_hosts()
            first = identity.read_text()
        assert len(c.get("/operator/v1/hosts")) == 1
    finally:
        c.down()


def test_a_host_is_fenced_by_a_driver_that_must_see_it_off(tmp_path):
    c = Apart(tmp_path / "data")
    power = tmp_path / "power"
    with c.server_config.open("a") as config:
        for name, off in [("switch", f"echo {{host}} is off > {power}"), ("liar", "true")]:
            config.write(f"""
[fencing.{name}]
off = ["sh", "-c", "{off}"]
confirm = ["cat", "{power}"]
expect = "rack-1 is off"
deadline_s = 2
""")
    try:
        power.write_text("rack-1 is on")
        c.start().start_agent().wait_for_hosts()
        for driver, words in [("liar", "not seen to be off"), ("none", "switch")]:
            code, said = c.lenticular("host", "fence", "rack-1", "--by", driver, ok=False)
            assert code != 0 and words in said, said
        assert json.loads(c.lenticular("host", "show", "rack-1", "--json"))["fence"] is None
        assert "off" in c.lenticular("host", "fence", "rack-1", "--by", "switch")
        shown = json.loads(c.lenticular("host", "show", "rack-1", "--json"))
        assert "by the driver switch: rack-1 is off" in shown["fence"] and shown["state"] == "off"
        assert shown["certificate_ends"] and shown["servers_here"] == []
        [service] = c.get("/compute/v2.1/os-services?binary=nova-compute")["services"]
        assert service["state"] == "down" and service["status"] == "enabled"
        c.lenticular("host", "unfence", "rack-1")
        c.wait_for_hosts()
    finally:
        c.down()
