"""Placement's URLs at the version that is advertised: each is there, and each filter of its lists is honoured. On simulated
hosts."""

import pytest

from cloud import NOTHING

PLACEMENT = "/placement"


def headers(minor=39):
    return {"OpenStack-API-Version": f"placement 1.{minor}"}


def ask(sim, path, minor=39):
    return sim.get(f"{PLACEMENT}/{path}", headers=headers(minor))


def names(answer):
    return {p["name"] for p in answer["resource_providers"]}


@pytest.fixture(scope="module")
def host(sim):
    """One host, in an aggregate, with one server; the host's record, the aggregate's id, the server's id."""
    first = sorted(ask(sim, "resource_providers")["resource_providers"], key=lambda p: p["name"])[0]
    made = sim.post("/compute/v2.1/os-aggregates", {"aggregate": {"name": "candidates"}}, version="2.41")["aggregate"]
    sim.post(f"/compute/v2.1/os-aggregates/{made['id']}/action", {"add_host": {"host": first["name"]}})
    image = sim.upload("candidate", data=b"\0" * 512, disk_format="raw")
    server = sim.create("candidate", image, host=first["name"])
    sim.wait_status(server, "ACTIVE")
    yield first, made["uuid"], server
    sim.delete(server)
    sim.wait_gone(server)
    sim.post(f"/compute/v2.1/os-aggregates/{made['id']}/action", {"remove_host": {"host": first["name"]}})
    sim.request("DELETE", f"/compute/v2.1/os-aggregates/{made['id']}")


# Placement's own table of URLs and methods at 1.39.
URLS = [
    ("GET", "/"), ("GET", ""), ("GET", "/resource_classes"), ("POST", "/resource_classes"), ("GET", "/resource_classes/VCPU"),
    ("PUT", "/resource_classes/CUSTOM_X"), ("DELETE", "/resource_classes/CUSTOM_X"), ("GET", "/resource_providers"),
    ("POST", "/resource_providers"), ("GET", "/resource_providers/HOST"), ("PUT", "/resource_providers/HOST"),
    ("DELETE", "/resource_providers/HOST"), ("GET", "/resource_providers/HOST/inventories"),
    ("POST", "/resource_providers/HOST/inventories"), ("PUT", "/resource_providers/HOST/inventories"),
    ("DELETE", "/resource_providers/HOST/inventories"), ("GET", "/resource_providers/HOST/inventories/VCPU"),
    ("PUT", "/resource_providers/HOST/inventories/VCPU"), ("DELETE", "/resource_providers/HOST/inventories/VCPU"),
    ("GET", "/resource_providers/HOST/usages"), ("GET", "/resource_providers/HOST/aggregates"),
    ("PUT", "/resource_providers/HOST/aggregates"), ("GET", "/resource_providers/HOST/allocations"),
    ("GET", "/resource_providers/HOST/traits"), ("PUT", "/resource_providers/HOST/traits"),
    ("DELETE", "/resource_providers/HOST/traits"), ("POST", "/allocations"), ("GET", "/allocations/SERVER"),
    ("PUT", "/allocations/SERVER"), ("DELETE", "/allocations/SERVER"), ("GET", "/allocation_candidates?resources=VCPU:1"),
    ("GET", "/traits"), ("GET", "/traits/COMPUTE_NODE"), ("PUT", "/traits/CUSTOM_X"), ("DELETE", "/traits/CUSTOM_X"),
    ("GET", "/usages?project_id=PROJECT"), ("POST", "/reshaper"),
]


