"""Moving servers between hosts and changing their size, as stock clients ask for it. On simulated hosts."""

import pytest

from cloud import wait_until

SERVERS = "/compute/v2.1/servers"


@pytest.fixture
def server(sim, blank):
    made = sim.create("mover", *blank[:1])
    sim.wait_status(made, "ACTIVE")
    yield made
    sim.delete(made)


def host_of(cloud, server):
    """Where the server is, as every part of the API says: they must agree."""
    shown = cloud.get(f"{SERVERS}/{server}", version="2.96")["server"]
    host = shown["OS-EXT-SRV-ATTR:host"]
    assert shown["OS-EXT-SRV-ATTR:hypervisor_hostname"] == host
    found = cloud.get(f"{SERVERS}?host={host}&all_tenants=1")["servers"]
    assert server in [s["id"] for s in found]
    ports = cloud.get(f"/network/v2.0/ports?device_id={server}")["ports"]
    assert {p["binding:host_id"] for p in ports} <= {host}
    return host


def refused(cloud, server, action, args, status, *words, version=None):
    answer = cloud.request("POST", f"{SERVERS}/{server}/action", json={action: args}, version=version)
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.text, answer.text


def test_the_client_live_migrates_and_the_truth_follows(sim, server):
    before = host_of(sim, server)
    sim.openstack("server", "migrate", "--live-migration", "--wait", server)
    after = host_of(sim, server)
    assert after != before
    assert sim.server(server)["status"] == "ACTIVE"
    target = before
    sim.openstack("--os-compute-api-version", "2.30", "server", "migrate", "--live-migration", "--host", target, "--wait", server)
    assert host_of(sim, server) == target
    rows = sim.get(f"/os-migrations?instance_uuid={server}".replace("/os", "/compute/v2.1/os"), version="2.80")["migrations"]
    assert [(m["source_compute"], m["dest_compute"], m["status"], m["migration_type"]) for m in rows] == [
        (after, target, "completed", "live-migration"), (before, after, "completed", "live-migration")]
    listed = sim.openstack_json("--os-compute-api-version", "2.80", "server", "migration", "list", "--server", server)
    assert len(listed) == 2
    actions = sim.get(f"{SERVERS}/{server}/os-instance-actions", version="2.96")["instanceActions"]
    assert [a["action"] for a in actions] == ["live-migration", "live-migration", "create"]
    where = sim.lenticular("server", "where", server)
    assert target in where and after in where, where


def test_a_cold_migration_is_confirmed_or_taken_back(sim, server):
    home = host_of(sim, server)
    sim.openstack("server", "migrate", "--wait", server)
    away = host_of(sim, server)
    assert away != home and sim.server(server)["status"] == "VERIFY_RESIZE"
    refused(sim, server, "reboot", {"type": "HARD"}, 409, "resized")
    refused(sim, server, "migrate", None, 409, "resized")
    sim.openstack("server", "migration", "revert", server)
    sim.wait_status(server, "ACTIVE")
    assert host_of(sim, server) == home
    refused(sim, server, "confirmResize", None, 409, "active")
    sim.openstack("--os-compute-api-version", "2.56", "server", "migrate", "--host", away, "--wait", server)
    sim.openstack("server", "migration", "confirm", server)
    sim.wait_status(server, "ACTIVE")
    assert host_of(sim, server) == away
    rows = sim.get(f"/compute/v2.1/os-migrations?instance_uuid={server}", version="2.59")["migrations"]
    assert [m["status"] for m in rows] == ["confirmed", "confirmed", "reverted"]


def test_a_stopped_server_moves_and_stays_stopped(sim, server):
    home = host_of(sim, server)
    sim.act(server, "os-stop")
    sim.wait_status(server, "SHUTOFF")
    sim.act(server, "migrate")
    sim.wait_status(server, "VERIFY_RESIZE")
    sim.act(server, "confirmResize")
    sim.wait_status(server, "SHUTOFF")
    assert host_of(sim, server) != home
    sim.act(server, "os-start")
    sim.wait_status(server, "ACTIVE")


def test_a_resize_is_confirmed_and_taken_back(sim, server):
    flavors = {f["name"]: f for f in sim.get("/compute/v2.1/flavors/detail")["flavors"]}
    was = sim.get(f"{SERVERS}/{server}")["server"]["flavor"]["id"]
    sim.openstack("server", "resize", "--flavor", "m1.small", "--wait", server)
    grown = sim.get(f"{SERVERS}/{server}")["server"]
    assert (grown["status"], grown["flavor"]["id"]) == ("VERIFY_RESIZE", flavors["m1.small"]["id"])
    sim.openstack("server", "resize", "revert", server)
    sim.wait_status(server, "ACTIVE")
    assert sim.get(f"{SERVERS}/{server}")["server"]["flavor"]["id"] == was
    sim.openstack("server", "resize", "--flavor", "m1.small", "--wait", server)
    sim.openstack("server", "resize", "confirm", server)
    sim.wait_status(server, "ACTIVE")
    refused(sim, server, "resize", {"flavorRef": was}, 400, "Unable to resize disk down")
    refused(sim, server, "resize", {"flavorRef": flavors["m1.small"]["id"]}, 400, "must change flavor")
    refused(sim, server, "resize", {"flavorRef": "no-such"}, 400, "no-such")
    refused(sim, server, "resize", {}, 400, "flavorRef")


def test_what_cannot_move_is_told_why(sim, server):
    home = host_of(sim, server)
    live = {"host": home, "block_migration": "auto"}
    refused(sim, server, "os-migrateLive", live, 400, "current host", version="2.96")
    refused(sim, server, "os-migrateLive", {**live, "host": "nowhere"}, 400, "nowhere could not be found", version="2.96")
    services = sim.get("/compute/v2.1/os-services?binary=nova-compute", version="2.53")["services"]
    other = next(s for s in services if s["host"] != home)
    change = {"status": "disabled", "disabled_reason": "its fans are loud"}
    assert sim.request("PUT", f"/compute/v2.1/os-services/{other['id']}", version="2.53", json=change).status_code == 200
    try:
        refused(sim, server, "os-migrateLive", {**live, "host": other["host"]}, 400, "its fans are loud", other["host"], version="2.96")
    finally:
        sim.request("PUT", f"/compute/v2.1/os-services/{other['id']}", version="2.53", json={"status": "enabled"})
    assert host_of(sim, server) == home and sim.server(server)["status"] == "ACTIVE"
    assert sim.request("DELETE", f"{SERVERS}/{server}/migrations/7", version="2.24").status_code == 404
    sim.act(server, "os-stop")
    sim.wait_status(server, "SHUTOFF")
    refused(sim, server, "os-migrateLive", {**live, "host": None}, 409, "stopped", version="2.96")


def test_a_server_is_deleted_wherever_it_was(sim, blank):
    made = sim.create("leaver", *blank[:1])
    sim.wait_status(made, "ACTIVE")
    for _ in range(3):
        before = host_of(sim, made)
        sim.act(made, "os-migrateLive", {"host": None, "block_migration": True, "disk_over_commit": False})
        wait_until("it has moved", lambda: sim.server(made)["status"] == "ACTIVE" and host_of(sim, made) != before)
    sim.delete(made)
    sim.wait_gone(made)
