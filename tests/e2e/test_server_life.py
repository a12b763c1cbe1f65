"""Servers that stand still, become images, get a new disk or are rescued, as stock clients ask for it. On simulated hosts;
real guests are in test_real_guest.py and in the agent's own tests."""

import pytest

from cloud import Cloud, wait_until

SERVERS = "/compute/v2.1/servers"


@pytest.fixture
def server(sim, blank):
    server = sim.create("alive", blank[0], network=blank[1])
    sim.wait_status(server, "ACTIVE")
    yield server
    sim.delete(server)


@pytest.fixture(scope="module")
def stranger(sim):
    """The token of a member of another project."""
    project = sim.post("/identity/v3/projects", {"project": {"name": "elsewhere"}})["project"]["id"]
    user = sim.post("/identity/v3/users", {"user": {"name": "stranger", "password": "s3cret"}})["user"]["id"]
    member = next(r["id"] for r in sim.get("/identity/v3/roles")["roles"] if r["name"] == "member")
    path = f"/identity/v3/projects/{project}/users/{user}/roles/{member}"
    assert sim.request("PUT", path).status_code == 204
    return sim.login("stranger", "s3cret", "elsewhere")


def act(cloud, server, action, args=None, version="latest"):
    return cloud.request("POST", f"{SERVERS}/{server}/action", json={action: args}, version=version)


def refused(cloud, server, action, args, status, *words, version="latest"):
    answer = act(cloud, server, action, args, version)
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.text, answer.text


def states(cloud, server):
    shown = cloud.server(server)
    names = ["status", "OS-EXT-STS:vm_state", "OS-EXT-STS:power_state", "OS-EXT-STS:task_state"]
    return [shown[name] for name in names]


def rests(cloud, server, status):
    def check():
        shown = cloud.server(server)
        return shown["status"] == status and shown["OS-EXT-STS:task_state"] is None

    wait_until(f"{server} is {status}", check)


def actions(cloud, server):
    return [a["action"] for a in cloud.get(f"{SERVERS}/{server}/os-instance-actions")["instanceActions"]]


def image_of(answer):
    return answer.json()["image_id"]


def wait_image(cloud, image, status="active"):
    wait_until(f"{image} is {status}", lambda: cloud.get(f"/image/v2/images/{image}")["status"] == status)
    return cloud.get(f"/image/v2/images/{image}")


def test_a_server_is_paused_and_unpaused(sim, server):
    sim.openstack("server", "pause", server)
    rests(sim, server, "PAUSED")
    assert states(sim, server) == ["PAUSED", "paused", 3, None]
    for action in ["pause", "suspend", "resume", "os-start", "rebuild"]:
        args = {"imageRef": sim.server(server)["image"]["id"]} if action == "rebuild" else None
        refused(sim, server, action, args, 409, "paused")
    sim.openstack("server", "unpause", server)
    rests(sim, server, "ACTIVE")
    refused(sim, server, "unpause", None, 409, "vm_state active")
    assert actions(sim, server) == ["unpause", "pause", "create"]


def test_a_server_is_suspended_resumed_and_restarted(sim, server):
    sim.openstack("server", "suspend", server)
    rests(sim, server, "SUSPENDED")
    assert states(sim, server) == ["SUSPENDED", "suspended", 4, None]
    flavor = {"flavorRef": "84"}
    for action, args in [("suspend", None), ("pause", None), ("migrate", None), ("resize", flavor), ("rescue", {})]:
        refused(sim, server, action, args, 409, "suspended")
    [port] = sim.get(f"/network/v2.0/ports?device_id={server}")["ports"]
    answer = sim.request("DELETE", f"{SERVERS}/{server}/os-interface/{port['id']}")
    assert answer.status_code == 409, answer.text
    # A reset calls nothing running that stands still.
    for state in ["error", "active"]:
        assert act(sim, server, "os-resetState", {"state": state}).status_code == 202
    rests(sim, server, "SUSPENDED")
    sim.openstack("server", "resume", server)
    rests(sim, server, "ACTIVE")
    sim.openstack("server", "suspend", server)
    rests(sim, server, "SUSPENDED")
    sim.openstack("server", "reboot", "--hard", server)
    rests(sim, server, "ACTIVE")
    assert actions(sim, server) == ["reboot", "suspend", "resume", "suspend", "create"]


def test_a_suspended_server_stays_so_over_a_kill(tmp_path):
    cloud = Cloud(tmp_path / "data", hosts=2)
    try:
        cloud.start().wait_for_hosts()
        server = cloud.create("alive", cloud.upload("blank", data=b"\0" * 512, disk_format="raw"))
        cloud.wait_status(server, "ACTIVE")
        act(cloud, server, "suspend")
        rests(cloud, server, "SUSPENDED")
        cloud.kill()
        cloud.start().wait_for_hosts()
        rests(cloud, server, "SUSPENDED")
        act(cloud, server, "resume")
        rests(cloud, server, "ACTIVE")
    finally:
        cloud.down()


