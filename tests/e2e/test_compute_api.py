"""What clients of Nova meet in its lists, its key pairs, its names and its quotas. On simulated hosts."""

import base64
import struct
import subprocess

import pytest

from cloud import NOTHING, wait_until

NOVA = "/compute/v2.1"
SERVERS = f"{NOVA}/servers"


@pytest.fixture(scope="module")
def people(sim):
    """Users of a project: a member, a reader, and one who holds a role that no policy knows; each with a token."""
    roles = {r["name"]: r["id"] for r in sim.get("/identity/v3/roles")["roles"]}
    roles["painter"] = sim.post("/identity/v3/roles", {"role": {"name": "painter"}})["role"]["id"]
    project = sim.post("/identity/v3/projects", {"project": {"name": "studio"}})["project"]["id"]
    made = {"project": project}
    for role in ("member", "reader", "painter"):
        user = {"name": f"studio-{role}", "password": "s3cret"}
        made[f"{role}_id"] = sim.post("/identity/v3/users", {"user": user})["user"]["id"]
        path = f"/identity/v3/projects/{project}/users/{made[f'{role}_id']}/roles/{roles[role]}"
        assert sim.request("PUT", path).status_code == 204
        made[role] = sim.login(user["name"], "s3cret", "studio")
    return made


def refused(sim, method, path, status, body=None, **more):
    answer = sim.request(method, path, json=body, **more)
    assert answer.status_code == status, f"{method} {path} {body}: {answer.status_code} {answer.text}"
    return answer.text


def ids(answer):
    return {s["id"] for s in answer["servers"]}


# -- names, and what a new server may say

UNSEEN = (" a", "a ", "\u3000a", "a\u00a0", "a\u200bb", "\ufeffa", "a\u202eb", "a\nb", "a\tb", "a\x7fb", "", " ")


def test_names_are_what_is_seen_of_them(sim, blank):
    server = sim.create("plain name", blank[0])
    for name in UNSEEN:
        refused(sim, "PUT", f"{SERVERS}/{server}", 400, {"server": {"name": name}})
        body = {"name": name, "imageRef": blank[0], "flavorRef": "42"}
        refused(sim, "POST", SERVERS, 400, {"server": body})
        refused(sim, "POST", f"{NOVA}/flavors", 400, {"flavor": {"name": name, "ram": 1, "vcpus": 1, "disk": 1}})
        refused(sim, "POST", f"{NOVA}/os-aggregates", 400, {"aggregate": {"name": name}})
        group = {"name": name, "policies": ["affinity"]}
        refused(sim, "POST", f"{NOVA}/os-server-groups", 400, {"server_group": group})
    refused(sim, "PUT", f"{SERVERS}/{server}", 400, {"server": {"description": "two\nlines"}}, version="2.19")
    # The version before microversions takes them, and leaves the blanks away.
    for path, body, noun in (("flavors", {"name": " old ", "ram": 1, "vcpus": 1, "disk": 1}, "flavor"),
                             ("os-aggregates", {"name": " old "}, "aggregate")):
        made = sim.post(f"/compute/v2/{path}", {noun: body})[noun]
        assert made["name"] == "old"
        sim.request("DELETE", f"{NOVA}/{path}/{made['id']}")
    renamed = sim.request("PUT", f"/compute/v2/servers/{server}", json={"server": {"name": " old "}})
    assert renamed.json()["server"]["name"] == "old"
    refused(sim, "PUT", f"/compute/v2/servers/{server}", 400, {"server": {"name": " "}})
    for name in ("é", "a b", "日本"):
        answer = sim.request("PUT", f"{SERVERS}/{server}", json={"server": {"name": name}})
        assert answer.status_code == 200 and answer.json()["server"]["name"] == name
    sim.delete(server)


def test_host_names_have_domains_from_their_version_on(sim, blank):
    body = lambda name: {"server": {"name": "named", "imageRef": blank[0], "flavorRef": "42", "networks": "none", "hostname": name}}
    refused(sim, "POST", SERVERS, 400, body("web"), version="2.89")
    for name in ("web.example.org", "w", "-web", "web-", "we_b", "x" * 64):
        refused(sim, "POST", SERVERS, 400, body(name), version="2.93")
    for name in ("web example", "x" * 256, "", "é"):
        refused(sim, "POST", SERVERS, 400, body(name), version="2.94")
    server = sim.post(SERVERS, body("web.example.org"), version="2.94")["server"]["id"]
    shown = lambda: sim.get(f"{SERVERS}/{server}", version="2.94")["server"]["OS-EXT-SRV-ATTR:hostname"]
    assert shown() == "web.example.org"
    update = {"server": {"hostname": "db.example.org"}}
    refused(sim, "PUT", f"{SERVERS}/{server}", 400, update, version="2.93")
    assert sim.request("PUT", f"{SERVERS}/{server}", json=update, version="2.94").status_code == 200
    assert shown() == "db.example.org"
    several = body("web")
    several["server"]["min_count"] = 2
    assert "single hostname" in refused(sim, "POST", SERVERS, 400, several, version="2.90")
    sim.delete(server)