def test_every_url_of_the_advertised_version_is_there(sim, host):
    version = sim.get("/placement/")["versions"][0]
    assert (version["min_version"], version["max_version"]) == ("1.0", "1.39")
    provider, _, server = host
    project = sim.get("/identity/v3/projects?name=admin")["projects"][0]["id"]
    # The generation also changes when the host says something new about itself.
    inventories = lambda: ask(sim, f"resource_providers/{provider['uuid']}/inventories")["inventories"]
    before = inventories()
    for method, path in URLS:
        path = path.replace("HOST", provider["uuid"]).replace("SERVER", server).replace("PROJECT", project)
        answer = sim.request(method, PLACEMENT + path, headers=headers(), json=None if method == "GET" else {})
        wanted = (200, 204) if method == "GET" else (400, 403)
        assert answer.status_code in wanted, (method, path, answer.status_code, answer.text)
        assert method == "GET" or answer.json()["errors"][0]["detail"], path
    assert inventories() == before
    assert sim.server(server)["status"] == "ACTIVE"
    for path in ("resource_classes/NOPE", "traits/NOPE", "nosuch"):
        assert sim.request("GET", f"{PLACEMENT}/{path}", headers=headers()).status_code == 404
    assert sim.request("GET", f"{PLACEMENT}/allocation_candidates?resources=VCPU:1", headers=headers(9)).status_code == 404


def candidates(sim, query, minor=39):
    return ask(sim, f"allocation_candidates?{query}", minor)


def test_candidates_are_the_hosts_that_could_give_it(sim, host):
    provider, aggregate, _ = host
    uuid, total = provider["uuid"], 20
    found = lambda query, minor=39: set(candidates(sim, query, minor)["provider_summaries"])
    one = "resources=VCPU:1,MEMORY_MB:64"
    assert len(found(one)) == total and uuid in found(one)
    inventory = ask(sim, f"resource_providers/{uuid}/inventories")["inventories"]["VCPU"]
    used = ask(sim, f"resource_providers/{uuid}/usages")["usages"]["VCPU"]
    capacity = int((inventory["total"] - inventory["reserved"]) * inventory["allocation_ratio"])
    # The server of this file, and what others may have left there.
    assert used >= 1
    # No server takes more than there is of anything, however often that is given out.
    assert uuid in found(f"resources=VCPU:{inventory['max_unit']}") or used + inventory["max_unit"] > capacity
    assert not found(f"resources=VCPU:{inventory['total'] + 1}")
    assert not found("resources=VGPU:1")
    for query, wanted in (
        (f"member_of={aggregate}", {uuid}), (f"member_of=in:{aggregate},{NOTHING}", {uuid}), (f"member_of={NOTHING}", set()),
        (f"in_tree={uuid}", {uuid}), (f"in_tree={NOTHING}", set()), ("required=HW_CPU_X86_AVX2", set()),
        (f"required=COMPUTE_NODE&in_tree={uuid}", {uuid}), (f"required=!COMPUTE_NODE&in_tree={uuid}", set()),
        (f"required=in:COMPUTE_NODE,HW_CPU_X86_AVX2&in_tree={uuid}", {uuid}), (f"root_required=HW_CPU_X86_AVX2", set()),
        (f"resources1=VCPU:1&in_tree1={uuid}", {uuid}), (f"resources1=VCPU:1&required1=HW_CPU_X86_AVX2", set()),
        (f"resources1=VCPU:1&resources2=VCPU:1&group_policy=none&in_tree={uuid}", {uuid}),
        ("resources1=VCPU:1&resources2=VCPU:1&group_policy=isolate", set()),
        (f"resources_a=VCPU:1&required_b=COMPUTE_NODE&same_subtree=_a,_b&in_tree_b={uuid}&group_policy=none", {uuid}),
    ):
        assert found(f"{one}&{query}") == wanted, query
    assert uuid not in found(f"{one}&member_of=!{aggregate}") and len(found(f"{one}&limit=3")) == 3


