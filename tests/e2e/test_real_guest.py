"""Real guests: booted, reached, stopped, started, killed and removed."""

import base64
import os
import signal
import subprocess

from cloud import GUEST_IMAGE, guest_processes, wait_until

READY = "lenticular-guest: ready"


def ssh(key, forward, command):
    host, port = forward.rsplit(":", 1)
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
               "-o", "ConnectTimeout=20"]
    def attempt():
        done = subprocess.run(["ssh", "-i", key, "-p", port, *options, f"lenticular@{host}", command],
                              capture_output=True, text=True, timeout=60)
        return done if done.returncode == 0 else None
    return wait_until(f"ssh to {forward} answers", attempt, every_s=1).stdout.strip()


def where(cloud, server):
    return cloud.get(f"/operator/v1/servers/{server}/where")


def test_the_stock_client_boots_a_guest_that_answers(real, key):
    shown = real.openstack_json("server", "create", "first", "--image", "guest", "--flavor", "m1.nano", "--network", "net",
                                "--key-name", "key", "--wait")
    assert shown["status"] == "ACTIVE"
    address = shown["addresses"]["net"][0]
    server = shown["id"]
    real.wait_console(server, READY)
    log = real.openstack("console", "log", "show", "first")
    assert "lenticular-guest: hostname first" in log
    # The guest's own address is the one that its port was given.
    assert f"lenticular-guest: address {address}" in log
    assert ssh(key[0], where(real, server)["ssh_forward"], "hostname") == "first"
    assert "first" in real.lenticular("server", "where", "first")
    real.openstack("server", "delete", "--wait", "first")
    assert guest_processes(real.data) == []
    assert not (real.data / "agent" / "guests" / server).exists()


def test_a_guest_keeps_its_disk_through_stop_start_reboot_and_death(real):
    script = "#!/bin/sh\necho user-data-was-here\n"
    server = real.create("lives", real.image, network=real.net, key_name="key", metadata={"colour": "blue"},
                         user_data=base64.b64encode(script.encode()).decode())
    # Every guest here has a config drive, which was not asked for, and is told so.
    assert real.wait_status(server, "ACTIVE")["config_drive"] == "True"
    drive = (real.data / "agent" / "guests" / server / "config.iso").read_bytes()
    assert all(name in drive for name in (b"2012-08-10", b"2018-08-27", b"latest", b"vendor_data2.json"))
    real.wait_console(server, READY)
    console = real.console(server)
    assert "lenticular-guest: boot 1\r\n" in console or "lenticular-guest: boot 1\n" in console
    assert "user-data-was-here" in console

    real.act(server, "os-stop")
    real.wait_status(server, "SHUTOFF")
    assert guest_processes(real.data) == []
    real.act(server, "os-start")
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, "lenticular-guest: boot 2")

    real.wait_console(server, READY, count=2)
    real.act(server, "reboot", {"type": "SOFT"})
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, "lenticular-guest: boot 3")
    real.wait_console(server, READY, count=3)

    (pid,) = guest_processes(real.data)
    os.kill(pid, signal.SIGKILL)
    died = real.wait_status(server, "ERROR")
    assert "ended unexpectedly" in died["fault"]["message"]
    assert "Start the server again" in died["fault"]["message"]
    real.act(server, "os-start")
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, "lenticular-guest: boot 4")
    events = real.openstack_json("server", "event", "list", server)
    assert sorted(e["Action"] for e in events) == ["create", "reboot", "start", "start", "stop"]
    real.delete(server)
    real.wait_gone(server)


def test_guests_run_on_while_the_cloud_is_killed_and_are_found_again(real, key):
    server = real.create("steady", real.image, network=real.net, key_name="key")
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, READY)
    before = guest_processes(real.data)
    forward = where(real, server)["ssh_forward"]
    real.kill()
    assert ssh(key[0], forward, "hostname") == "steady", "the guest answers while there is no control plane"
    real.start().wait_for_hosts()
    assert guest_processes(real.data) == before, "the same process, neither restarted nor doubled"
    assert real.wait_status(server, "ACTIVE")
    assert ssh(key[0], forward, "cat /var/lib/persist/boot-count 2>/dev/null || true") in ("1", "")
    assert real.console(server).count("lenticular-guest: boot") == 1
    # A guest that dies while nobody looks is noticed afterwards.
    real.kill()
    os.kill(before[0], signal.SIGKILL)
    real.start().wait_for_hosts()
    real.wait_status(server, "ERROR")
    real.act(server, "reboot", {"type": "HARD"})
    real.wait_status(server, "ACTIVE")
    real.delete(server)
    real.wait_gone(server)
    assert guest_processes(real.data) == []


def test_the_image_can_go_while_its_servers_stay(real):
    image = real.upload("short-lived", path=GUEST_IMAGE)
    server = real.create("orphan", image, network=real.net)
    real.wait_status(server, "ACTIVE")
    assert real.request("DELETE", f"/image/v2/images/{image}").status_code == 204
    real.act(server, "os-stop")
    real.wait_status(server, "SHUTOFF")
    real.act(server, "os-start")
    real.wait_status(server, "ACTIVE")
    real.delete(server)
    real.wait_gone(server)


