"""Bad luck on a host: the server goes to ERROR and says why, the cloud goes on, and `start` gets it back."""

import os
import pathlib
import socket
import subprocess
import tempfile
import time

import pytest
import requests

from cloud import BINARY, GUEST_IMAGE, Cloud, wait_until


@pytest.fixture
def cloud(tmp_path, request):
    made = []

    def make(at="data", **kwargs):
        made.append(Cloud(tmp_path / at, **kwargs))
        return made[-1]

    yield make
    [c.down() for c in made]


@pytest.fixture
def programs():
    """A directory for programs that guests' users can start."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield pathlib.Path(path)


def test_a_hypervisor_that_dies_at_start_is_explained_and_forgiven(cloud, programs):
    # A qemu-system-x86_64 that works only while it is let: found before the real one.
    bad = programs
    real = subprocess.run(["which", "qemu-system-x86_64"], capture_output=True, text=True, check=True).stdout.strip()
    broken = bad / "broken"
    wrapper = bad / "qemu-system-x86_64"
    wrapper.write_text(f"#!/bin/sh\n[ -e {broken} ] && {{ echo 'no more memory for guests' >&2; exit 1; }}\nexec {real} \"$@\"\n")
    wrapper.chmod(0o755)
    c = cloud(env={"PATH": f"{bad}:{os.environ['PATH']}"}).start().wait_for_hosts()
    image = c.upload("guest", path=GUEST_IMAGE)
    broken.touch()
    server = c.create("unlucky", image)
    fault = c.wait_status(server, "ERROR")["fault"]
    assert "start" in fault["message"].lower(), fault
    assert "no more memory for guests" in fault["details"], fault
    broken.unlink()
    c.act(server, "os-start")
    c.wait_status(server, "ACTIVE")
    c.wait_console(server, "lenticular-guest: boot 1")
    c.delete(server)
    c.wait_gone(server)


def test_without_a_hypervisor_the_cloud_is_up_and_says_what_is_missing(cloud, tmp_path):
    # Everything that is on the path but QEMU.
    bare = tmp_path / "bin"
    bare.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for program in os.scandir(folder):
            if not program.name.startswith("qemu") and not (bare / program.name).exists():
                (bare / program.name).symlink_to(program.path)
    c = cloud(env={"PATH": str(bare)}).start().wait_for_hosts()
    image = c.upload("blank", data=b"\0" * 4096, disk_format="raw")
    server = c.create("nowhere", image)
    fault = c.wait_status(server, "ERROR")["fault"]
    assert "No valid host" in fault["message"], fault
    explained = c.get(f"/operator/v1/servers/{server}/explain")
    assert "qemu" in explained["refused"][0]["reason"].lower(), explained
    c.delete(server)
    c.wait_gone(server)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own needs root")
def test_a_full_host_disk_is_explained_and_start_gets_the_server_back(cloud):
    c = cloud()
    agent = c.data / "agent"
    agent.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1600m", "tmpfs", agent], check=True)
    try:
        c.start().wait_for_hosts()
        image = c.upload("guest", path=GUEST_IMAGE)
        filler = agent / "filler"
        free = os.statvfs(agent)
        with open(filler, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, free.f_bavail * free.f_frsize - (64 << 20))
        server = c.create("squeezed", image, flavor="42")
        fault = c.wait_status(server, "ERROR")["fault"]
        if "No valid host" in fault["message"]:
            pytest.fail(f"the host was refused before its disk was tried: {c.get(f'/operator/v1/servers/{server}/explain')}")
        assert "disk" in fault["message"] and "full" in fault["message"], fault
        filler.unlink()
        c.act(server, "os-start")
        c.wait_status(server, "ACTIVE")
        c.delete(server)
        c.wait_gone(server)
    finally:
        c.down()
        subprocess.run(["umount", "-l", agent], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own needs root")
def test_a_full_image_store_slows_nothing_else(cloud):
    c = cloud(hosts=2)
    images = c.data / "images"
    images.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", images], check=True)
    try:
        c.start().wait_for_hosts()
        small = c.upload("small", data=b"\0" * 4096, disk_format="raw")
        image = c.post("/image/v2/images", {"name": "big", "disk_format": "raw", "container_format": "bare"})["id"]
        answer = c.request("PUT", f"/image/v2/images/{image}/file", data=b"\0" * (4 << 20),
                           headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code in (413, 503), answer.text
        assert "store is full" in answer.text
        assert c.get(f"/image/v2/images/{image}")["status"] == "queued", "it can be uploaded again"
        assert [f.stat().st_size for f in images.iterdir()] == [4096], "nothing half-done stays"
        c.wait_status(c.create("fine", small), "ACTIVE")
    finally:
        c.down()
        subprocess.run(["umount", "-l", images], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own needs root")
def test_a_full_store_refuses_changes_and_takes_them_again_when_there_is_room(cloud):
    # The log is on the same disk, as that of `./up`.
    c = cloud(at="disk/data", hosts=2)
    disk = c.data.parent
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], check=True)
    try:
        c.start().wait_for_hosts()
        image = c.upload("small", data=b"\0" * 4096, disk_format="raw")
        before = c.create("before", image)
        c.wait_status(before, "ACTIVE")
        with open(disk / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"\0" * 4096)
            except OSError:
                pass
        def refused():
            body = {"server": {"name": "after", "imageRef": image, "flavorRef": "42", "networks": "none"}}
            answer = c.request("POST", "/compute/v2.1/servers", json=body, version="2.79")
            # A refusal is falsy to this library, so it is wrapped.
            return [answer] if answer.status_code == 503 else None
        (answer,) = wait_until("a full store refuses", refused, every_s=0)
        assert "serviceUnavailable" in answer.json(), answer.text
        assert requests.get(f"{c.url}/healthz", timeout=10).status_code == 503
        names = {s["name"]: s["id"] for s in c.get("/compute/v2.1/servers")["servers"]}
        assert names["before"] == before, "reads go on"
        # Each refusal has a line for the log, which has no room.
        assert [refused() is not None for _ in range(20)] == [True] * 20
        (disk / "filler").unlink()
        again = wait_until("the store takes changes again", lambda: try_create(c, image), every_s=0.5)
        c.wait_status(again, "ACTIVE")
    finally:
        c.down()
        subprocess.run(["umount", "-l", disk], check=True)


def try_create(c, image):
    body = {"server": {"name": "again", "imageRef": image, "flavorRef": "42", "networks": "none"}}
    answer = c.request("POST", "/compute/v2.1/servers", json=body, version="2.79")
    return answer.json()["server"]["id"] if answer.status_code == 202 else None


def test_a_second_cloud_on_one_store_is_refused_by_name(sim):
    second = subprocess.run([BINARY, "--data", sim.data, "up", "--listen", "127.0.0.1:0", "--sim-hosts", "1"],
                            capture_output=True, text=True, timeout=60)
    assert second.returncode != 0
    assert "store.db" in second.stderr, second.stderr
    assert requests.get(f"{sim.url}/healthz", timeout=10).status_code == 200


def test_a_request_that_is_refused_before_it_was_read_leaves_the_connection_usable(sim):
    with socket.create_connection(("127.0.0.1", sim.port), timeout=10) as client:
        answers = client.makefile("rb")

        def status(head, body=b""):
            client.sendall(head.encode() + b"\r\nHost: cloud\r\nContent-Length: %d\r\n\r\n" % len(body))
            # The body comes in a packet of its own, as clients send it.
            time.sleep(0.2)
            client.sendall(body)
            first = answers.readline().decode()
            length = 0
            while (line := answers.readline().strip()):
                name, _, value = line.decode().partition(":")
                length = int(value) if name.lower() == "content-length" else length
            answers.read(length)
            return int(first.split()[1])

        assert status("PATCH /network/v2.0/networks HTTP/1.1", b'{"network": {}}') in (401, 405)
        assert status("POST /compute/v2.1/servers HTTP/1.1", b'{"server": {}}') == 401
        assert status("GET / HTTP/1.1") == 200


def test_a_lost_store_is_named_and_takes_no_image_with_it(cloud):
    c = cloud(hosts=1).start().wait_for_hosts()
    image = c.upload("precious", data=b"\1" * 4096, disk_format="raw")
    c.stop()
    kept = (c.data / "store.db").read_bytes()
    for file in c.data.glob("store.db*"):
        file.unlink()
    refused = subprocess.run([BINARY, "--data", c.data, "up", "--listen", "127.0.0.1:0", "--sim-hosts", "1"],
                             capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0 and "Restore its store" in refused.stderr, refused.stderr
    assert [f.read_bytes() for f in (c.data / "images").iterdir()] == [b"\1" * 4096]
    for file in c.data.glob("store.db*"):
        file.unlink()
    (c.data / "store.db").write_bytes(kept)
    c.start()
    assert c.request("GET", f"/image/v2/images/{image}/file").content == b"\1" * 4096


def test_a_lost_password_file_is_made_anew_and_works(cloud):
    c = cloud(hosts=1).start()
    old = c.password()
    c.stop()
    (c.data / "admin-password").unlink()
    c.start()
    assert c.password() != old
    c._token = None
    assert c.get("/compute/v2.1/servers")["servers"] == []


def test_a_damaged_store_is_named_and_left_as_it_is(cloud):
    c = cloud(hosts=1).start()
    c.stop()
    store = c.data / "store.db"
    whole = bytearray(store.read_bytes())
    whole[100:200] = b"X" * 100
    store.write_bytes(whole)
    refused = subprocess.run([BINARY, "--data", c.data, "up", "--listen", "127.0.0.1:0", "--sim-hosts", "1"],
                             capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0 and "store.db" in refused.stderr, refused.stderr
    assert store.read_bytes() == bytes(whole)