def test_servers_that_belong_together_are_placed_together_or_not_at_all(sim, blank):
    group = sim.post(f"{NOVA}/os-server-groups", {"server_group": {"name": "apart", "policies": ["anti-affinity"]}})
    group = group["server_group"]["id"]
    body = {"server": {"name": "together", "imageRef": blank[0], "flavorRef": "42", "networks": [{"uuid": blank[1]}],
                       "min_count": 21, "max_count": 21}, "os:scheduler_hints": {"group": group}}
    sim.request("PUT", f"{NOVA}/os-quota-sets/{sim.get('/identity/v3/projects?name=admin')['projects'][0]['id']}",
                json={"quota_set": {"server_group_members": 30, "instances": -1, "cores": -1, "ram": -1}})
    sim.post(SERVERS, body, version="2.37")
    made = sim.get(f"{SERVERS}/detail?name=together", version="2.79")["servers"]
    assert len(made) == 21 and {s["status"] for s in made} == {"ERROR"}
    assert {s["OS-EXT-SRV-ATTR:host"] for s in made} == {None}
    faults = [s["fault"]["message"] for s in made]
    assert sum("20 found a host, so none was placed" in fault for fault in faults) == 20, faults
    for server in made:
        sim.delete(server["id"])
    wait_until("they are gone", lambda: not sim.get(f"{SERVERS}?name=together")["servers"])
    body["server"].update(min_count=20, max_count=20)
    sim.post(SERVERS, body, version="2.37")
    wait_until("all run", lambda: len(sim.get(f"{SERVERS}?name=together&status=ACTIVE")["servers"]) == 20)
    for server in sim.get(f"{SERVERS}?name=together")["servers"]:
        sim.delete(server["id"])


def test_a_new_server_is_answered_with_the_groups_asked_for(sim, blank):
    sim.post("/network/v2.0/security-groups", {"security_group": {"name": "painted"}})
    base = {"name": "grouped", "imageRef": blank[0], "flavorRef": "42", "networks": [{"uuid": blank[1]}]}
    for asked, wanted in (({}, [{"name": "default"}]), ({"security_groups": [{"name": "painted"}]}, [{"name": "painted"}])):
        made = sim.post(SERVERS, {"server": {**base, **asked}})["server"]
        assert made["security_groups"] == wanted
        sim.delete(made["id"])


@pytest.mark.parametrize("more", [
    {"networks": []}, {"networks": [{"uuid": "NET", "colour": 1}]}, {"networks": [{"uuid": "net"}]}, {"networks": [{"port": "p"}]},
    {"networks": [{}]}, {"security_groups": [{"name": "default", "colour": 1}]}, {"security_groups": None},
    {"block_device_mapping_v2": [{"source_type": "image", "uuid": "IMAGE", "boot_index": 0, "colour": 1}]},
    {"block_device_mapping_v2": [{"source_type": "image", "uuid": "IMAGE", "boot_index": 0, "volume_type": "x"}]},
    {"networks": [{"uuid": "NET", "tag": "nic"}]}, {"metadata": {"a": 1}}, {"imageRef": "image"}, {"key_name": " a"}, {"availability_zone": ""},
])
def test_what_a_new_server_says_inside_is_known(sim, blank, more):
    fill = lambda value: ({k: fill(v) for k, v in value.items()} if isinstance(value, dict) else
                          [fill(v) for v in value] if isinstance(value, list) else
                          {"NET": blank[1], "IMAGE": blank[0]}.get(value, value) if isinstance(value, str) else value)
    body = {"server": {"name": "inside", "imageRef": blank[0], "flavorRef": "42", **fill(more)}}
    refused(sim, "POST", SERVERS, 400, body)
    refused(sim, "POST", SERVERS, 400, {**body, "colour": 1}, version="2.42")
    assert sim.get(f"{SERVERS}?name=inside")["servers"] == []


def test_bodies_hold_what_their_schemas_know(sim, blank, people):
    server = sim.create("bodies", blank[0], network=blank[1])
    sim.wait_status(server, "ACTIVE")
    group = {"name": "g", "policies": ["affinity"]}
    host = sim.get(f"{NOVA}/os-services?binary=nova-compute", version="2.53")["services"][0]
    cases = [
        ("PUT", f"servers/{server}", {"server": {"name": "a"}, "x": 1}), ("POST", f"servers/{server}/metadata", {"metadata": {}, "x": 1}),
        ("PUT", f"servers/{server}/metadata", {"metadata": {}, "x": 1}), ("PUT", f"servers/{server}/metadata/a", {"meta": {"a": "b"}, "x": 1}),
        ("PUT", f"servers/{server}/tags", {"tags": [], "x": 1}), ("POST", f"servers/{server}/os-interface", {"interfaceAttachment": {}, "x": 1}),
        ("POST", f"servers/{server}/os-interface", {"interfaceAttachment": {"net_id": "net"}}),
        ("POST", f"servers/{server}/os-interface", {"interfaceAttachment": {"port_id": "port"}}),
        ("POST", "flavors", {"flavor": {"name": "a", "ram": 1, "vcpus": 1, "disk": 1}, "x": 1}),
        ("POST", "flavors/42/os-extra_specs", {"extra_specs": {}, "x": 1}), ("POST", "os-server-groups", {"server_group": group, "x": 1}),
        ("POST", "os-aggregates", {"aggregate": {"name": "a"}, "x": 1}), ("PUT", f"os-services/{host['id']}", {"status": "enabled", "x": 1}),
        ("PUT", f"os-quota-sets/{people['project']}", {"quota_set": {}, "x": 1}),
    ]
    for method, path, body in cases:
        refused(sim, method, f"{NOVA}/{path}", 400, body, version="2.55")
    refused(sim, "PUT", f"{NOVA}/os-services/enable", 400, {"host": host["host"], "x": 1})
    both = {"removeFloatingIp": {"address": "192.0.2.1", "fixed_address": "10.20.0.9"}}
    assert "fixed_address" in refused(sim, "POST", f"{SERVERS}/{server}/action", 400, both, version="2.43")
    sim.delete(server)