def test_candidates_are_shown_as_each_version_has_them(sim, host):
    uuid = host[0]["uuid"]
    query = "resources=VCPU:1,MEMORY_MB:64"
    at = lambda minor: candidates(sim, f"{query}&in_tree={uuid}" if minor >= 31 else query, minor)
    newest = at(39)
    assert newest["allocation_requests"] == [
        {"allocations": {uuid: {"resources": {"VCPU": 1, "MEMORY_MB": 64}}}, "mappings": {"": [uuid]}}]
    summary = newest["provider_summaries"][uuid]
    used = ask(sim, f"resource_providers/{uuid}/usages")["usages"]["VCPU"]
    assert summary["resources"]["VCPU"]["used"] == used >= 1 and set(summary["resources"]) == {"VCPU", "MEMORY_MB", "DISK_GB"}
    assert summary["root_provider_uuid"] == uuid and summary["parent_provider_uuid"] is None
    assert "COMPUTE_NODE" in summary["traits"]
    assert "mappings" not in at(33)["allocation_requests"][0]
    assert set(at(28)["provider_summaries"][uuid]) == {"resources", "traits"}
    assert set(at(26)["provider_summaries"][uuid]["resources"]) == {"VCPU", "MEMORY_MB"}
    assert "traits" not in at(16)["provider_summaries"][uuid]
    assert at(11)["allocation_requests"][0]["allocations"][0]["resources"] == {"VCPU": 1, "MEMORY_MB": 64}


def test_only_operators_ask_for_candidates(sim):
    sim.post("/identity/v3/users", {"user": {"name": "nosy", "password": "s3cret"}})
    token = sim.login("nosy", "s3cret", scope=False)
    for method, path in (("GET", "allocation_candidates?resources=x"), ("POST", "reshaper"), ("GET", "traits/X")):
        assert sim.request(method, f"{PLACEMENT}/{path}", headers=headers(), token=token).status_code == 403, path


def test_lists_honour_their_filters_and_refuse_what_they_do_not_know(sim, host):
    provider, aggregate, server = host
    listed = lambda query, minor=39: names(ask(sim, f"resource_providers?{query}", minor))
    only = {provider["name"]}
    for query in (f"name={provider['name']}", f"uuid={provider['uuid']}", f"member_of={aggregate}", f"in_tree={provider['uuid']}"):
        assert listed(query) == only, query
    assert not listed("resources=VGPU:1") and not listed("required=HW_CPU_X86_AVX2") and not listed("resources=VCPU:1000000")
    assert len(listed("required=COMPUTE_NODE&resources=VCPU:1")) == 20
    traits = lambda query: ask(sim, f"traits?{query}")["traits"]
    assert traits("name=in:COMPUTE_NODE,NOPE") == ["COMPUTE_NODE"] and traits("name=startswith:NOPE") == []
    assert "COMPUTE_NODE" in traits("associated=true") and "COMPUTE_NODE" not in traits("associated=false")
    project = sim.server(server)["tenant_id"]
    usages = ask(sim, f"usages?project_id={project}")["usages"]["INSTANCE"]
    assert usages["consumer_count"] >= 1 and usages["VCPU"] >= 1 and usages["DISK_GB"] >= 1
    assert ask(sim, f"usages?project_id={project}&consumer_type=all")["usages"]["all"] == usages
    assert ask(sim, f"usages?project_id={project}&consumer_type=MIGRATION")["usages"] == {}
    assert ask(sim, f"usages?project_id={project}&user_id=nobody")["usages"] == {}
    assert ask(sim, f"usages?project_id={project}", 37)["usages"]["VCPU"] == usages["VCPU"]
    for path in ("resource_providers?nosuch=1", "resource_providers?uuid=x", "resource_providers?member_of=x", "traits?nosuch=1",
                 "resource_providers?resources=VCPU", "resource_providers?required=NOPE", "traits?name=x", "traits?associated=x",
                 f"usages?project_id={project}&nosuch=1", "allocation_candidates", "allocation_candidates?resources=NOPE:1"):
        assert sim.request("GET", f"{PLACEMENT}/{path}", headers=headers()).status_code == 400, path
    assert sim.request("GET", f"{PLACEMENT}/resource_providers?required=COMPUTE_NODE", headers=headers(17)).status_code == 400
