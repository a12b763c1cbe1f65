"""Who may do what in which right: scopes, domains, roles and logging in. On simulated hosts."""

import json
import socket

import pytest
import requests

from cloud import NOTHING

V3 = "/identity/v3"


def scoped(sim, user, password, scope, domain="default"):
    """A token of a user for a scope, or the status that refuses it."""
    auth = {"identity": {"methods": ["password"], "password": {
        "user": {"name": user, "domain": {"id": domain}, "password": password}}}, "scope": scope}
    answer = requests.post(f"{sim.url}{V3}/auth/tokens", json={"auth": auth}, timeout=60)
    return answer.headers["X-Subject-Token"] if answer.status_code == 201 else answer.status_code


@pytest.fixture(scope="module")
def world(sim):
    """A domain with a project and users who hold roles on the domain, on its project and on the system."""
    roles = {r["name"]: r["id"] for r in sim.get(f"{V3}/roles")["roles"]}
    domain = sim.post(f"{V3}/domains", {"domain": {"name": "orchard"}})["domain"]["id"]
    project = sim.post(f"{V3}/projects", {"project": {"name": "apple", "domain_id": domain}})["project"]["id"]
    made = {"roles": roles, "domain": domain, "project": project, "users": {}}

    def user(name, role, place):
        uid = sim.post(f"{V3}/users", {"user": {"name": name, "password": "s3cret", "domain_id": domain}})["user"]["id"]
        assert sim.request("PUT", f"{V3}/{place}/users/{uid}/roles/{roles[role]}").status_code == 204
        made["users"][name] = uid
        return uid

    for role in ("admin", "manager", "member", "reader"):
        user(f"domain-{role}", role, f"domains/{domain}")
        made[f"domain-{role}"] = scoped(sim, f"domain-{role}", "s3cret", {"domain": {"id": domain}}, domain)
        user(f"system-{role}", role, "system")
        made[f"system-{role}"] = scoped(sim, f"system-{role}", "s3cret", {"system": {"all": True}}, domain)
        user(f"project-{role}", role, f"projects/{project}")
        made[f"project-{role}"] = scoped(sim, f"project-{role}", "s3cret", {"project": {"id": project}}, domain)
    user("plain", "member", f"projects/{project}")
    made["unscoped"] = scoped(sim, "plain", "s3cret", "unscoped", domain)
    return made


# What each right may ask for: project admins all of it, others what is named here.
READS = {
    f"{V3}/domains": {"system-*", "domain-*"},
    f"{V3}/projects": {"system-*", "domain-*"},
    f"{V3}/users": {"system-*", "domain-*"},
    f"{V3}/roles": {"system-*", "domain-*"},
    f"{V3}/role_assignments": {"system-*", "domain-*"},
    f"{V3}/role_inferences": {"system-*"},
    f"{V3}/services": {"system-*"},
    f"{V3}/endpoints": {"system-*"},
    f"{V3}/regions": {"*"},
    "/compute/v2.1/servers/detail": {"project-*"},
    "/compute/v2.1/servers?all_tenants=1": set(),
    "/compute/v2.1/os-hypervisors": set(),
    "/compute/v2.1/os-services": set(),
    "/compute/v2.1/os-aggregates": set(),
    "/network/v2.0/networks": {"project-*"},
    "/network/v2.0/agents": set(),
    "/image/v2/images": {"project-*"},
    "/placement/resource_providers": set(),
    "/operator/v1/hosts": {"system-*"},
}
BEARERS = [f"{scope}-{role}" for scope in ("project", "domain", "system") for role in ("admin", "manager", "member", "reader")]