def test_an_aggregates_hosts_fetch_an_image_before_a_server_needs_it(real):
    image = real.upload("early", data=b"early" * 1000, disk_format="raw")
    bases = real.data / "agent" / "base"
    before = set(bases.iterdir())
    aggregate = real.post("/compute/v2.1/os-aggregates", {"aggregate": {"name": "all"}})["aggregate"]["id"]
    path = f"/compute/v2.1/os-aggregates/{aggregate}"
    (host,) = [h["hypervisor_hostname"] for h in real.get("/compute/v2.1/os-hypervisors")["hypervisors"]]
    real.post(f"{path}/action", {"add_host": {"host": host}})
    cache = lambda images: real.request("POST", f"{path}/images", json={"cache": images}, version="2.81").status_code
    assert cache([{"id": "00000000-0000-4000-8000-000000000000"}]) == 400
    assert cache([{"id": image}]) == 202
    whole = lambda: [f for f in set(bases.iterdir()) - before if f.is_file() and f.stat().st_size == 5000]
    wait_until("the host has the image", whole)
    real.post(f"{path}/action", {"remove_host": {"host": host}})
    assert real.request("DELETE", path).status_code == 200


def test_down_stops_the_guests_and_up_starts_them_again(real):
    server = real.create("through-the-night", real.image, network=real.net)
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, READY)
    said = real.lenticular("down")
    assert "1 guests were stopped" in said
    assert guest_processes(real.data) == []
    assert real.process.wait(timeout=30) == 0
    real.start().wait_for_hosts()
    real.wait_console(server, "lenticular-guest: boot 2")
    real.wait_status(server, "ACTIVE")
    real.delete(server)
    real.wait_gone(server)


# Counts in the guest's memory alone, and leaves a file on its disk.
COUNTER = """#!/bin/sh
echo kept > /var/lib/persist/mark; sync
cat > /var/lib/persist/boot <<'END'
#!/bin/sh
echo "mark: $(cat /var/lib/persist/mark)" > /dev/ttyS0
END
chmod 755 /var/lib/persist/boot; sync
(n=0; while true; do n=$((n+1)); echo "count $n" > /dev/ttyS0; sleep 0.2; done) &
"""


def counts(cloud, server):
    lines = (line.strip() for line in cloud.console(server).splitlines())
    return [int(line.split()[1]) for line in lines if line.startswith("count ") and line.split()[1].isdigit()]


def counts_on(cloud, server):
    had = counts(cloud, server)
    wait_until("the guest counts on", lambda: len(counts(cloud, server)) > len(had) + 3)
    now = counts(cloud, server)
    assert now == sorted(now), now
    assert cloud.console(server).count("lenticular-guest: boot ") == 1


def rests(cloud, server, status):
    wait_until(f"{server} is {status}", lambda: cloud.server(server)["status"] == status)
    wait_until("no task", lambda: cloud.server(server)["OS-EXT-STS:task_state"] is None)


def test_a_guest_is_suspended_copied_and_rebuilt_by_the_stock_client(real):
    server = real.create("copied", real.image, network=real.net, user_data=base64.b64encode(COUNTER.encode()).decode())
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, READY)
    counts_on(real, server)

    # The memory outlives the cloud's process, and its agent's.
    real.openstack("server", "suspend", server)
    rests(real, server, "SUSPENDED")
    assert guest_processes(real.data) == []
    real.kill()
    real.start().wait_for_hosts()
    rests(real, server, "SUSPENDED")
    real.openstack("server", "resume", server)
    rests(real, server, "ACTIVE")
    counts_on(real, server)
    real.openstack("server", "pause", server)
    rests(real, server, "PAUSED")
    real.openstack("server", "unpause", server)
    rests(real, server, "ACTIVE")
    counts_on(real, server)

    # The image of the running guest has its file, and boots.
    real.openstack("server", "image", "create", "--name", "copy", "--wait", server)
    counts_on(real, server)
    [image] = real.get("/image/v2/images?name=copy")["images"]
    copy = real.create("of-the-copy", image["id"], network=real.net)
    real.wait_status(copy, "ACTIVE")
    real.wait_console(copy, "mark: kept")
    real.delete(copy)
    real.wait_gone(copy)

    # Rebuilt from the first image, it is a new guest at the same address.
    addresses = real.server(server)["addresses"]
    real.openstack("server", "rebuild", "--image", "guest", server)
    rests(real, server, "ACTIVE")
    real.wait_console(server, "lenticular-guest: boot 1", count=2)
    assert real.server(server)["addresses"] == addresses
    real.wait_console(server, READY, count=2)

    # Rescued, it starts from another disk; its own disk is untouched after that.
    real.openstack("server", "rescue", server)
    rests(real, server, "RESCUE")
    real.wait_console(server, "lenticular-guest: boot 1", count=3)
    real.openstack("server", "unrescue", server)
    rests(real, server, "ACTIVE")
    real.wait_console(server, "lenticular-guest: boot 2")
    real.openstack("image", "delete", "copy")
    real.delete(server)
