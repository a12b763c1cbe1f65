"""A project that has anything stays; a purge empties it, and takes nothing of others'. On simulated hosts."""

import json

import pytest

from cloud import NOTHING

NETWORK = "/network/v2.0"


class Person:
    """A member of a project of their own."""

    def __init__(self, sim, name):
        self.sim = sim
        self.id = sim.post("/identity/v3/projects", {"project": {"name": name}})["project"]["id"]
        user = sim.post("/identity/v3/users", {"user": {"name": name, "password": "s3cret"}})["user"]["id"]
        member = next(r["id"] for r in sim.get("/identity/v3/roles")["roles"] if r["name"] == "member")
        assert sim.request("PUT", f"/identity/v3/projects/{self.id}/users/{user}/roles/{member}").status_code == 204
        self.name, self.token = name, sim.login(name, "s3cret", name)

    def make(self, path, noun, **fields):
        return self.sim.post(f"{NETWORK}/{path}", {noun: fields}, token=self.token)[noun]["id"]

    def put(self, path, body):
        answer = self.sim.request("PUT", f"{NETWORK}/{path}", json=body, token=self.token)
        assert answer.status_code == 200, answer.text

    def delete_project(self):
        return self.sim.request("DELETE", f"/identity/v3/projects/{self.id}")


@pytest.fixture(scope="module")
def outside(sim):
    network = sim.post(f"{NETWORK}/networks", {"network": {
        "name": "purge-out", "router:external": True, "provider:network_type": "flat",
        "provider:physical_network": "purge"}})["network"]["id"]
    sim.post(f"{NETWORK}/subnets", {"subnet": {"network_id": network, "cidr": "198.18.0.0/24", "ip_version": 4}})
    return network


# One thing of each kind alone, and what the refusal calls it.
KINDS = [
    ("1 network (", lambda p: p.make("networks", "network", name="n")),
    ("1 router (", lambda p: p.make("routers", "router", name="r")),
    ("1 security group (web)", lambda p: p.make("security-groups", "security_group", name="web")),
    ("1 address group (", lambda p: p.make("address-groups", "address_group", name="a")),
    ("1 address scope (", lambda p: p.make("address-scopes", "address_scope", name="a", ip_version=4)),
    ("1 subnet pool (", lambda p: p.make("subnetpools", "subnetpool", name="s", prefixes=["10.0.0.0/16"])),
    ("1 floating IP (198.18.0.", lambda p: p.make("floatingips", "floatingip", floating_network_id=p.outside)),
    ("1 port (", lambda p: p.make("ports", "port", network_id=p.open)),
    ("1 image (i)", lambda p: p.sim.post("/image/v2/images", {"name": "i"}, token=p.token)),
    ("1 QoS policy (", lambda p: p.sim.post(f"{NETWORK}/qos/policies", {"policy": {"name": "q", "project_id": p.id}})),
    ("1 server group (", lambda p: p.sim.post("/compute/v2.1/os-server-groups", {
        "server_group": {"name": "g", "policies": ["affinity"]}}, token=p.token)),
]


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=lambda n: KINDS[n][0].strip("1 ("))
def test_a_project_is_not_deleted_while_it_has_anything(sim, outside, kind):
    words, make = KINDS[kind]
    person = Person(sim, f"keeps-{kind}")
    person.outside, person.open = outside, sim.post(f"{NETWORK}/networks", {"network": {"shared": True}})["network"]["id"]
    make(person)
    before = sim.get("/healthz")["seq"]
    answer = person.delete_project()
    assert answer.status_code == 409 and words in answer.json()["error"]["message"], answer.text
    assert sim.get("/healthz")["seq"] == before
    assert "removed" in sim.lenticular("project", "purge", person.name)
    assert sim.request("GET", f"/identity/v3/projects/{person.id}").status_code == 404


def test_a_default_group_counts_once_somebody_is_in_it(sim):
    owner, friend = Person(sim, "lends-group"), Person(sim, "in-group")
    default = sim.get(f"{NETWORK}/security-groups?name=default", token=owner.token)["security_groups"][0]["id"]
    lent = owner.make("rbac-policies", "rbac_policy", object_type="security_group", object_id=default, action="access_as_shared",
                      target_tenant=friend.id)
    network = friend.make("networks", "network")
    port = friend.make("ports", "port", network_id=network, security_groups=[default])
    answer = owner.delete_project()
    assert answer.status_code == 409 and "1 security group (default)" in answer.text
    code, said = sim.lenticular("project", "purge", owner.name, ok=False)
    assert code != 0 and f"Security Group {default} in use" in " ".join(said.split())
    assert sim.get(f"{NETWORK}/ports/{port}")["port"]["security_groups"] == [default]
    assert sim.request("DELETE", f"{NETWORK}/ports/{port}").status_code == 204
    assert owner.delete_project().status_code == 204
    for gone in [f"security-groups/{default}", f"rbac-policies/{lent}"]:
        assert sim.request("GET", f"{NETWORK}/{gone}").status_code == 404, gone


