"""Whoever breaks out of a guest finds himself a user without privileges, who may touch that guest's files alone."""

import os
import pathlib
import stat
import subprocess

import pytest

from cloud import guest_processes

READY = "lenticular-guest: ready"
USERS = range(1_800_000_000, 1_800_065_536)
KVM = pathlib.Path("/dev/kvm")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives guests users of their own")


def status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, value in (line.split(":", 1) for line in lines)}


def owner_and_mode(path):
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def as_user(user, script, cwd):
    done = subprocess.run(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", "sh", "-c", script],
                          cwd=cwd, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_each_guest_has_a_user_of_its_own_and_no_privileges(real):
    servers = [real.create(name, real.image, network=real.net, key_name="key", user_data="IyEvYmluL3NoCg==")
               for name in ("one", "two")]
    for server in servers:
        real.wait_status(server, "ACTIVE")
        real.wait_console(server, READY)
    state = real.data / "agent"
    users = {}
    for pid in guest_processes(real.data):
        said = status(pid)
        server = pathlib.Path(f"/proc/{pid}/cwd").readlink().name
        user = users[server] = int(said["Uid"][0])
        assert user in USERS
        assert said["Uid"] == said["Gid"] == [str(user)] * 4
        # The group that may use KVM, where only a group may.
        assert set(said["Groups"]) <= {str(KVM.stat().st_gid)} - {"0"} if KVM.exists() else said["Groups"] == []
        assert {name: said[name] for name in ("CapEff", "CapPrm", "NoNewPrivs", "Seccomp")} == {
            "CapEff": ["0" * 16], "CapPrm": ["0" * 16], "NoNewPrivs": ["1"], "Seccomp": ["2"]}
        for space in ("ipc", "uts", "mnt"):
            assert os.readlink(f"/proc/{pid}/ns/{space}") != os.readlink(f"/proc/self/ns/{space}"), space
    assert sorted(users) == sorted(servers)
    one, two = (users[server] for server in servers)
    assert one != two

    for server, user in users.items():
        guest = state / "guests" / server
        for name in ("root.qcow2", "config.iso", "console.log"):
            assert owner_and_mode(guest / name) == (user, user, 0o600), name
        assert owner_and_mode(guest / "run") == (user, user, 0o700)
        for name in ("disk.json", "user_data", "qemu.log"):
            assert owner_and_mode(guest / name) == (0, 0, 0o600), name
        assert owner_and_mode(guest) == (0, 0, 0o711)
    for entry in state.iterdir():
        mode = 0o711 if entry.name in ("base", "guests") else stat.S_IMODE(entry.stat().st_mode) & 0o700
        assert owner_and_mode(entry) == (0, 0, mode), entry

    # As that user: its own files and no others, and nothing that the agent writes can be replaced.
    own, other = (state / "guests" / server for server in servers)
    assert as_user(one, "head -c 4 root.qcow2 | grep -q QFI && : > run/file && rm run/file", own) == (0, "")
    base = next((state / "base").glob("*.qcow2"))
    assert as_user(one, f"head -c 4 ../../base/{base.name} | grep -q QFI", own) == (0, "")
    for script in ("cat user_data", "cat disk.json", "rm -f root.qcow2", "ln -s /etc/passwd console.old", "ls .",
                   "ls ../../base", "ls ..", f"echo x >> ../../base/{base.name}", "ls ../../identity",
                   "cat ../../agent.json", f"cat ../{other.name}/root.qcow2", f"cat ../{other.name}/console.log",
                   f"cat ../{other.name}/config.iso", f"ls ../{other.name}/run", f"mv run ../{other.name}/x"):
        code, said = as_user(one, script, own)
        assert code != 0 and "denied" in said, (script, said)

    # A guest that is stopped and started keeps its user.
    real.act(servers[1], "os-stop")
    real.wait_status(servers[1], "SHUTOFF")
    real.act(servers[1], "os-start")
    real.wait_status(servers[1], "ACTIVE")
    real.wait_console(servers[1], READY, count=2)
    assert sorted(int(status(pid)["Uid"][0]) for pid in guest_processes(real.data)) == sorted([one, two])

    # What a guest that was broken out of puts in its QEMU's place leads the agent nowhere.
    real.act(servers[0], "os-stop")
    real.wait_status(servers[0], "SHUTOFF")
    secret = state / "secret"
    secret.write_text("untouched")
    run = own / "run"
    for name in ("pid", "qmp", "serial"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(secret)
    real.act(servers[0], "os-start")
    real.wait_status(servers[0], "ERROR")
    assert secret.read_text() == "untouched" and owner_and_mode(secret)[:2] == (0, 0)
    for server in servers:
        real.delete(server)
        real.wait_gone(server)
    assert not own.exists()
    secret.unlink()
