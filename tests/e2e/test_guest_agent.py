"""What is done inside a guest: passwords, file systems frozen for a snapshot, dumps of memory."""

from console import Serial, url
from test_real_guest import READY, ssh, where

SERVERS = "/compute/v2.1/servers"


def act(cloud, server, action, args=None, version="latest"):
    return cloud.request("POST", f"{SERVERS}/{server}/action", json={action: args}, version=version)


def actions(cloud, server):
    return [a["action"] for a in cloud.get(f"{SERVERS}/{server}/os-instance-actions")["instanceActions"]]


def log_in(line, user, password, until="\r\n"):
    line.answer("\n", "login:")
    line.type(f"{user}\n")
    line.until("Password:")
    line.type(f"{password}\n")
    line.until(until)


def test_a_real_guests_password_files_and_memory(real, key):
    server = real.create("inside", real.image, network=real.net, key_name="key")
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, READY)
    # The password, by the stock client; it counts at once, and the old one no more.
    real.openstack("server", "set", "--password", "n3w-secret", server)
    line = Serial(url(real, server, "serial", "serial"))
    log_in(line, "root", "wrong", until="Login incorrect")
    log_in(line, "root", "n3w-secret", until="#")
    line.type("echo $((6*7))-as-root; echo 1 >/proc/sys/kernel/unknown_nmi_panic\n")
    line.until("42-as-root")
    # A file that is in the guest's memory alone is in the image all the same.
    line.type("echo precious >/var/lib/persist/late; echo $((7*7))-late\n")
    line.until("49-late")
    real.openstack("server", "image", "create", "--name", "whole", "--wait", server)
    assert "without being frozen" not in real.log()
    line.type("echo more >/var/lib/persist/after; echo $((8*8))-thawed\n")
    line.until("64-thawed")
    copy = real.create("copy", real.get("/image/v2/images?name=whole")["images"][0]["id"], network=real.net, key_name="key")
    real.wait_status(copy, "ACTIVE")
    real.wait_console(copy, READY)
    assert ssh(key[0], where(real, copy)["ssh_forward"], "cat /var/lib/persist/late") == "precious"
    real.delete(copy)
    # A dump: what the guest does with the interrupt is its own matter.
    real.openstack("--os-compute-api-version", "2.17", "server", "dump", "create", server)
    real.wait_console(server, "Kernel panic")
    assert actions(real, server)[:2] == ["trigger_crash_dump", "createImage"]
    # A guest that answers nothing is said to.
    answer = act(real, server, "changePassword", {"adminPass": "x"})
    assert answer.status_code == 409 and "guest agent" in answer.text
    real.delete(server)
    real.wait_gone(server)


def test_what_may_be_done_inside_a_guest_and_when(sim, blank):
    server = sim.create("inner", blank[0], network=blank[1])
    sim.wait_status(server, "ACTIVE")
    assert act(sim, server, "changePassword", {"adminPass": "s3cret"}).status_code == 202
    assert act(sim, server, "trigger_crash_dump", None, "2.16").status_code == 404
    assert act(sim, server, "trigger_crash_dump").status_code == 202
    assert act(sim, server, "trigger_crash_dump", {"now": True}).status_code == 400
    for bad in [None, {}, {"adminPass": 7}, {"adminPass": "two\nlines"}, {"adminPass": "x", "user": "y"}]:
        assert act(sim, server, "changePassword", bad).status_code == 400, bad
    sim.act(server, "pause")
    sim.wait_status(server, "PAUSED")
    assert act(sim, server, "changePassword", {"adminPass": "s3cret"}).status_code == 409
    assert act(sim, server, "trigger_crash_dump").status_code == 202
    sim.act(server, "unpause")
    sim.wait_status(server, "ACTIVE")
    sim.act(server, "os-stop")
    sim.wait_status(server, "SHUTOFF")
    for action, args in [("changePassword", {"adminPass": "s3cret"}), ("trigger_crash_dump", None)]:
        answer = act(sim, server, action, args)
        assert answer.status_code == 409 and "vm_state stopped" in answer.text
    # The journal has no password.
    assert "s3cret" not in sim.lenticular("server", "journal", server)
    sim.delete(server)
