"""Shelving servers and bringing them back, as stock clients ask for it. On simulated hosts; a real guest's disk is in
test_lab.py."""

import pytest

from cloud import wait_until

SERVERS = "/compute/v2.1/servers"


@pytest.fixture
def shelved(sim, blank):
    server = sim.create("shelved", blank[0], network=blank[1])
    sim.wait_status(server, "ACTIVE")
    sim.openstack("server", "shelve", "--wait", server)
    yield server
    sim.delete(server)


def refused(cloud, server, action, args, status, *words, **more):
    answer = cloud.request("POST", f"{SERVERS}/{server}/action", json={action: args}, **more)
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.text, answer.text


def images_of(cloud, server):
    images = cloud.get(f"/image/v2/images?instance_uuid={server}")["images"]
    return [i for i in images if i.get("instance_uuid") == server]


def test_a_shelved_server_is_an_image_and_on_no_host(sim, shelved):
    shown = sim.server(shelved)
    assert shown["status"] == "SHELVED_OFFLOADED" and shown["OS-EXT-STS:vm_state"] == "shelved_offloaded"
    assert not shown["OS-EXT-SRV-ATTR:host"] and shown["OS-EXT-STS:power_state"] == 4
    [image] = images_of(sim, shelved)
    assert image["status"] == "active" and image["name"] == "shelved-shelved" and image["visibility"] == "private"
    [port] = sim.get(f"/network/v2.0/ports?device_id={shelved}")["ports"]
    assert port["binding:host_id"] == "" and port["status"] == "DOWN" and port["fixed_ips"]
    for action in ["os-start", "os-stop", "shelve", "shelveOffload", "migrate"]:
        refused(sim, shelved, action, None, 409, "shelved_offloaded")
    answer = sim.request("DELETE", f"/image/v2/images/{image['id']}")
    assert answer.status_code == 409 and shelved in answer.text
    actions = sim.get(f"{SERVERS}/{shelved}/os-instance-actions")["instanceActions"]
    assert [a["action"] for a in actions] == ["shelve", "create"]


def test_it_comes_back_with_its_addresses_and_the_image_goes(sim, shelved):
    before = sim.server(shelved)["addresses"]
    [image] = images_of(sim, shelved)
    sim.openstack("server", "unshelve", "--wait", shelved)
    shown = sim.server(shelved)
    assert shown["status"] == "ACTIVE" and shown["OS-EXT-SRV-ATTR:host"] and shown["addresses"] == before
    assert images_of(sim, shelved) == []
    stored = sim.data / "images" / image["id"]
    wait_until("the image's bytes are gone", lambda: not stored.exists())
    refused(sim, shelved, "unshelve", None, 409, "vm_state active")


def test_an_operator_names_the_host_and_the_zone(sim, shelved):
    action = f"{SERVERS}/{shelved}/action"
    host = sim.get("/compute/v2.1/os-hypervisors")["hypervisors"][-1]["hypervisor_hostname"]
    refused(sim, shelved, "unshelve", {"host": host}, 400, version="2.90")
    refused(sim, shelved, "unshelve", {}, 400, version="2.91")
    refused(sim, shelved, "unshelve", {"availability_zone": None}, 400, version="2.77")
    refused(sim, shelved, "unshelve", {"availability_zone": "moon"}, 400, "moon", version="2.77")
    refused(sim, shelved, "unshelve", {"host": "nowhere"}, 400, "nowhere", version="2.91")
    sim.post(action, {"unshelve": {"availability_zone": None, "host": host}}, version="2.91")
    assert sim.wait_status(shelved, "ACTIVE")["OS-EXT-SRV-ATTR:host"] == host


def test_deleting_a_shelved_server_takes_its_image_along(sim, blank):
    server = sim.create("gone", blank[0])
    sim.wait_status(server, "ACTIVE")
    sim.post(f"{SERVERS}/{server}/action", {"shelve": None})
    sim.wait_status(server, "SHELVED_OFFLOADED")
    assert len(images_of(sim, server)) == 1
    sim.delete(server)
    wait_until("it is gone", lambda: sim.request("GET", f"{SERVERS}/{server}").status_code == 404)
    assert images_of(sim, server) == []
