"""Where servers go, as Nova's operators know it: aggregates, zones, server groups, hints, inventories. On simulated hosts."""

import threading
import uuid

import pytest

from cloud import Cloud, rows, wait_until

NOVA = "/compute/v2.1"
SERVERS = f"{NOVA}/servers"
AGGREGATES = f"{NOVA}/os-aggregates"
GROUPS = f"{NOVA}/os-server-groups"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A cloud of six hosts whose zones nobody else minds."""
    cloud = Cloud(tmp_path_factory.mktemp("placement") / "data", hosts=6)
    try:
        cloud.start().wait_for_hosts()
        cloud.blank = cloud.upload("blank", data=b"\0" * 4096, disk_format="raw")
        cloud.names = sorted(s["host"] for s in cloud.get(f"{NOVA}/os-services?binary=nova-compute")["services"])
        yield cloud
    finally:
        cloud.down()


@pytest.fixture(autouse=True)
def tidy(here):
    yield
    for server in here.get(f"{SERVERS}?all_tenants=1")["servers"]:
        here.delete(server["id"])
    wait_until("all servers are gone", lambda: not here.get(f"{SERVERS}?all_tenants=1")["servers"])
    for group in here.get(f"{GROUPS}?all_projects=1")["server_groups"]:
        here.request("DELETE", f"{GROUPS}/{group['id']}")
    for aggregate in here.get(AGGREGATES)["aggregates"]:
        for host in aggregate["hosts"]:
            act(here, aggregate["id"], "remove_host", {"host": host})
        assert here.request("DELETE", f"{AGGREGATES}/{aggregate['id']}").status_code == 200


def act(cloud, aggregate, action, args, ok=(200,)):
    answer = cloud.request("POST", f"{AGGREGATES}/{aggregate}/action", json={action: args})
    assert answer.status_code in ok, answer.text
    return answer.json()


def aggregate(cloud, name, hosts=(), zone=None, **metadata):
    made = cloud.post(AGGREGATES, {"aggregate": {"name": name, "availability_zone": zone}})["aggregate"]["id"]
    if metadata:
        act(cloud, made, "set_metadata", {"metadata": metadata})
    for host in hosts:
        act(cloud, made, "add_host", {"host": host})
    return made


def group(cloud, policy, **rules):
    body = {"server_group": {"name": policy, "policy": policy, "rules": rules}}
    return cloud.post(GROUPS, body, version="2.64")["server_group"]["id"]


def create(cloud, name="s", hints=None, version="2.79", status=202, **more):
    body = {"server": {"name": name, "imageRef": cloud.blank, "flavorRef": "42", "networks": "none", **more}}
    if hints:
        body["os:scheduler_hints"] = hints
    answer = cloud.request("POST", SERVERS, json=body, version=version)
    assert answer.status_code == status, answer.text
    return answer.json()["server"]["id"] if status == 202 else answer.json()


def host_of(cloud, server):
    return cloud.server(server)["OS-EXT-SRV-ATTR:host"]


# -- aggregates

def test_aggregates_with_the_stock_client(here):
    made = here.openstack_json("aggregate", "create", "--zone", "east", "--property", "disk=ssd", "fast")
    assert made["availability_zone"] == "east"
    added = here.openstack_json("aggregate", "add", "host", "fast", here.names[0])
    assert added["hosts"] == [here.names[0]]
    here.openstack("aggregate", "set", "--name", "faster", "--property", "gpu=yes", "fast")
    shown = here.openstack_json("aggregate", "show", "faster")
    assert shown["properties"] == {"disk": "ssd", "gpu": "yes"} and shown["hosts"] == [here.names[0]]
    here.openstack("aggregate", "unset", "--property", "gpu", "faster")
    assert here.openstack_json("aggregate", "show", "faster")["properties"] == {"disk": "ssd"}
    assert [a["Name"] for a in here.openstack_json("aggregate", "list", "--long")] == ["faster"]
    zones = {z["Zone Name"] for z in here.openstack_json("availability", "zone", "list", "--compute")}
    assert zones == {"east", "nova"}
    here.openstack("--os-compute-api-version", "2.81", "aggregate", "cache", "image", "faster", here.blank)
    here.openstack("aggregate", "remove", "host", "faster", here.names[0])
    here.openstack("aggregate", "delete", "faster")
    assert here.openstack_json("aggregate", "list") == []


def test_an_aggregate_is_shown_as_nova_shows_it(here):
    answer = here.request("POST", AGGREGATES, json={"aggregate": {"name": "a"}}, version="2.1")
    assert answer.status_code == 200
    new = answer.json()["aggregate"]
    assert set(new) == {"id", "name", "availability_zone", "created_at", "updated_at", "deleted", "deleted_at"}
    old = here.get(f"{AGGREGATES}/{new['id']}", version="2.40")["aggregate"]
    assert set(old) == set(new) | {"hosts", "metadata"} and isinstance(old["id"], int)
    assert "uuid" in here.get(f"{AGGREGATES}/{new['id']}", version="2.41")["aggregate"]
    put = here.request("PUT", f"{AGGREGATES}/{new['id']}", json={"aggregate": {"availability_zone": "east"}})
    assert put.json()["aggregate"]["metadata"] == {"availability_zone": "east"}


def test_what_cannot_be_done_to_aggregates(here):
    one = aggregate(here, "one", here.names[:1], zone="east")
    two = aggregate(here, "two", here.names[1:2], zone="west")
    status = lambda method, path, body=None, **more: here.request(method, path, json=body, **more).status_code
    create_status = lambda fields: status("POST", AGGREGATES, {"aggregate": fields})
    assert create_status({"name": "one"}) == 409
    for bad in ({}, {"name": ""}, {"name": "x" * 256}, {"name": " a"}, {"name": "a", "availability_zone": "a:b"},
                {"name": "a", "colour": "red"}, {"name": "a", "availability_zone": ""}):
        assert create_status(bad) == 400, bad
    assert status("GET", f"{AGGREGATES}/999999999") == 404
    assert status("GET", f"{AGGREGATES}/nonsense") == 400
    assert status("PUT", f"{AGGREGATES}/{one}", {"aggregate": {"name": "two"}}) == 409
    assert status("DELETE", f"{AGGREGATES}/{one}") == 400
    assert status("DELETE", f"{AGGREGATES}/999999999") == 404
    action = lambda name, args, of=one: status("POST", f"{AGGREGATES}/{of}/action", {name: args})
    assert action("add_host", {"host": here.names[0]}) == 409
    assert action("add_host", {"host": here.names[0]}, two) == 409
    assert action("add_host", {"host": "nowhere"}) == 404
    assert action("remove_host", {"host": here.names[1]}) == 404
    assert action("add_host", {}) == 400
    assert action("set_metadata", {"metadata": {"a": 1}}) == 400
    assert action("set_metadata", {"metadata": {"availability_zone": None}}) == 400
    assert action("fly", {}) == 400
    assert status("POST", f"{AGGREGATES}/{one}/images", {"cache": [{"id": here.blank}]}, version="2.80") == 404
    assert status("POST", f"{AGGREGATES}/{one}/images", {"cache": []}, version="2.81") == 400


def test_zones_follow_aggregates_and_hosts_with_servers_stay(here):
    east = aggregate(here, "east", here.names[:2], zone="east")
    server = create(here, availability_zone="east")
    on = host_of(here, server)
    assert on in here.names[:2]
    assert here.server(server)["OS-EXT-AZ:availability_zone"] == "east"
    info = {z["zoneName"]: set(z["hosts"]) for z in
            here.get(f"{NOVA}/os-availability-zone/detail")["availabilityZoneInfo"]}
    assert info["east"] == set(here.names[:2]) and info["nova"] >= set(here.names[2:])
    create(here, availability_zone="west", status=400)
    assert act(here, east, "remove_host", {"host": on}, ok=(409,))["conflictingRequest"]["code"] == 409
    west = aggregate(here, "west", zone="west")
    act(here, west, "add_host", {"host": on}, ok=(409,))
    act(here, east, "set_metadata", {"metadata": {"availability_zone": "south"}}, ok=(400,))


def test_extra_specs_tenants_and_images_choose_aggregates(here):
    aggregate(here, "fast", here.names[:1], disk="ssd", iops="9000")
    aggregate(here, "theirs", here.names[1:5], filter_tenant_id=uuid.uuid4().hex)
    specs = f"{NOVA}/flavors/42/os-extra_specs"
    here.post(specs, {"extra_specs": {"aggregate_instance_extra_specs:disk": "<or> nvme <or> ssd",
                                      "aggregate_instance_extra_specs:iops": ">= 5000"}})
    try:
        assert {host_of(here, create(here)) for _ in range(3)} == {here.names[0]}
    finally:
        for key in ("disk", "iops"):
            here.request("DELETE", f"{specs}/aggregate_instance_extra_specs:{key}")
    assert {host_of(here, create(here)) for _ in range(6)} == {here.names[0], here.names[5]}


# -- server groups

def test_server_groups_with_the_stock_client(here):
    made = here.openstack_json("--os-compute-api-version", "2.64", "server", "group", "create", "--policy",
                               "anti-affinity", "--rule", "max_server_per_host=2", "web")
    assert made["policy"] == "anti-affinity" and made["rules"] == {"max_server_per_host": 2}
    old = here.openstack_json("--os-compute-api-version", "2.15", "server", "group", "create", "--policy",
                              "soft-affinity", "near")
    assert old["policies"] == ["soft-affinity"]
    here.openstack("--os-compute-api-version", "2.79", "server", "create", "--image", "blank", "--flavor", "m1.nano",
                   "--no-network", "--hint", f"group={made['id']}", "--wait", "grouped")
    shown = here.openstack_json("server", "group", "show", made["id"])
    server = here.get(f"{SERVERS}?name=grouped")["servers"][0]["id"]
    assert shown["members"] == [server]
    assert here.get(f"{SERVERS}/{server}", version="2.71")["server"]["server_groups"] == [made["id"]]
    assert {g["Name"] for g in here.openstack_json("server", "group", "list")} == {"web", "near"}
    here.openstack("server", "delete", "--wait", "grouped")
    assert here.openstack_json("server", "group", "show", made["id"])["members"] == []
    here.openstack("server", "group", "delete", made["id"], old["id"])
    assert here.get(GROUPS)["server_groups"] == []


def test_server_groups_are_shown_and_taken_by_version(here):
    ask = lambda fields, version: here.request("POST", GROUPS, json={"server_group": fields}, version=version)
    first = ask({"name": "a", "policies": ["affinity"]}, "2.1")
    assert first.status_code == 200
    assert set(first.json()["server_group"]) == {"id", "name", "policies", "members", "metadata"}
    id = first.json()["server_group"]["id"]
    assert set(here.get(f"{GROUPS}/{id}", version="2.13")["server_group"]) == \
        {"id", "name", "policies", "members", "metadata", "project_id", "user_id"}
    assert set(here.get(f"{GROUPS}/{id}", version="2.64")["server_group"]) == \
        {"id", "name", "policy", "rules", "members", "project_id", "user_id"}
    for fields, version in (
        ({"name": "a", "policies": ["soft-affinity"]}, "2.14"), ({"name": "a", "policies": []}, "2.1"),
        ({"name": "a", "policies": ["affinity", "anti-affinity"]}, "2.1"), ({"name": "a", "policies": ["x"]}, "2.1"),
        ({"name": "a", "policy": "affinity"}, "2.63"), ({"name": "a", "policies": ["affinity"]}, "2.64"),
        ({"name": "a", "policy": "affinity", "rules": {"max_server_per_host": 2}}, "2.64"),
        ({"name": "a", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}, "2.64"),
        ({"name": "", "policies": ["affinity"]}, "2.1"), ({"policies": ["affinity"]}, "2.1"),
    ):
        assert ask(fields, version).status_code == 400, (fields, version)
    assert here.request("GET", f"{GROUPS}/{uuid.uuid4()}").status_code == 404
    assert here.request("DELETE", f"{GROUPS}/{uuid.uuid4()}").status_code == 404


def test_quota_of_groups_and_members(here):
    project = here.get(f"{GROUPS}", version="2.13") and here.get("/identity/v3/projects?name=admin")["projects"][0]["id"]
    quota = {"quota_set": {"server_groups": 1, "server_group_members": 2}}
    assert here.request("PUT", f"{NOVA}/os-quota-sets/{project}", json=quota).status_code == 200
    try:
        first = group(here, "soft-affinity")
        body = {"server_group": {"name": "b", "policies": ["affinity"]}}
        assert here.request("POST", GROUPS, json=body).status_code == 403
        detail = here.get(f"{NOVA}/os-quota-sets/{project}/detail")["quota_set"]
        assert detail["server_groups"]["in_use"] == 1
        assert here.get(f"{NOVA}/limits")["limits"]["absolute"]["totalServerGroupsUsed"] == 1
        create(here, hints={"group": first}, min_count=3, max_count=3, status=403)
        create(here, hints={"group": first}, min_count=2, max_count=2)
        create(here, hints={"group": first}, status=403)
    finally:
        here.request("DELETE", f"{NOVA}/os-quota-sets/{project}")


def test_anti_affinity_holds_for_parallel_requests(here):
    apart = group(here, "anti-affinity")
    threads = [threading.Thread(target=create, args=(here, f"p{n}", {"group": apart})) for n in range(10)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    servers = here.get(f"{SERVERS}/detail")["servers"]
    hosts = [s["OS-EXT-SRV-ATTR:host"] for s in servers]
    assert sorted(h for h in hosts if h) == here.names
    lost = [s for s in servers if not s["OS-EXT-SRV-ATTR:host"]]
    assert len(lost) == 4 and all(s["status"] == "ERROR" for s in lost)
    assert "6 refused by ServerGroupAntiAffinityFilter" in lost[0]["fault"]["message"]
    hosts = rows(here.lenticular("server", "explain", lost[0]["id"]))[1:]
    assert sorted(host for host, *_ in hosts) == here.names
    assert all("refused by ServerGroupAntiAffinityFilter: " in word for _, *said in hosts for word in said)
    words = rows(here.lenticular("server", "explain", lost[0]["id"], "--all"))
    assert {tuple(row) for row in words} >= {(host, "VCPU", "passes") for host in here.names}


def test_affinity_and_hints(here):
    together = group(here, "affinity")
    first = create(here, hints={"group": together}, min_count=3, max_count=3)
    servers = here.get(f"{SERVERS}/detail")["servers"]
    assert len({s["OS-EXT-SRV-ATTR:host"] for s in servers}) == 1
    on = host_of(here, first)
    assert host_of(here, create(here, hints={"same_host": first})) == on
    assert host_of(here, create(here, hints={"different_host": [first]})) != on
    both = here.server(create(here, hints={"same_host": [first], "different_host": first}))
    assert both["status"] == "ERROR"
    for bad in ({"group": "web"}, {"group": str(uuid.uuid4())}, {"query": "[]"}, {"build_near_host_ip": "10.0.0.1"}):
        create(here, hints=bad, status=400)
    create(here, hints={"target_cell": "c", "unheard_of": 1})


# -- inventories

def test_inventories_are_set_by_operators_and_obeyed(here):
    providers = here.get("/placement/resource_providers")["resource_providers"]
    one = next(p for p in providers if p["name"] == here.names[0])
    path = f"/placement/resource_providers/{one['uuid']}/inventories"
    before = here.get(path)
    vcpu = before["inventories"]["VCPU"]
    put = lambda where, body: here.request("PUT", where, json=body, headers={"OpenStack-API-Version": "placement 1.26"})
    generation = lambda: here.get(path)["resource_provider_generation"]
    changed = {**before, "inventories": {**before["inventories"], "VCPU": {**vcpu, "allocation_ratio": 0.5}}}
    answer = put(path, changed)
    assert answer.status_code == 200 and answer.json()["inventories"]["VCPU"]["allocation_ratio"] == 0.5
    again = put(path, changed)
    assert again.status_code == 409 and again.json()["errors"][0]["code"] == "placement.concurrent_update"
    memory = here.get(f"{path}/MEMORY_MB")
    answer = put(f"{path}/MEMORY_MB", {**memory, "resource_provider_generation": generation(), "reserved": memory["total"]})
    assert answer.status_code == 200 and answer.json()["reserved"] == memory["total"]
    for more in ({"total": 1}, {"reserved": -1}, {"allocation_ratio": 0}, {"colour": 1}):
        body = {**memory, "resource_provider_generation": generation(), **more}
        assert put(f"{path}/MEMORY_MB", body).status_code == 400, more
    assert put(f"{path}/GPU", {**memory, "resource_provider_generation": generation()}).status_code == 404
    shown = next(h for h in here.get(f"{NOVA}/os-hypervisors/detail")["hypervisors"]
                 if h["hypervisor_hostname"] == here.names[0])
    assert shown["memory_mb_used"] == memory["total"] and shown["free_ram_mb"] == 0
    full = here.server(create(here, availability_zone=f"nova:{here.names[0]}"))
    assert full["status"] == "ERROR" and "MEMORY_MB" in full["fault"]["message"]
    traits = here.get(f"/placement/resource_providers/{one['uuid']}/traits")["traits"]
    assert "COMPUTE_NODE" in traits
    number = aggregate(here, "a", here.names[:1])
    uuids = here.get(f"/placement/resource_providers/{one['uuid']}/aggregates")["aggregates"]
    assert uuids == [here.get(f"{AGGREGATES}/{number}", version="2.41")["aggregate"]["uuid"]]
    restored = {**before, "resource_provider_generation": generation()}
    assert put(path, restored).status_code == 200
