"""Every operation, with the agent that does it dying after each of its steps: what it did is done once more by the agent
that comes after it, and the operation ends as if nothing had been. With real guests."""

import os
import subprocess

import pytest

from cloud import BINARY, GUEST_IMAGE, wait_until
from lab import Lab, Watch, guests

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

LIVE = {"host": None, "block_migration": True, "disk_over_commit": False}
HOME, AWAY = "host-1", "host-2"
# What is asked for, which host's agent dies, and how the server ends.
OPERATIONS = {
    "start": ("os-start", None, HOME, "ACTIVE"),
    "reboot": ("reboot", {"type": "HARD"}, HOME, "ACTIVE"),
    "live-migrate": ("os-migrateLive", LIVE, HOME, "ACTIVE"),
    "live-migrate, the target": ("os-migrateLive", LIVE, AWAY, "ACTIVE"),
    "migrate": ("migrate", None, HOME, "VERIFY_RESIZE"),
    "migrate, the target": ("migrate", None, AWAY, "VERIFY_RESIZE"),
    "shelve": ("shelve", None, HOME, "SHELVED_OFFLOADED"),
    "unshelve": ("unshelve", None, HOME, "ACTIVE"),
    "delete": ("forceDelete", None, HOME, None),
}
# The usual run takes those in which most can go wrong.
CHOSEN = list(OPERATIONS) if os.environ.get("LENTICULAR_NIGHTLY") else ["live-migrate", "live-migrate, the target", "shelve"]
# More steps than any operation has on one host.
STEPS_MAX = 8


class Drilled(Lab):
    """A lab of two hosts, of which one has an agent that dies after so many steps."""

    def dies_after(self, host, steps):
        self.kill(host)
        wait_until("it is dead", lambda: not self.lives(host))
        done = subprocess.run([BINARY, "--data", self.data, "lab", "start", host], capture_output=True, text=True,
                              env={**self.client_env(), "LENTICULAR_DIES_AFTER_STEPS": str(steps)}, timeout=60)
        assert done.returncode == 0, done.stderr
        wait_until("it is back", lambda: self.is_up(host), every_s=0.05)

    def lives(self, host):
        try:
            with open(f"/proc/{self.pid(host)}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def is_up(self, host):
        shown = self.get(f"/operator/v1/hosts/{host}")
        heard = shown["heard_at"]
        before, self.heard = getattr(self, "heard", None), heard
        return before is not None and heard != before and shown["state"] == "up"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Drilled(tmp_path_factory.mktemp("drill") / "data", hosts=2)
    try:
        lab.start()
        lab.image = lab.upload("guest", path=GUEST_IMAGE)
        yield lab
    finally:
        lab.down()


def made_ready(lab, name):
    server = lab.create("drilled", lab.image, availability_zone=f"nova:{HOME}")
    lab.wait_status(server, "ACTIVE")
    lab.wait_console(server, "lenticular-guest: ready")
    before = {"start": "os-stop", "unshelve": "shelve"}.get(name)
    if before:
        lab.act(server, before)
        lab.wait_status(server, {"os-stop": "SHUTOFF", "shelve": "SHELVED_OFFLOADED"}[before])
    return server


def rests(lab, server, status):
    answer = lab.request("GET", f"/compute/v2.1/servers/{server}")
    if answer.status_code == 404:
        return status is None
    shown = answer.json()["server"]
    return status is not None and shown["status"] == status and shown["OS-EXT-STS:task_state"] is None


@pytest.mark.parametrize("name", CHOSEN)
def test_an_agent_that_dies_after_any_step_changes_nothing(lab, name):
    action, args, dies, status = OPERATIONS[name]
    deaths = 0
    for steps in range(1, STEPS_MAX + 1):
        server = made_ready(lab, name)
        lab.dies_after(dies, steps)
        watch = Watch()
        watch.start()
        lab.act(server, action, args)
        # A move that its source's agent left is given up or carried through; both are ends.
        home = lambda: status in ("ACTIVE", "VERIFY_RESIZE") and rests(lab, server, "ACTIVE")
        wait_until("it has died, or all is over", lambda: not lab.lives(dies) or rests(lab, server, status) or home())
        died = not lab.lives(dies)
        deaths += died
        if not died:
            # What comes after is not to be disturbed.
            lab.kill(dies)
            wait_until("it is dead", lambda: not lab.lives(dies))
        lab.restart()
        wait_until(f"it ends ({name}, after step {steps})", lambda: rests(lab, server, status) or home(), every_s=0.2)
        # What is left of it elsewhere does not run, and goes; the cloud does not wait for that to call a move done.
        processes = lambda: [host for of, host, _ in guests(lab.data).values() if of == server]
        runs = status in ("ACTIVE", "VERIFY_RESIZE")
        wait_until(f"its process is where it is said to be, and nowhere else ({name}, after step {steps})",
                   lambda: processes() == ([lab.host_of(server)] if runs else []))
        wait_until("it was looked at often enough", lambda: watch.looks > 12)
        watch.end()
        if status is not None:
            lab.delete(server)
        lab.wait_gone(server)
        if not died:
            break
    print(f"{name}: the agent of {dies} died {deaths} times")
    assert deaths > 0, "nothing was disturbed"
