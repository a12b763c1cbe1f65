"""Whoever breaks out of a guest finds himself a user without privileges, who may touch that guest's files alone."""

import hashlib
import os
import pathlib
import socket
import stat
import subprocess
import threading

import pytest

import cloud as clouds
from cloud import GUEST_IMAGE, Cloud, guest_processes, wait_until
from test_real_guest import ssh, where

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


@pytest.fixture
def service():
    """A service of this host that listens on all addresses; its port and how often it was reached."""
    reached = []
    listener = socket.create_server(("0.0.0.0", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                reached.append(1)
                connection.sendall(b"secret")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], reached
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def own_address():
    """An address of this host that is not its loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


def tables():
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in listed.splitlines() if "lenticular_user_" in line}


def open_fences():
    """Takes all fences away: agents of other clouds on this machine keep the same users in."""
    for table in tables():
        subprocess.run(["nft", "delete", "table", "inet", table], capture_output=True)


@pytest.fixture
def own_cloud(tmp_path, key):
    """A cloud of real guests for one test, which stops it."""
    cloud = Cloud(tmp_path / "data")
    try:
        cloud.start().wait_for_hosts()
        cloud.image = cloud.upload("guest", path=GUEST_IMAGE)
        cloud.net = cloud.network("net", "10.30.0.0/24")
        cloud.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "key", "public_key": key[1]}})
        yield cloud
    finally:
        cloud.down()


def test_a_guest_reaches_no_service_of_its_host(own_cloud, key, service):
    (port, reached), real = service, own_cloud
    server = real.create("fenced", real.image, network=real.net, key_name="key")
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, READY)
    forward = where(real, server)["ssh_forward"]
    gateway = "10.30.0.1"
    asks = lambda address: ssh(key[0], forward, f"timeout 5 nc {address} {port} </dev/null 2>&1; true")
    state = os.fsencode((real.data / "agent").resolve())
    mine = f"lenticular_user_{hashlib.sha256(state).hexdigest()[:8]}"
    assert mine in tables()
    for address in (gateway, own_address()):
        assert "secret" not in asks(address), address
    assert reached == []
    # The fence alone keeps it in, and the next start of the agent puts it up again.
    before = guest_processes(real.data)
    real.kill()

    def reaches():
        open_fences()
        return asks(gateway) == "secret"

    wait_until("without a fence the service is reached", reaches)
    assert reached
    for _ in range(2):
        real.start().wait_for_hosts()
        wait_until("the fence is up", lambda: mine in tables())
        assert guest_processes(real.data) == before
        reached.clear()
        assert "secret" not in asks(gateway) and reached == []
        real.kill()
    real.start().wait_for_hosts()
    real.wait_status(server, "ACTIVE")
    # With the last guest it goes.
    real.lenticular("down")
    assert real.process.wait(timeout=30) == 0
    assert mine not in tables()


@pytest.fixture
def no_other_fence():
    """The fences of other clouds, which were told of another resolver, are away for the time of the test."""
    nft = lambda *args, **kwargs: subprocess.run(["nft", *args], capture_output=True, text=True, check=True, **kwargs).stdout
    kept = [(table, nft("-s", "list", "table", "inet", table)) for table in tables()]
    for table, _ in kept:
        nft("delete", "table", "inet", table)
    yield
    for _, text in kept:
        nft("-f", "-", input=text)


@pytest.fixture
def resolver():
    """Asked on port 53 of an address of this host; what came in."""
    asked = []
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        listener.bind(("127.0.0.53", 53))
    except OSError:
        listener.close()
        pytest.skip("another resolver listens there")

    def serve():
        while True:
            question, who = listener.recvfrom(512)
            if not question:
                return
            asked.append(who)
            # The same question, answered: no such name.
            listener.sendto(question[:2] + b"\x81\x83" + question[4:], who)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield asked
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"", ("127.0.0.53", 53))
    thread.join()
    listener.close()


def test_a_guest_asks_its_hosts_resolver(tmp_path, key, resolver, no_other_fence, monkeypatch):
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.53\n")
    # The cloud sees another resolv.conf than the machine.
    wrapper = tmp_path / "lenticular"
    wrapper.write_text(f"#!/bin/sh\nexec unshare --mount sh -c 'mount --bind {conf} /etc/resolv.conf && exec {clouds.BINARY} "
                       "\"$@\"' sh \"$@\"\n")
    wrapper.chmod(0o755)
    monkeypatch.setattr(clouds, "BINARY", wrapper)
    c = Cloud(tmp_path / "data")
    try:
        c.start().wait_for_hosts()
        c.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "key", "public_key": key[1]}})
        server = c.create("asks", c.upload("guest", path=GUEST_IMAGE), network=c.network("net", "10.31.0.0/24"), key_name="key")
        c.wait_status(server, "ACTIVE")
        c.wait_console(server, READY)
        forward = where(c, server)["ssh_forward"]
        said = ssh(key[0], forward, "timeout 10 nslookup fenced.example 10.31.0.254 2>&1; true")
        assert resolver and "NXDOMAIN" in said, said
    finally:
        c.down()
