"""What programs log in with and share with, by stock clients: application credentials, groups, the catalog, implied roles
and images. On simulated hosts."""

import json

import openstack
import pytest
import requests
from keystoneauth1.exceptions.http import Unauthorized


@pytest.fixture(scope="module")
def team(sim):
    """A project with two users who have their role from a group, and a second project with a user of its own."""
    made = {"project": sim.openstack_json("project", "create", "team")["id"],
            "other": sim.openstack_json("project", "create", "others")["id"]}
    for name in ("tina", "toni", "otto"):
        made[name] = sim.openstack_json("user", "create", name, "--password", "s3cret")["id"]
    made["group"] = sim.openstack_json("group", "create", "crew")["id"]
    sim.openstack("group", "add", "user", "crew", "tina", "toni")
    sim.openstack("role", "add", "--group", "crew", "--project", "team", "member")
    sim.openstack("role", "add", "--user", "otto", "--project", "others", "member")
    return made


def connect(sim, user, project, **auth):
    """A connection as a user, or as what else `auth` says."""
    own = {"auth_url": f"{sim.url}/identity/v3", "load_envvars": False}
    if not auth:
        auth = {"username": user, "password": "s3cret", "project_name": project, "user_domain_id": "default",
                "project_domain_id": "default"}
        return openstack.connect(auth_type="password", region_name="RegionOne", load_yaml_config=False, **own, **auth)
    return openstack.connect(auth_type="v3applicationcredential", region_name="RegionOne", load_yaml_config=False, **own,
                             **auth)


def test_a_program_logs_in_with_an_application_credential(sim, team):
    tina = connect(sim, "tina", "team")
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/flavors/**"}]
    whole = tina.identity.create_application_credential(user=team["tina"], name="whole")
    narrow = tina.identity.create_application_credential(user=team["tina"], name="narrow", access_rules=rules,
                                                         roles=[{"name": "reader"}])
    assert {c.name for c in tina.identity.application_credentials(user=team["tina"])} == {"whole", "narrow"}
    program = connect(sim, None, None, application_credential_id=whole.id, application_credential_secret=whole.secret)
    assert program.current_project_id == team["project"]
    network = program.network.create_network(name="made-by-a-program")
    assert network.project_id == team["project"]
    program.network.delete_network(network)
    with pytest.raises(openstack.exceptions.ForbiddenException):
        program.identity.create_application_credential(user=team["tina"], name="more")
    limited = connect(sim, None, None, application_credential_id=narrow.id, application_credential_secret=narrow.secret)
    assert limited.compute.get("/flavors/detail").status_code == 200
    assert limited.compute.get("/servers").status_code == 401
    assert limited.network.get("/networks").status_code == 401
    sim.openstack("group", "remove", "user", "crew", "tina")
    # The client's token is void, and it gets no other.
    with pytest.raises(Unauthorized):
        program.network.get("/networks")
    assert sim.get(f"/identity/v3/users/{team['tina']}/application_credentials")["application_credentials"] == []
    sim.openstack("group", "add", "user", "crew", "tina")


def test_roles_of_groups_are_in_tokens_and_lists(sim, team):
    assert {u["Name"] for u in sim.openstack_json("user", "list", "--group", "crew")} == {"tina", "toni"}
    sim.openstack("group", "contains", "user", "crew", "toni")
    toni = connect(sim, "toni", "team")
    assert toni.current_project_id == team["project"]
    lines = sim.openstack_json("role", "assignment", "list", "--effective", "--names", "--user", "toni")
    assert {line["Role"] for line in lines} == {"member", "reader"}
    lines = sim.openstack_json("role", "assignment", "list", "--names", "--group", "crew")
    assert [(line["Group"], line["Project"]) for line in lines] == [("crew@Default", "team@Default")]


def test_roles_imply_and_projects_inherit(sim, team):
    sim.openstack("role", "create", "night-shift")
    sim.openstack("implied", "role", "create", "night-shift", "--implied-role", "reader")
    rules = sim.openstack_json("implied", "role", "list")
    assert ("night-shift", "reader") in {(rule["Prior Role Name"], rule["Implied Role Name"]) for rule in rules}
    sim.openstack("role", "add", "--user", "otto", "--domain", "default", "--inherited", "night-shift")
    token = sim.login("otto", "s3cret", "team")
    shown = sim.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": token})["token"]
    assert {role["name"] for role in shown["roles"]} == {"night-shift", "reader"}
    sim.openstack("role", "remove", "--user", "otto", "--domain", "default", "--inherited", "night-shift")
    assert sim.request("GET", "/network/v2.0/networks", token=token).status_code == 401
    sim.openstack("role", "delete", "night-shift")


def test_an_operator_adds_a_service_to_the_catalog(sim):
    service = sim.openstack_json("service", "create", "--name", "designate", "dns")["id"]
    sim.openstack("region", "create", "north", "--parent-region", "RegionOne")
    sim.openstack("endpoint", "create", "--region", "north", "dns", "public", "http://dns.example/$(project_id)s")
    urls = {s["type"]: [e["url"] for e in s["endpoints"]] for s in sim.get("/identity/v3/auth/catalog")["catalog"]}
    admin = sim.openstack_json("project", "show", "admin")["id"]
    assert urls["dns"] == [f"http://dns.example/{admin}"]
    sim.openstack("service", "delete", service)
    assert sim.get("/identity/v3/endpoints?region_id=north")["endpoints"] == []
    sim.openstack("region", "delete", "north")


def test_an_image_is_shared_with_a_project_that_accepts_it(sim, team):
    toni, otto = connect(sim, "toni", "team"), connect(sim, "otto", "others")
    image = toni.image.create_image(name="shared", disk_format="raw", container_format="bare", visibility="shared",
                                    data=b"x" * 1024, allow_duplicates=True)
    names = lambda: [found.name for found in otto.image.images()]
    assert requests.get(f"{sim.url}/image/v2/images/{image.id}", headers={"X-Auth-Token": otto.auth_token},
                        timeout=10).status_code == 404
    toni.image.add_member(image, member=team["other"])
    assert "shared" not in names()
    otto.image.update_member(team["other"], image, status="accepted")
    assert "shared" in names() and otto.image.download_image(image).content == b"x" * 1024
    toni.image.deactivate_image(image)
    assert otto.image.get_image(image.id).status == "deactivated"
    toni.image.reactivate_image(image)
    toni.image.remove_member(team["other"], image)
    assert "shared" not in names()
    toni.image.delete_image(image)


def test_guesses_at_a_secret_all_get_one_answer(sim, team):
    tina = connect(sim, "tina", "team")
    made = tina.identity.create_application_credential(user=team["tina"], name="guessed", secret="right")
    answers = set()
    for proof in ({"id": made.id, "secret": "wrong"}, {"id": team["tina"], "secret": "right"},
                  {"name": "guessed", "user": {"id": team["toni"]}, "secret": "right"}):
        body = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": proof}}}
        answer = requests.post(f"{sim.url}/identity/v3/auth/tokens", json=body, timeout=30)
        answers.add((answer.status_code, json.dumps(answer.json())))
    assert len(answers) == 1 and answers.pop()[0] == 401
    tina.identity.delete_application_credential(team["tina"], made)