@pytest.mark.parametrize("path", READS)
def test_a_role_counts_where_it_is_held(sim, world, path):
    for bearer in [*BEARERS, "unscoped"]:
        scope = bearer.split("-")[0]
        allowed = bearer == "project-admin" or READS[path] & {"*", f"{scope}-*", bearer}
        answer = sim.request("GET", path, token=world[bearer])
        # Neutron's list of agents is empty for those who may not see them, as Neutron has it.
        hidden = path.endswith("/agents") and answer.status_code == 200 and not answer.json()["agents"]
        assert answer.status_code == (200 if allowed else 403) or (not allowed and hidden), \
            f"{bearer} {path}: {answer.status_code} {answer.text}"


WRITES = [
    ("POST", f"{V3}/domains", {"domain": {"name": "new-{n}"}}, {"system-admin"}),
    ("POST", f"{V3}/roles", {"role": {"name": "new-{n}"}}, {"system-admin"}),
    ("POST", f"{V3}/projects", {"project": {"name": "new-{n}", "domain_id": "{domain}"}},
     {"system-admin", "domain-admin", "domain-manager"}),
    ("POST", f"{V3}/users", {"user": {"name": "new-{n}", "domain_id": "{domain}"}},
     {"system-admin", "domain-admin", "domain-manager"}),
    ("POST", f"{V3}/projects", {"project": {"name": "new-{n}", "domain_id": "default"}}, {"system-admin"}),
    ("POST", f"{V3}/users", {"user": {"name": "new-{n}", "domain_id": "default"}}, {"system-admin"}),
    ("PATCH", f"{V3}/projects/{{project}}", {"project": {"description": "{n}"}},
     {"system-admin", "domain-admin", "domain-manager"}),
    # Administrators of the cloud act in it: they would be shut out.
    ("PATCH", f"{V3}/projects/{{project}}", {"project": {"enabled": False}}, {"system-admin"}),
    ("PATCH", f"{V3}/users/{{plain}}", {"user": {"description": "{n}"}},
     {"system-admin", "domain-admin", "domain-manager"}),
    ("PATCH", f"{V3}/domains/{{domain}}", {"domain": {"description": "{n}"}}, {"system-admin"}),
    ("PUT", f"{V3}/projects/{{project}}/users/{{plain}}/roles/{{reader}}", None,
     {"system-admin", "domain-admin", "domain-manager"}),
    ("PUT", f"{V3}/domains/{{domain}}/users/{{plain}}/roles/{{reader}}", None,
     {"system-admin", "domain-admin", "domain-manager"}),
    ("PUT", f"{V3}/domains/{{domain}}/users/{{plain}}/roles/{{admin}}", None, {"system-admin", "domain-admin"}),
    # An admin on a project is an admin of compute, network and images everywhere.
    ("PUT", f"{V3}/projects/{{project}}/users/{{plain}}/roles/{{admin}}", None, {"system-admin"}),
    ("PUT", f"{V3}/system/users/{{plain}}/roles/{{reader}}", None, {"system-admin"}),
    ("PATCH", f"{V3}/users/{{project-admin}}", {"user": {"password": "s3cret2"}}, {"system-admin"}),
    ("PATCH", f"{V3}/users/{{system-admin}}", {"user": {"password": "s3cret2"}}, {"system-admin"}),
    # With a password come all rights of its user.
    ("PATCH", f"{V3}/users/{{domain-admin}}", {"user": {"password": "s3cret2"}}, {"system-admin", "domain-admin"}),
    ("PATCH", f"{V3}/users/{{system-reader}}", {"user": {"password": "s3cret2"}}, {"system-admin"}),
    ("PATCH", f"{V3}/users/{{domain-manager}}", {"user": {"password": "s3cret2"}},
     {"system-admin", "domain-admin", "domain-manager"}),
    ("POST", "/network/v2.0/networks", {"network": {"name": "new-{n}"}}, {"project-manager", "project-member"}),
    ("POST", "/network/v2.0/networks", {"network": {"name": "new-{n}", "shared": True}}, set()),
    ("POST", "/image/v2/images", {"name": "new-{n}"}, {"project-manager", "project-member"}),
    ("POST", "/image/v2/images", {"name": "new-{n}", "visibility": "public"}, set()),
    ("POST", "/compute/v2.1/flavors", {"flavor": {"name": "new-{n}", "ram": 1, "vcpus": 1, "disk": 0}}, set()),
    ("POST", "/operator/v1/hosts/enrol", {"valid_for_s": 60}, {"system-admin"}),
]