def test_nobody_purges_the_project_that_they_act_in(sim):
    networks = lambda: sim.get(f"{NETWORK}/networks")["networks"]
    before = networks()
    code, said = sim.lenticular("project", "purge", "admin", ok=False)
    assert code != 0 and "--keep-project" in said and networks() == before
    assert sim.lenticular("project", "purge", "admin", "--dry-run")
    assert sim.lenticular("project", "purge", "nobody", ok=False)[0] != 0


def test_a_purge_removes_everything_in_order_and_nothing_of_others(sim, blank, outside):
    owner, other = Person(sim, "purged"), Person(sim, "stays")
    theirs = other.make("networks", "network", name="theirs")
    network = owner.make("networks", "network", name="net")
    subnet = owner.make("subnets", "subnet", network_id=network, cidr="10.61.0.0/24", ip_version=4)
    router = owner.make("routers", "router", name="way", external_gateway_info={"network_id": outside})
    owner.put(f"routers/{router}/add_router_interface", {"subnet_id": subnet})
    owner.put(f"routers/{router}", {"router": {"routes": [{"destination": "172.30.0.0/16", "nexthop": "10.61.0.77"}]}})
    group = owner.make("security-groups", "security_group", name="web")
    owner.make("security-group-rules", "security_group_rule", security_group_id=group, direction="ingress", remote_group_id=group)
    parent, sub = (owner.make("ports", "port", network_id=network, security_groups=[group]) for _ in range(2))
    trunk = owner.make("trunks", "trunk", port_id=parent, admin_state_up=True,
                       sub_ports=[{"port_id": sub, "segmentation_type": "vlan", "segmentation_id": 9}])
    owner.put(f"trunks/{trunk}", {"trunk": {"admin_state_up": False}})
    owner.make("floatingips", "floatingip", floating_network_id=outside, port_id=parent)
    forwards = owner.make("floatingips", "floatingip", floating_network_id=outside)
    sim.post(f"{NETWORK}/floatingips/{forwards}/port_forwardings", {"port_forwarding": {
        "internal_port_id": sub, "internal_port": 22, "external_port": 22, "protocol": "tcp"}}, token=owner.token)
    image = sim.post("/image/v2/images", {"name": "kept", "protected": True}, token=owner.token)["id"]
    for number, nic in enumerate([{"port": parent}, {"uuid": network}]):
        body = {"server": {"name": f"s{number}", "imageRef": blank[0], "flavorRef": "42", "networks": [nic]}}
        server = sim.post("/compute/v2.1/servers", body, version="2.79", token=owner.token)["server"]["id"]
    sim.wait_status(server, "ACTIVE")
    assert sim.request("POST", f"/compute/v2.1/servers/{server}/action", json={"lock": None}, token=owner.token).status_code == 202
    lent = other.make("rbac-policies", "rbac_policy", object_type="network", object_id=theirs, action="access_as_shared",
                      target_tenant=owner.id)
    owner.make("ports", "port", network_id=theirs)

    plan = sim.lenticular("project", "purge", owner.name, "--dry-run")
    order = [line.split("┆")[0].strip("│ ") for line in plan.splitlines() if "┆" in line][1:]
    firsts = list(dict.fromkeys(word for word in order if word))
    assert firsts == ["server", "floating IP", "trunk", "router", "port", "subnet", "network", "security group", "image"]
    assert sim.get(f"{NETWORK}/networks/{network}")["network"]["id"] == network, "a dry run removes nothing"
    assert owner.delete_project().status_code == 409

    answer = sim.request("POST", f"/operator/v1/projects/{owner.id}/purge", json={}, token=owner.token)
    assert answer.status_code == 403, "a member purges nothing"
    assert sim.request("POST", f"/operator/v1/projects/{NOTHING}/purge", json={}).status_code == 404

    said = sim.lenticular("project", "purge", owner.name, "--keep-project")
    assert "is empty" in said and f"removed router {router}" in said
    for path in [f"{NETWORK}/networks/{network}", f"{NETWORK}/ports/{sub}", f"/image/v2/images/{image}",
                 f"/compute/v2.1/servers/{server}"]:
        assert sim.request("GET", path).status_code == 404, path
    assert sim.get(f"{NETWORK}/networks/{theirs}")["network"]["name"] == "theirs"
    assert sim.get(f"{NETWORK}/rbac-policies/{lent}", token=other.token)["rbac_policy"]["target_tenant"] == owner.id
    assert owner.delete_project().status_code == 204
    assert sim.request("GET", f"{NETWORK}/rbac-policies/{lent}").status_code == 404, "it was for nobody else"
    left = json.dumps([sim.get(f"{NETWORK}/{c}?project_id={owner.id}") for c in ("ports", "routers", "floatingips", "trunks")])
    assert owner.id not in left
