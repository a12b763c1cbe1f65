"""Real guests that move between the hosts of a lab, in peace and while everything that takes part is killed."""

import os
import random
import signal
import time

import pytest
from websockets.exceptions import ConnectionClosed

from cloud import GUEST_IMAGE, wait_until
from console import Serial, url
from lab import Lab, Watch, guest_lab, guests, in_order, left_here, strike

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

# The nightly run has 50.
MOVES = int(os.environ.get("LENTICULAR_MOVES", "8"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with guest_lab(tmp_path_factory.mktemp("lab") / "data") as lab:
        yield lab


def test_a_lab_leaves_nothing_behind(tmp_path):
    lab = Lab(tmp_path / "data", hosts=2).start()
    try:
        mark = lab.mark()
        assert len(left_here(mark)) == 5, "a bridge, and for each host a device and a namespace"
        hosts = lab.get("/compute/v2.1/os-hypervisors/detail")["hypervisors"]
        assert sorted(h["hypervisor_hostname"] for h in hosts) == ["host-1", "host-2"]
        code, said = lab.lenticular("lab", "up", ok=False)
        assert code != 0 and "there is a lab" in said
    finally:
        lab.down()
    assert left_here(mark) == []
    assert not (tmp_path / "data").exists()


def test_a_shelved_guest_comes_back_elsewhere_with_all_it_wrote(lab):
    server = lab.counting("sleeper")
    home, last = lab.host_of(server), lab.counts(server)[-1]
    lab.openstack("server", "shelve", "--wait", server)
    assert not [found for found in guests().values() if found[0] == server]
    wait_until("its host has nothing of it", lambda: not list(lab.data.glob(f"**/guests/{server}")))
    there = next(h for h in ["host-1", "host-2", "host-3"] if h != home)
    lab.openstack("--os-compute-api-version", "2.91", "server", "unshelve", "--host", there, "--wait", server)
    assert lab.host_of(server) == there
    lab.wait_counting(server)
    assert lab.counts(server)[0] > last, "what it wrote before it was shelved is there"
    # Its base is nowhere but on its host now, and it moves all the same.
    lab.openstack("server", "migrate", "--live-migration", "--wait", server)
    assert lab.host_of(server) != there
    lab.wait_counting(server)
    assert in_order(lab.counts(server))
    lab.delete(server)


def test_a_guest_is_moved_by_the_stock_client_and_notices_nothing(lab):
    server = lab.counting("traveller")
    watch = Watch()
    watch.start()
    home = lab.host_of(server)
    page = url(lab, server, "serial", "serial")
    line = Serial(page)
    line.until("count ")
    lab.openstack("server", "migrate", "--live-migration", "--wait", "traveller")
    there = lab.host_of(server)
    assert there != home
    # A console ends with the guest's process, and the same URL leads to where the guest is.
    with pytest.raises(ConnectionClosed):
        line.until("nothing more comes here")
    Serial(page).until("count ")
    last = lab.wait_counting(server)
    console = lab.console(server)
    assert in_order(lab.counts(server)), console
    assert console.count("lenticular-guest: boot") == 1, "it was not started anew"
    where = lab.get(f"/operator/v1/servers/{server}/where")
    assert [disk["host"] for disk in where["left_behind"]] == [home]

    # Cold: it is started anew, on the disk that moved.
    lab.openstack("server", "migrate", "--wait", "traveller")
    lab.openstack("server", "migration", "confirm", "traveller")
    lab.wait_status(server, "ACTIVE")
    assert lab.host_of(server) != there
    lab.wait_console(server, "lenticular-guest: boot 2")
    assert lab.wait_counting(server) > last
    assert in_order(lab.counts(server))
    watch.end()
    lab.delete(server)
    lab.wait_gone(server)
    left = lambda: [host for of, host, _ in guests().values() if of == server]
    assert not left()
    gone = lambda: not list(lab.data.glob(f"hosts/*/guests/{server}"))
    wait_until("no host keeps anything of the server", gone)


def test_a_deleted_image_still_serves_moves(lab):
    image = lab.upload("short-lived", path=GUEST_IMAGE)
    server = lab.create("orphan", image, network=lab.net)
    lab.wait_status(server, "ACTIVE")
    assert lab.request("DELETE", f"/image/v2/images/{image}").status_code == 204
    home = lab.host_of(server)
    # Other hosts may have the same bytes from another image: they are taken away.
    for base in lab.data.glob("hosts/*/base/*.qcow2"):
        if base.parents[1].name != home:
            base.unlink()
    lab.act(server, "os-migrateLive", {"host": None, "block_migration": True, "disk_over_commit": False})
    lab.wait_status(server, "ACTIVE")
    assert lab.host_of(server) != home
    lab.delete(server)


def test_no_disk_is_lost_and_no_guest_doubled_whoever_is_killed(lab):
    seed = int(os.environ.get("LENTICULAR_SEED", str(int(time.time()))))
    print(f"LENTICULAR_SEED={seed}")
    rng = random.Random(seed)
    server = lab.counting("survivor")
    seen = lab.counts(server)[-1]
    watch, killed, moved = Watch(), [], 0
    watch.start()
    for move in range(MOVES):
        source = lab.host_of(server)
        live = rng.random() < 0.6
        action = ("os-migrateLive", {"host": None, "block_migration": True, "disk_over_commit": False}) if live \
            else ("migrate", None)
        lab.act(server, *action)
        strike(lab, server, rng, source, killed)
        lab.restart()
        settle(lab, server)
        moved += lab.host_of(server) != source
        now = lab.wait_counting(server)
        assert now > seen, f"move {move} ({'live' if live else 'cold'}, {killed[-1]} killed): {now} after {seen}"
        seen = now
    watch.end()
    print(f"{MOVES} moves, {moved} arrived; killed: {killed}")
    lab.delete(server)
    lab.wait_gone(server)


def test_an_older_disk_can_be_gone_back_to(lab):
    server = lab.counting("historian")
    home = lab.host_of(server)
    lab.act(server, "migrate")
    lab.wait_status(server, "VERIFY_RESIZE")
    lab.act(server, "confirmResize")
    there = lab.host_of(server)
    lab.wait_console(server, "lenticular-guest: boot 2")
    left = lab.counts(server)[-1]
    newest = wait_until("it has counted on", lambda: (lab.counts(server)[-1] > left + 20) and lab.counts(server)[-1])
    disk = lab.get(f"/operator/v1/servers/{server}/where")["left_behind"][0]
    assert disk["host"] == home and disk["id"] in lab.lenticular("server", "disk", "list", server)
    code, said = lab.lenticular("server", "disk", "restore", server, disk["id"], ok=False)
    assert code != 0 and "Stop the server first" in said
    lab.act(server, "os-stop")
    lab.wait_status(server, "SHUTOFF")
    lab.lenticular("server", "disk", "restore", server, disk["id"])
    assert lab.host_of(server) == home
    kept = lab.get(f"/operator/v1/servers/{server}/where")["left_behind"]
    assert [d["host"] for d in kept] == [there], "the newer disk is kept in its turn"
    lab.act(server, "os-start")
    lab.wait_status(server, "ACTIVE")
    lab.wait_console(server, "lenticular-guest: boot 2")
    assert lab.wait_counting(server) < newest, "it counts on from the older disk"
    lab.delete(server)
    lab.wait_gone(server)


def test_a_lost_host_is_evacuated_only_on_its_operators_word(lab):
    server = lab.counting("widow")
    home = lab.host_of(server)
    watch = Watch()
    watch.start()

    def evacuate(status, word):
        answer = lab.request("POST", f"/compute/v2.1/servers/{server}/action", version="2.14", json={"evacuate": {}})
        assert answer.status_code == status and word in answer.text, answer.text

    evacuate(400, "still in use")
    code, said = lab.lenticular("host", "fence", home, "--disks-lost", ok=False)
    assert code != 0 and "talks to the control plane" in said
    # The host loses its power.
    lab.kill(home)
    for pid, (_, host, _) in guests(lab.data).items():
        if host == home:
            os.kill(pid, signal.SIGKILL)
    services = lambda: {s["host"]: s for s in lab.get("/compute/v2.1/os-services", version="2.53")["services"]}
    wait_until("the host is silent", lambda: services()[home]["state"] == "down")
    assert lab.server(server)["status"] == "ACTIVE", "it is shown as it was last seen"
    evacuate(409, "--disks-lost")
    lab.lenticular("host", "fence", home, "--disks-lost")
    assert services()[home]["forced_down"] is True
    evacuate(200, "")
    lab.wait_status(server, "ACTIVE")
    assert lab.host_of(server) != home
    wait_until("it counts from the beginning", lambda: 1 in lab.counts(server))

    # The host comes back, and starts nothing of what moved away.
    lab.restart()
    gone = lambda: not (lab.data / "hosts" / home / "guests" / server).exists()
    wait_until("it removes what it had", gone)
    lab.lenticular("host", "unfence", home)
    wait_until("it is up again", lambda: services()[home]["state"] == "up")
    watch.end()
    lab.delete(server)
    lab.wait_gone(server)


def settle(lab, server):
    """Waits until nothing is under way, and brings the guest back if it was killed."""
    def at_rest():
        now = lab.server(server)
        moving = lab.get(f"/operator/v1/servers/{server}/where")["moving"]
        return now if now["OS-EXT-STS:task_state"] is None and moving is None else None
    for _ in range(5):
        now = wait_until("nothing is under way", at_rest)
        if now["status"] == "VERIFY_RESIZE":
            lab.act(server, "confirmResize")
        elif now["status"] in ("ERROR", "SHUTOFF"):
            lab.act(server, "os-start")
        elif now["status"] == "ACTIVE":
            return
    raise AssertionError(f"it does not settle: {now}")