def filled(body, names):
    if isinstance(body, dict):
        return {k: filled(v, names) for k, v in body.items()}
    return body.format(**names) if isinstance(body, str) else body


@pytest.mark.parametrize("number", range(len(WRITES)))
def test_a_role_changes_only_what_it_reaches(sim, world, number):
    method, path, body, may = WRITES[number]
    # Those who may come last: what they change might take a right away from the others.
    for bearer in sorted([*BEARERS, "unscoped", "project-admin"], key=lambda b: b in may or b == "project-admin"):
        names = {"domain": world["domain"], "project": world["project"], "n": f"{number}-{bearer}", **world["roles"],
                 **world["users"]}
        answer = sim.request(method, path.format(**names), json=filled(body, names), token=world[bearer])
        if bearer in may or bearer == "project-admin":
            assert answer.status_code in (200, 201, 204, 409), f"{bearer}: {answer.status_code} {answer.text}"
            if method == "POST" and answer.status_code < 300 and not path.startswith((V3, "/operator")):
                # Others would find what is shared or public among what they may use.
                made = answer.json()
                made = made if "id" in made else next(iter(made.values()))
                assert sim.request("DELETE", f"{path}/{made['id']}").status_code in (202, 204)
            if "enabled" in str(body):
                back = {"project": {"enabled": True}}
                assert sim.request("PATCH", path.format(**names), json=back).status_code == 200
                for name in [b for b in BEARERS if b.startswith("project-")]:
                    world[name] = scoped(sim, name, "s3cret", {"project": {"id": world["project"]}}, world["domain"])
            if "password" in str(body):
                name = path.split("{")[1].split("}")[0]
                back = {"user": {"password": "s3cret"}}
                assert sim.request("PATCH", path.format(**names), json=back).status_code == 200
                scope = {"project": {"project": {"id": world["project"]}}, "system": {"system": {"all": True}},
                         "domain": {"domain": {"id": world["domain"]}}}
                world[name] = scoped(sim, name, "s3cret", scope[name.split("-")[0]], world["domain"])
        else:
            assert answer.status_code == 403, f"{bearer} {method} {path}: {answer.status_code} {answer.text}"
            assert "error" in answer.json() or "forbidden" in answer.text.lower() or "Policy" in answer.text


def test_a_domains_readers_see_what_is_in_it_and_no_more(sim, world):
    token = world["domain-reader"]
    assert [d["id"] for d in sim.get(f"{V3}/domains", token=token)["domains"]] == [world["domain"]]
    for noun in ("users", "projects"):
        found = sim.get(f"{V3}/{noun}", token=token)[noun]
        assert found and all(item["domain_id"] == world["domain"] for item in found)
    places = [a["scope"] for a in sim.get(f"{V3}/role_assignments?include_names", token=token)["role_assignments"]]
    assert places and all("system" not in place for place in places)
    domains = {place.get("domain", place.get("project", {}).get("domain"))["id"] for place in places}
    assert domains == {world["domain"]}


