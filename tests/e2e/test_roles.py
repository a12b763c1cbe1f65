"""Control plane and agent in processes of their own: each comes and goes without the other noticing for long."""

import signal
import subprocess

from cloud import BINARY, GUEST_IMAGE, Cloud, guest_processes, wait_until


class Apart(Cloud):
    """A cloud whose control plane is `lenticular server` and whose one host is `lenticular agent`."""

    def __init__(self, data):
        super().__init__(data)
        self.agent = None
        self.data.mkdir(parents=True)
        self.server_config = self.data / "server.toml"
        self.server_config.write_text(f'data = "{self.data}"\nlisten = "127.0.0.1:{self.port}"\n')
        self.agent_config = self.data / "agent.toml"
        self.agent_config.write_text(
            f'control_plane = "{self.url}"\nsecret_file = "{self.data}/agent-secret"\n'
            f'state = "{self.data}/agent"\nname = "rack-1"\nzone = "east"\n')

    def run(self, *args):
        log = open(self.data.parent / f"{self.data.name}.log", "ab")
        return subprocess.Popen([BINARY, *args], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env)

    def start(self):
        self.process = self.run("server", "--config", self.server_config)
        wait_until("the control plane answers", self.healthy, every_s=0.02)
        return self

    def start_agent(self):
        self.agent = self.run("agent", "--config", self.agent_config)
        return self

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


def test_an_agent_with_a_wrong_secret_gets_nothing(tmp_path):
    c = Apart(tmp_path / "data")
    try:
        c.start()
        wrong = c.data / "wrong-secret"
        wrong.write_text("not-the-secret\n")
        c.agent_config.write_text(c.agent_config.read_text().replace("agent-secret", "wrong-secret"))
        c.start_agent()
        wait_until("the refusal is in the agent's log", lambda: "401" in c.log())
        assert c.get("/operator/v1/hosts") == []
    finally:
        c.down()
