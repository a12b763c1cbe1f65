"""Deleted servers that can be restored for a time, if the operator's settings say so. On simulated hosts."""

import pytest

from cloud import Cloud, wait_until

SERVERS = "/compute/v2.1/servers"


def with_interval(folder, seconds):
    settings = f"[compute]\nreclaim_instance_interval = {seconds}\n"
    return Cloud(folder / "data", hosts=1, settings=settings).start().wait_for_hosts()


@pytest.fixture
def keeping(tmp_path):
    """A cloud that keeps deleted servers for an hour."""
    cloud = with_interval(tmp_path, 3600)
    yield cloud
    cloud.down()


def furnish(cloud):
    image = cloud.upload("blank", data=b"\0" * (1 << 20), disk_format="raw")
    network = cloud.post("/network/v2.0/networks", {"network": {"name": "net"}})["network"]["id"]
    subnet = {"network_id": network, "cidr": "10.9.0.0/24", "ip_version": 4}
    cloud.post("/network/v2.0/subnets", {"subnet": subnet})
    server = cloud.create("dear", image, network=network)
    cloud.wait_status(server, "ACTIVE")
    return server


def listed(cloud, query=""):
    return [s["id"] for s in cloud.get(f"{SERVERS}?all_tenants=1{query}")["servers"]]


def in_use(cloud):
    limits = cloud.get("/compute/v2.1/limits")["limits"]["absolute"]
    return [limits[f"total{name}Used"] for name in ["Instances", "Cores", "RAM"]]


def act(cloud, server, action):
    return cloud.request("POST", f"{SERVERS}/{server}/action", json={action: None}, version="latest")


def test_a_deleted_server_is_restored_with_its_addresses(keeping):
    server = furnish(keeping)
    before, used = keeping.server(server), in_use(keeping)
    keeping.openstack("server", "delete", server)

    shown = keeping.server(server)
    assert (shown["status"], shown["OS-EXT-STS:vm_state"]) == ("SOFT_DELETED", "soft-delete")
    wait_until("its guest is stopped", lambda: keeping.server(server)["OS-EXT-STS:power_state"] == 4)
    assert listed(keeping) == []
    assert listed(keeping, "&deleted=true") == listed(keeping, "&status=soft_deleted") == [server]
    assert in_use(keeping) == [0, 0, 0] != used

    # Nothing else can be done with it, and it is deleted only once.
    for action in ["os-start", "pause", "suspend", "shelve"]:
        assert act(keeping, server, action).status_code == 409, action
    assert keeping.request("DELETE", f"{SERVERS}/{server}").status_code == 204

    keeping.openstack("server", "restore", server)
    keeping.wait_status(server, "ACTIVE")
    after = keeping.server(server)
    for same in ["addresses", "OS-EXT-SRV-ATTR:host", "name", "image", "created"]:
        assert after[same] == before[same], same
    assert in_use(keeping) == used and listed(keeping) == [server]
    actions = [a["action"] for a in keeping.get(f"{SERVERS}/{server}/os-instance-actions")["instanceActions"]]
    assert actions == ["restore", "softDelete", "create"]
    assert act(keeping, server, "restore").status_code == 409


def test_a_server_is_restored_only_if_its_project_has_quota_left(keeping):
    server = furnish(keeping)
    keeping.openstack("server", "delete", server)
    project = keeping.server(server)["tenant_id"]
    quota = {"quota_set": {"instances": 0, "force": True}}
    assert keeping.request("PUT", f"/compute/v2.1/os-quota-sets/{project}", json=quota).status_code == 200
    refused = act(keeping, server, "restore")
    assert refused.status_code == 403 and "Quota exceeded for instances" in refused.text, refused.text
    assert keeping.server(server)["status"] == "SOFT_DELETED"


def test_a_soft_deleted_server_is_deleted_by_force_or_when_its_time_is_over(keeping, tmp_path):
    server = furnish(keeping)
    keeping.openstack("server", "delete", server)
    keeping.openstack("server", "delete", "--force", server)
    keeping.wait_gone(server)

    brief = with_interval(tmp_path / "brief", 1)
    try:
        server = furnish(brief)
        brief.openstack("server", "delete", server)
        brief.wait_gone(server)
        ports = brief.get(f"/network/v2.0/ports?device_id={server}")["ports"]
        assert ports == [] and listed(brief, "&deleted=true&soft_deleted=false") == [server]
    finally:
        brief.down()


def test_a_server_that_never_ran_is_deleted_at_once(keeping):
    image = keeping.upload("blank", data=b"\0" * (1 << 20), disk_format="raw")
    flavor = {"name": "vast", "vcpus": 1, "ram": 64, "disk": 100_000}
    flavor = keeping.post("/compute/v2.1/flavors", {"flavor": flavor})["flavor"]["id"]
    body = {"name": "never", "imageRef": image, "flavorRef": flavor, "networks": "none"}
    answer = keeping.request("POST", SERVERS, json={"server": body}, version="2.37")
    server = answer.json()["server"]["id"]
    keeping.wait_status(server, "ERROR")
    keeping.openstack("server", "delete", server)
    keeping.wait_gone(server)