@pytest.mark.parametrize("path", ["projects/{}", "users/{}", "domains/{}", "projects/{}/users/{}/roles"])
def test_who_may_not_look_is_not_told_what_exists(sim, world, path):
    admin = sim.get(f"{V3}/users?name=admin")["users"][0]["id"]
    ids = {"projects": sim.get(f"{V3}/projects?name=admin")["projects"][0]["id"], "users": admin, "domains": "default"}
    there, nothing = ids[path.split("/")[0]], NOTHING
    for bearer in ("domain-admin", "domain-reader", "project-member", "unscoped"):
        for which in (there, nothing):
            answer = sim.request("GET", f"{V3}/{path.format(which, admin)}", token=world[bearer])
            assert answer.status_code == 403, f"{bearer} {which}: {answer.status_code}"
            if "roles" not in path:
                noun = path.split("/")[0][:-1]
                answer = sim.request("PATCH", f"{V3}/{path.format(which)}", json={noun: {"description": "x"}}, token=world[bearer])
                assert answer.status_code == 403, f"{bearer} PATCH {which}: {answer.status_code}"
        for which in (admin, NOTHING):
            change = {"user": {"original_password": "x", "password": "y"}}
            answer = sim.request("POST", f"{V3}/users/{which}/password", json=change, token=world[bearer])
            assert answer.status_code == 401
    if "roles" not in path:
        assert sim.request("GET", f"{V3}/{path.format(nothing)}").status_code == 404


def test_effective_assignments_are_what_tokens_say(sim, world):
    uid, project, names = world["users"]["project-manager"], world["project"], {v: k for k, v in world["roles"].items()}

    def listed(query):
        found = sim.get(f"{V3}/role_assignments?user.id={uid}{query}")["role_assignments"]
        return {names[a["role"]["id"]]: a["links"] for a in found}

    assert set(listed("")) == {"manager"}
    assert set(listed("&effective=false")) == {"manager"}
    effective = listed(f"&effective&scope.project.id={project}")
    token = sim.request("GET", f"{V3}/auth/tokens", headers={"X-Subject-Token": world["project-manager"]}).json()["token"]
    assert set(effective) == {role["name"] for role in token["roles"]} == {"manager", "member", "reader"}
    assert "prior_role" not in effective["manager"]
    assert effective["reader"]["prior_role"].endswith(world["roles"]["manager"])
    assert effective["reader"]["assignment"].endswith(world["roles"]["manager"])
    assert set(listed(f"&effective&role.id={world['roles']['reader']}")) == {"reader"}


@pytest.mark.parametrize("query", [
    "scope.project.id={project}&scope.domain.id={domain}", "scope.system=all&scope.domain.id={domain}",
    "user.id=a&group.id=b", "effective&group.id=b", "include_subtree", "effective=perhaps",
])
def test_contradicting_filters_of_assignments_are_refused(sim, world, query):
    answer = sim.request("GET", f"{V3}/role_assignments?{query.format(**world)}")
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == 400


def test_a_token_is_for_one_scope(sim, world):
    both = {"project": {"id": world["project"]}, "domain": {"id": world["domain"]}}
    assert scoped(sim, "project-member", "s3cret", both, world["domain"]) == 400
    assert scoped(sim, "project-member", "s3cret", {**both, "system": {"all": True}}, world["domain"]) == 400


@pytest.mark.parametrize("query, found", [
    ("users?name=plain", ["plain"]), ("users?name__startswith=domain-m", ["domain-manager", "domain-member"]),
    ("users?name__icontains=PLAI", ["plain"]), ("users?enabled=false", []), ("users?password_expires_at=lt:2030-01-01T00:00:00Z", []),
    ("users?colour=red&name=plain", ["plain"]), ("projects?name=apple", ["apple"]), ("projects?is_domain=true", []),
    ("projects?tags=a,b", ["tagged"]), ("projects?tags-any=b,c", ["tagged"]), ("projects?tags=a,c", []),
    ("projects?not-tags-any=a&name=tagged", []), ("projects?name__endswith=pple", ["apple"]),
    ("domains?name=orchard", ["orchard"]), ("domains?enabled=false", []), ("roles?name__contains=ead", ["reader"]),
    ("roles?domain_id=orchard", []), ("services?type=compute", ["nova"]), ("services?name=none", []),
    ("regions?parent_region_id=RegionTwo", []),
])
def test_filters_of_keystones_lists_are_honoured(sim, world, query, found):
    if not sim.get(f"{V3}/projects?name=tagged")["projects"]:
        tagged = {"name": "tagged", "domain_id": world["domain"], "tags": ["a", "b"]}
        sim.post(f"{V3}/projects", {"project": tagged})
    noun = query.split("?")[0]
    within = f"&domain_id={world['domain']}" if noun in ("users", "projects") else ""
    items = sim.get(f"{V3}/{query}{within}")[noun]
    assert sorted(item.get("name", item["id"]) for item in items) == found