def test_an_image_is_made_of_a_server(sim, server, blank):
    sim.openstack("server", "image", "create", "--name", "first", "--property", "made=here", "--wait", server)
    [image] = sim.get("/image/v2/images?name=first")["images"]
    assert image["status"] == "active" and image["visibility"] == "private" and image["made"] == "here"
    assert image["image_type"] == "snapshot" and image["instance_uuid"] == server
    assert image["base_image_ref"] == blank[0] and image["disk_format"] == "qcow2"
    assert states(sim, server) == ["ACTIVE", "active", 1, None]
    # A server boots from it.
    copy = sim.create("copy", image["id"], network=blank[1])
    sim.wait_status(copy, "ACTIVE")
    sim.delete(copy)
    # Before 2.45 the image stands in a header.
    answer = act(sim, server, "createImage", {"name": "old"}, version="2.44")
    assert answer.status_code == 202 and not answer.text
    image = answer.headers["location"].rsplit("/", 1)[1]
    wait_image(sim, image)
    for bad in [{}, {"name": ""}, {"name": "a", "metadata": {"k": 1}}, {"name": "a", "where": "b"}]:
        refused(sim, server, "createImage", bad, 400)
    for name in ["first", "old"]:
        sim.openstack("image", "delete", name)


def test_backups_rotate(sim, server):
    made = []
    for n in range(3):
        backup = {"name": f"backup-{n}", "backup_type": "daily", "rotation": 2}
        made.append(image_of(act(sim, server, "createBackup", backup)))
        wait_image(sim, made[-1])
    left = sim.get(f"/image/v2/images?instance_uuid={server}&backup_type=daily")["images"]
    assert sorted(i["id"] for i in left) == sorted(made[1:]), left
    answer = act(sim, server, "createBackup", {"name": "none", "backup_type": "daily", "rotation": 0})
    assert answer.status_code == 202, answer.text
    assert sim.get(f"/image/v2/images?instance_uuid={server}&backup_type=daily")["images"] == []
    refused(sim, server, "createBackup", {"name": "a", "backup_type": "b", "rotation": -1}, 400)


def test_a_server_is_rebuilt(sim, server, blank):
    before = sim.server(server)
    other = sim.upload("other", data=b"\1" * 2048, disk_format="raw")
    answer = act(sim, server, "rebuild", {"imageRef": other, "name": "new", "metadata": {"a": "b"}})
    assert answer.status_code == 202, answer.text
    shown = answer.json()["server"]
    assert shown["image"]["id"] == other and shown["name"] == "new" and shown["adminPass"]
    assert shown["metadata"] == {"a": "b"} and shown["status"] == "REBUILD"
    rests(sim, server, "ACTIVE")
    after = sim.server(server)
    for same in ["addresses", "OS-EXT-SRV-ATTR:host", "flavor", "created"]:
        assert after[same] == before[same]
    assert after["image"]["id"] == other
    # As the stock client asks; a stopped server stays stopped.
    sim.openstack("server", "stop", server)
    rests(sim, server, "SHUTOFF")
    sim.openstack("server", "rebuild", "--image", blank[0], server)
    rests(sim, server, "SHUTOFF")
    sim.openstack("server", "start", server)
    rests(sim, server, "ACTIVE")
    missing = "00000000-0000-4000-8000-000000000000"
    refused(sim, server, "rebuild", {"imageRef": missing}, 400, "could not be found")
    refused(sim, server, "rebuild", {"imageRef": other, "key_name": "nobody"}, 400, "nobody")
    big = sim.upload("big", data=b"\1" * 2048, disk_format="raw")
    sim.request("PATCH", f"/image/v2/images/{big}", json=[{"op": "replace", "path": "/min_disk", "value": 999}],
                headers={"content-type": "application/openstack-images-v2.1-json-patch"})
    refused(sim, server, "rebuild", {"imageRef": big}, 400, "smaller than the minimum size")
    assert sim.server(server)["image"]["id"] == blank[0]


def test_a_server_is_rescued(sim, server, blank):
    sim.openstack("server", "rescue", server)
    rests(sim, server, "RESCUE")
    assert states(sim, server)[1] == "rescued"
    for action, args in [("rescue", {}), ("pause", None), ("suspend", None), ("createImage", {"name": "a"})]:
        refused(sim, server, action, args, 409, "rescued")
    sim.openstack("server", "unrescue", server)
    rests(sim, server, "ACTIVE")
    refused(sim, server, "unrescue", None, 409, "vm_state active")
    answer = act(sim, server, "rescue", {"adminPass": "given", "rescue_image_ref": blank[0]})
    assert answer.status_code == 200 and answer.json() == {"adminPass": "given"}
    rests(sim, server, "RESCUE")
    refused(sim, server, "rescue", {"rescue_image_ref": "nothing"}, 400)


def test_nobody_does_this_to_another_projects_server(sim, server, stranger):
    for action, args in [
        ("pause", None),
        ("suspend", None),
        ("rescue", {}),
        ("createImage", {"name": "a"}),
        ("rebuild", {"imageRef": sim.server(server)["image"]["id"]}),
    ]:
        answer = sim.request("POST", f"{SERVERS}/{server}/action", json={action: args}, token=stranger)
        assert answer.status_code == 404, answer.text
    assert states(sim, server) == ["ACTIVE", "active", 1, None]