def test_endpoints_are_filtered(sim, world):
    all_of = lambda query: sim.get(f"{V3}/endpoints?{query}")["endpoints"]
    public = all_of("interface=public")
    assert public and len(public) < len(all_of("")) or {e["interface"] for e in all_of("")} == {"public"}
    assert all(e["interface"] == "public" for e in public)
    service = public[0]["service_id"]
    assert {e["service_id"] for e in all_of(f"service_id={service}")} == {service}
    assert all_of("region_id=elsewhere") == []


def begun(sim, path, body, token):
    """A request whose last byte is held back; gives what sends that and reads the status."""
    data = json.dumps(body).encode()
    head = (f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n").encode()
    s = socket.create_connection(("127.0.0.1", sim.port), timeout=60)
    s.sendall(head + data[:-1])

    def end():
        s.sendall(data[-1:])
        with s, s.makefile("rb") as answer:
            return int(answer.readline().split()[1])

    return end


def test_rights_are_judged_when_the_change_is_made(sim, world):
    roles, domain = world["roles"], world["domain"]
    project = sim.post(f"{V3}/projects", {"project": {"name": "going", "domain_id": domain}})["project"]["id"]
    user = sim.post(f"{V3}/users", {"user": {"name": "going", "password": "s3cret", "domain_id": domain}})["user"]["id"]
    assert sim.request("PUT", f"{V3}/projects/{project}/users/{user}/roles/{roles['admin']}").status_code == 204
    login = lambda: scoped(sim, "going", "s3cret", {"project": {"id": project}}, domain)
    token = login()
    network = begun(sim, "/network/v2.0/networks", {"network": {"name": "late"}}, token)
    project_late = begun(sim, f"{V3}/projects", {"project": {"name": "late"}}, token)
    assert sim.request("DELETE", f"{V3}/projects/{project}").status_code == 204
    assert (network(), project_late()) == (401, 401)
    assert sim.get("/network/v2.0/networks?name=late")["networks"] == []
    assert sim.get(f"{V3}/projects?name=late")["projects"] == []

    # The role went, and then the user.
    assert sim.request("PUT", f"{V3}/projects/{world['project']}/users/{user}/roles/{roles['admin']}").status_code == 204
    login = lambda: scoped(sim, "going", "s3cret", {"project": {"id": world["project"]}}, domain)
    late = begun(sim, f"{V3}/users", {"user": {"name": "late"}}, login())
    assert sim.request("DELETE", f"{V3}/projects/{world['project']}/users/{user}/roles/{roles['admin']}").status_code == 204
    assert late() == 401
    assert sim.request("PUT", f"{V3}/projects/{world['project']}/users/{user}/roles/{roles['admin']}").status_code == 204
    late = begun(sim, f"{V3}/users", {"user": {"name": "late"}}, login())
    assert sim.request("DELETE", f"{V3}/users/{user}").status_code == 204
    assert late() == 401
    assert sim.get(f"{V3}/users?name=late")["users"] == []


def test_a_systems_administrator_purges_a_project(sim, world):
    project = sim.post(f"{V3}/projects", {"project": {"name": "purged-by-system", "domain_id": world["domain"]}})["project"]["id"]
    sim.post("/network/v2.0/networks", {"network": {"name": "left", "project_id": project}})
    answer = sim.request("POST", f"/operator/v1/projects/{project}/purge", token=world["system-admin"],
                         json={"dry_run": False, "keep_project": True})
    assert answer.status_code == 200 and [t["noun"] for t in answer.json()["removed"]] == ["network"], answer.text
    assert answer.json()["left"] == []
