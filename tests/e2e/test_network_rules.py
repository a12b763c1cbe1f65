"""The network API's own rules, as tables: what bodies may hold, whose revision number a change raises, what listings can be
asked for, and where extensions are. On simulated hosts."""

import pytest

from cloud import NOTHING, wait_until

NETWORK = "/network/v2.0"


class Things:
    """One of every noun, each made by its own request."""

    def __init__(self, sim, name="rules"):
        self.sim, self.serial = sim, 0
        self.project = sim.post("/identity/v3/projects", {"project": {"name": name}})["project"]["id"]
        self.other = sim.post("/identity/v3/projects", {"project": {"name": f"{name}-friend"}})["project"]["id"]
        sim.request("PUT", f"{NETWORK}/quotas/{self.project}", json={"quota": {"router": -1, "floatingip": -1}})
        self.outside = self.make("networks", **{"name": f"{name}-out", "router:external": True, "provider:network_type": "flat",
                                                "provider:physical_network": name})
        self.make("subnets", network_id=self.outside["id"], cidr="198.19.0.0/24", ip_version=4)

    def make(self, path, **fields):
        noun = NOUNS[path.rsplit("/", 1)[-1]]
        answer = self.sim.request("POST", f"{NETWORK}/{path}", json={noun: {"project_id": self.project, **fields}})
        assert answer.status_code == 201, f"{path} {fields}: {answer.text}"
        return answer.json()[noun]

    def network(self, **fields):
        return self.make("networks", name="n", description="a network", **fields)

    def range(self):
        self.serial += 1
        return f"10.{self.serial // 250 + 150}.{self.serial % 250}.0/24"

    def subnet(self, network=None, **fields):
        network = network or self.network()["id"]
        return self.make("subnets", **{"network_id": network, "cidr": self.range(), "ip_version": 4, **fields})

    def port(self, network=None, **fields):
        return self.make("ports", network_id=network or self.subnet()["network_id"], **fields)

    def routed(self):
        """A router to the outside, its inner subnet, and a port there."""
        router = self.make("routers", external_gateway_info={"network_id": self.outside["id"]})
        subnet = self.subnet()
        self.put(f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
        return router, subnet, self.port(subnet["network_id"])

    def floating(self, **fields):
        return self.make("floatingips", floating_network_id=self.outside["id"], **fields)

    def forwarding(self, port, floating):
        return self.sim.post(f"{NETWORK}/floatingips/{floating}/port_forwardings", {"port_forwarding": {
            "internal_port_id": port, "internal_port": 22, "external_port": 22, "protocol": "tcp", "description": "ssh"}}
        )["port_forwarding"]

    def put(self, path, body, ok=True, **more):
        answer = self.sim.request("PUT", f"{NETWORK}/{path}", json=body, **more)
        assert answer.status_code in (200, 201) or not ok, f"{path}: {answer.text}"
        return answer

    def delete(self, path):
        answer = self.sim.request("DELETE", f"{NETWORK}/{path}")
        assert answer.status_code == 204, answer.text

    def show(self, path):
        [thing] = self.sim.get(f"{NETWORK}/{path}").values()
        return thing


NOUNS = {"networks": "network", "subnets": "subnet", "ports": "port", "routers": "router", "floatingips": "floatingip",
         "security-groups": "security_group", "security-group-rules": "security_group_rule", "trunks": "trunk",
         "subnetpools": "subnetpool", "address-scopes": "address_scope", "address-groups": "address_group",
         "policies": "policy", "rbac-policies": "rbac_policy"}


@pytest.fixture(scope="module")
def things(sim):
    return Things(sim)


PORT = {"network_id": "NETWORK"}
SUBNET = {"network_id": "NETWORK", "cidr": "10.149.0.0/24", "ip_version": 4}

# Bodies with something that is not what it should be, deep inside, and what the refusal names.
BAD_BODIES = [
    ("POST", "ports", {"port": {**PORT, "allowed_address_pairs": [{"ip_address": "10.0.0.1", "colour": "red"}]}}, "colour"),
    ("POST", "ports", {"port": {**PORT, "allowed_address_pairs": [{"mac_address": "fa:16:3e:00:00:01"}]}}, "ip_address"),
    ("POST", "ports", {"port": {**PORT, "fixed_ips": [{"subnet": "SUBNET"}]}}, "subnet"),
    ("POST", "ports", {"port": {**PORT, "extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400", "x": 1}]}}, "x"),
    ("PUT", "ports/PORT", {"port": {"allowed_address_pairs": [{"ip_address": "10.0.0.1", "colour": "red"}]}}, "colour"),
    ("POST", "subnets", {"subnet": {**SUBNET, "allocation_pools": [{"start": "10.149.0.9", "end": "10.149.0.10", "step": 1}]}},
     "step"),
    ("POST", "subnets", {"subnet": {**SUBNET, "allocation_pools": [{"start": "10.149.0.9"}]}}, "allocation_pools"),
    ("POST", "subnets", {"subnet": {**SUBNET, "host_routes": [{"destination": "10.0.0.0/8", "nexthop": "10.149.0.9", "x": 1}]}},
     "x"),
    ("PUT", "subnets/SUBNET", {"subnet": {"allocation_pools": [{"start": "10.0.0.9", "end": "10.0.0.10", "x": 1}]}}, "x"),
    ("POST", "routers", {"router": {"external_gateway_info": {"network_id": "OUTSIDE", "x": 1}}}, "x"),
    ("POST", "routers", {"router": {"external_gateway_info": {"network_id": "OUTSIDE", "external_fixed_ips": [{"x": 1}]}}}, "x"),
    ("PUT", "routers/ROUTER/add_extraroutes", {"router": {"routes": [{"destination": "10.0.0.0/8", "nexthop": "10.9.9.9", "x": 1}]}},
     "x"),
    ("POST", "trunks", {"trunk": {"port_id": "PORT", "sub_ports": [{"port_id": "PORT", "segmentation_id": 1, "x": 1}]}}, "x"),
    ("PUT", "trunks/TRUNK/add_subports", {"sub_ports": [{"port_id": "PORT", "segmentation_id": 1, "x": 1}]}, "x"),
    ("PUT", "trunks/TRUNK/remove_subports", {"sub_ports": [{"port_id": "PORT", "x": 1}]}, "x"),
    ("POST", "networks", {"networks": []}, "required"),
    ("POST", "networks", {"networks": [{"colour": "red"}]}, "colour"),
    # Ids that are none.
    ("POST", "ports", {"port": {"network_id": "no-id"}}, "network_id"),
    ("POST", "ports", {"port": {**PORT, "fixed_ips": [{"subnet_id": "no-id"}]}}, "subnet_id"),
    ("POST", "ports", {"port": {**PORT, "security_groups": ["no-id"]}}, "security_groups"),
    ("POST", "ports", {"port": {**PORT, "qos_policy_id": "no-id"}}, "qos_policy_id"),
    ("PUT", "ports/PORT", {"port": {"qos_policy_id": "no-id"}}, "qos_policy_id"),
    ("POST", "networks", {"network": {"qos_policy_id": "no-id"}}, "qos_policy_id"),
    ("PUT", "networks/NETWORK", {"network": {"qos_policy_id": "no-id"}}, "qos_policy_id"),
    ("POST", "subnets", {"subnet": {**SUBNET, "network_id": "no-id"}}, "network_id"),
    ("POST", "subnets", {"subnet": {"network_id": "NETWORK", "ip_version": 4, "subnetpool_id": "no-id"}}, "subnetpool_id"),
    ("POST", "routers", {"router": {"external_gateway_info": {"network_id": "no-id"}}}, "network_id"),
    ("PUT", "routers/ROUTER/add_router_interface", {"subnet_id": "no-id"}, "subnet_id"),
    ("PUT", "routers/ROUTER/add_router_interface", {"port_id": "no-id"}, "port_id"),
    ("PUT", "routers/ROUTER/remove_router_interface", {"port_id": "no-id"}, "port_id"),
    ("POST", "floatingips", {"floatingip": {"floating_network_id": "no-id"}}, "floating_network_id"),
    ("POST", "floatingips", {"floatingip": {"floating_network_id": "OUTSIDE", "port_id": "no-id"}}, "port_id"),
    ("POST", "floatingips", {"floatingip": {"floating_network_id": "OUTSIDE", "subnet_id": "no-id"}}, "subnet_id"),
    ("POST", "floatingips/FLOATING/port_forwardings", {"port_forwarding": {
        "internal_port_id": "no-id", "internal_port": 1, "external_port": 1, "protocol": "tcp"}}, "internal_port_id"),
    ("POST", "trunks", {"trunk": {"port_id": "no-id"}}, "port_id"),
    ("PUT", "trunks/TRUNK/add_subports", {"sub_ports": [{"port_id": "no-id", "segmentation_id": 1}]}, "port_id"),
    ("POST", "subnetpools", {"subnetpool": {"name": "s", "prefixes": ["10.0.0.0/16"], "address_scope_id": "no-id"}},
     "address_scope_id"),
    ("POST", "security-group-rules", {"security_group_rule": {"security_group_id": "no-id", "direction": "ingress"}},
     "security_group_id"),
    ("POST", "security-group-rules", {"security_group_rule": {
        "security_group_id": "GROUP", "direction": "ingress", "remote_address_group_id": "no-id"}}, "remote_address_group_id"),
    ("POST", "rbac-policies", {"rbac_policy": {"object_type": "network", "object_id": "no-id", "action": "access_as_shared",
                                               "target_tenant": "0" * 32}}, "object_id"),
]


@pytest.fixture(scope="module")
def words(things):
    router, subnet, port = things.routed()
    return {"NETWORK": subnet["network_id"], "SUBNET": subnet["id"], "PORT": port["id"], "ROUTER": router["id"],
            "OUTSIDE": things.outside["id"], "FLOATING": things.floating()["id"],
            "TRUNK": things.make("trunks", port_id=things.port()["id"])["id"],
            "GROUP": things.make("security-groups", name="g")["id"]}


@pytest.mark.parametrize("method, path, body, named", BAD_BODIES, ids=lambda v: v if isinstance(v, str) else "")
def test_what_is_wrong_deep_inside_of_a_body_is_refused_and_named(sim, words, method, path, body, named):
    def fill(value):
        if isinstance(value, dict):
            return {k: fill(v) for k, v in value.items()}
        return [fill(v) for v in value] if isinstance(value, list) else words.get(value, value)
    for word, real in words.items():
        path = path.replace(f"/{word}", f"/{real}")
    before = sim.get("/healthz")["seq"]
    answer = sim.request(method, f"{NETWORK}/{path}", json=fill(body))
    assert answer.status_code == 400 and named in answer.json()["NeutronError"]["message"], answer.text
    assert sim.get("/healthz")["seq"] == before


def test_a_rule_about_a_group_that_cannot_be_says_that_the_group_is_not_there(sim, words):
    rule = {"security_group_id": words["GROUP"], "direction": "ingress", "remote_group_id": "no-id"}
    answer = sim.request("POST", f"{NETWORK}/security-group-rules", json={"security_group_rule": rule})
    assert answer.status_code == 404 and answer.json()["NeutronError"]["type"] == "SecurityGroupNotFound", answer.text


def test_in_paths_an_id_that_is_none_is_not_there(sim):
    for path in ["networks", "subnets", "ports", "routers", "floatingips", "trunks", "security-groups", "rbac-policies"]:
        assert sim.request("GET", f"{NETWORK}/{path}/no-id").status_code == 404, path


def test_a_quota_is_deleted_once(sim, things):
    path = f"{NETWORK}/quotas/{things.other}"
    assert sim.request("PUT", path, json={"quota": {"port": 5}}).status_code == 200
    assert sim.request("DELETE", path).status_code == 204
    answer = sim.request("DELETE", path)
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (404, "TenantQuotaNotFound")


def test_words_in_which_capitals_do_not_count(sim, things):
    group = things.make("security-groups", name="words")["id"]
    for number, (said, shown) in enumerate([("ipv6", "IPv6"), ("IPV6", "IPv6"), ("iPv4", "IPv4"), ("IPv4", "IPv4")]):
        rule = things.make("security-group-rules", security_group_id=group, direction="ingress", ethertype=said,
                           protocol="TCP", port_range_min=number + 1, port_range_max=number + 1)
        assert (rule["ethertype"], rule["protocol"]) == (shown, "tcp")
        found = sim.get(f"{NETWORK}/security-group-rules?ethertype={said}&protocol=Tcp&security_group_id={group}")
        assert rule["id"] in [r["id"] for r in found["security_group_rules"]]
    default = {"direction": "ingress", "ethertype": "ipv6", "protocol": "UDP"}
    made = sim.post(f"{NETWORK}/default-security-group-rules", {"default_security_group_rule": default})["default_security_group_rule"]
    assert sim.request("DELETE", f"{NETWORK}/default-security-group-rules/{made['id']}").status_code == 204
    assert (made["ethertype"], made["protocol"]) == ("IPv6", "udp")
    port = things.port(dns_name="WEB", dns_domain="Example.ORG.", mac_address="FA:16:3E:0A:0B:0C")
    assert (port["dns_name"], port["dns_domain"], port["mac_address"]) == ("web", "example.org.", "fa:16:3e:0a:0b:0c")
    assert things.network(dns_domain="Example.ORG.")["dns_domain"] == "example.org."
    policy = things.make("rbac-policies", object_type=" Network", object_id=port["network_id"], action="access_as_shared",
                         target_tenant=things.other)
    assert policy["object_type"] == "network"
    forward = {"internal_port_id": NOTHING, "internal_port": 1, "external_port": 1, "protocol": "TCP"}
    answer = sim.request("POST", f"{NETWORK}/floatingips/{things.floating()['id']}/port_forwardings",
                         json={"port_forwarding": forward})
    assert answer.json()["NeutronError"]["type"] == "PortNotFound"


def tagged(path):
    return [(f"{path}: tags", lambda t, thing: t.put(f"{path}/{thing}/tags", {"tags": ["a"]})),
            (f"{path}: a tag", lambda t, thing: t.put(f"{path}/{thing}/tags/b", None)),
            (f"{path}: a tag less", lambda t, thing: t.delete(f"{path}/{thing}/tags/b")),
            (f"{path}: no tags", lambda t, thing: t.delete(f"{path}/{thing}/tags"))]


class Kept(dict):
    """What a step has made, for the next."""


def of_network(t):
    network, kept = t.network()["id"], Kept()
    keep = lambda name, thing: kept.__setitem__(name, thing["id"])
    return "networks", network, [
        ("a subnet", lambda: keep("subnet", t.subnet(network))),
        ("a subnet's change", lambda: t.put(f"subnets/{kept['subnet']}", {"subnet": {"dns_nameservers": ["9.9.9.9"]}})),
        ("a subnet's service types", lambda: t.put(f"subnets/{kept['subnet']}", {"subnet": {"service_types": ["compute:a"]}})),
        ("a subnet less", lambda: t.delete(f"subnets/{kept['subnet']}")),
        ("a policy", lambda: keep("policy", t.make("rbac-policies", object_type="network", object_id=network,
                                                   action="access_as_shared", target_tenant=t.other))),
        ("a policy's change", lambda: t.put(f"rbac-policies/{kept['policy']}", {"rbac_policy": {"target_tenant": "*"}})),
        ("a policy less", lambda: t.delete(f"rbac-policies/{kept['policy']}")),
        ("a way out", lambda: t.put(f"networks/{network}", {"network": {"router:external": True}})),
    ]


def of_group(t):
    group, other, kept = t.make("security-groups", name="a")["id"], t.make("security-groups", name="b")["id"], Kept()
    rule = lambda **more: t.make("security-group-rules", security_group_id=group, direction="ingress", **more)["id"]
    return "security-groups", group, [
        ("a rule", lambda: kept.__setitem__("rule", rule(protocol="tcp"))),
        ("a rule less", lambda: t.delete(f"security-group-rules/{kept['rule']}")),
        ("a rule about another group", lambda: rule(remote_group_id=other)),
        ("that group's end, and the rule's", lambda: t.delete(f"security-groups/{other}")),
    ]


def of_port(t):
    router, subnet, port = t.routed()
    port, group, floating, kept = port["id"], t.make("security-groups", name="p")["id"], t.floating()["id"], Kept()
    change = lambda **fields: t.put(f"ports/{port}", {"port": fields})
    second = t.port(subnet["network_id"])["id"]
    forwardings = f"floatingips/{floating}/port_forwardings"
    return "ports", port, [
        ("a group", lambda: change(security_groups=[group])),
        ("an address pair", lambda: change(allowed_address_pairs=[{"ip_address": "10.0.0.0/8"}])),
        ("an option", lambda: change(extra_dhcp_opts=[{"opt_name": "mtu", "opt_value": "1400"}])),
        ("a name in DNS", lambda: change(dns_name="web")),
        ("an address", lambda: change(fixed_ips=[{"subnet_id": subnet["id"]}])),
        ("a forwarding", lambda: kept.__setitem__("f", t.forwarding(port, floating)["id"])),
        ("a forwarding's change", lambda: t.put(f"{forwardings}/{kept['f']}", {"port_forwarding": {"external_port": 23}})),
        ("a forwarding that goes elsewhere", lambda: t.put(f"{forwardings}/{kept['f']}", {"port_forwarding": {
            "internal_port_id": second}})),
        ("one that comes back", lambda: t.put(f"{forwardings}/{kept['f']}", {"port_forwarding": {"internal_port_id": port}})),
        ("a forwarding less", lambda: t.delete(f"{forwardings}/{kept['f']}")),
        ("no port security", lambda: change(port_security_enabled=False, security_groups=[], allowed_address_pairs=[])),
    ]


def of_router(t):
    router, subnet = t.make("routers")["id"], t.subnet()
    legs = lambda action: t.put(f"routers/{router}/{action}_router_interface", {"subnet_id": subnet["id"]})
    change = lambda **fields: t.put(f"routers/{router}", {"router": fields})
    route = {"destination": "172.31.0.0/16", "nexthop": subnet["cidr"].replace(".0/24", ".99")}
    return "routers", router, [
        ("a leg", lambda: legs("add")), ("a route", lambda: change(routes=[route])), ("no route", lambda: change(routes=[])),
        ("a route more", lambda: t.put(f"routers/{router}/add_extraroutes", {"router": {"routes": [route]}})),
        ("a route less", lambda: t.put(f"routers/{router}/remove_extraroutes", {"router": {"routes": [route]}})),
        ("a gateway", lambda: change(external_gateway_info={"network_id": t.outside["id"]})),
        ("no gateway", lambda: change(external_gateway_info=None)), ("a leg less", lambda: legs("remove")),
    ]


def of_floating(t):
    _, _, port = t.routed()
    floating, kept = t.floating()["id"], Kept()
    forwardings = f"floatingips/{floating}/port_forwardings"
    change = lambda port: t.put(f"floatingips/{floating}", {"floatingip": {"port_id": port}})
    return "floatingips", floating, [
        ("a forwarding", lambda: kept.__setitem__("f", t.forwarding(port["id"], floating)["id"])),
        ("a forwarding's change", lambda: t.put(f"{forwardings}/{kept['f']}", {"port_forwarding": {"external_port": 23}})),
        ("a forwarding less", lambda: t.delete(f"{forwardings}/{kept['f']}")),
        ("a port", lambda: change(port["id"])), ("no port", lambda: change(None)),
        ("a port that goes", lambda: (change(port["id"]), t.delete(f"ports/{port['id']}"))),
    ]


def of_policy(t):
    policy, kept = t.make("qos/policies", name="q")["id"], Kept()
    rules = f"qos/policies/{policy}/dscp_marking_rules"
    rule = lambda mark: {"dscp_marking_rule": {"dscp_mark": mark}}
    make = lambda: t.sim.post(f"{NETWORK}/{rules}", rule(10))["dscp_marking_rule"]["id"]
    return "qos/policies", policy, [
        ("a rule", lambda: kept.__setitem__("r", make())), ("a rule's change", lambda: t.put(f"{rules}/{kept['r']}", rule(12))),
        ("a rule less", lambda: t.delete(f"{rules}/{kept['r']}"))]


def of_others(path, noun, steps, **fields):
    def make(t):
        given = {name: value(t) if callable(value) else value for name, value in fields.items()}
        thing = t.make(path, **given)["id"]
        return path, thing, [(name, lambda step=step: step(t, thing)) for name, step in steps]
    make.__name__ = f"of_{noun}"
    return make


def sub(t):
    t.serial += 1
    return {"sub_ports": [{"port_id": t.port()["id"], "segmentation_type": "vlan", "segmentation_id": t.serial}]}


def add_and_remove_subport(t, trunk):
    body = sub(t)
    t.put(f"trunks/{trunk}/add_subports", body)
    t.put(f"trunks/{trunk}/remove_subports", body)


REVISED = [
    of_network, of_group, of_port, of_router, of_floating, of_policy,
    of_others("subnetpools", "pool", [
        ("a prefix", lambda t, p: t.put(f"subnetpools/{p}/add_prefixes", {"prefixes": ["10.77.0.0/16"]})),
        ("a prefix less", lambda t, p: t.put(f"subnetpools/{p}/remove_prefixes", {"prefixes": ["10.77.0.0/16"]})),
        *tagged("subnetpools")], name="p", prefixes=["10.75.0.0/16"]),
    of_others("address-groups", "addresses", [
        ("an address", lambda t, g: t.put(f"address-groups/{g}/add_addresses", {"addresses": ["10.0.0.0/8"]})),
        ("an address less", lambda t, g: t.put(f"address-groups/{g}/remove_addresses", {"addresses": ["10.0.0.0/8"]}))]),
    of_others("trunks", "trunk", [
        ("a subport", lambda t, trunk: t.put(f"trunks/{trunk}/add_subports", sub(t))),
        ("a subport more and less", add_and_remove_subport), *tagged("trunks")], port_id=lambda t: t.port()["id"]),
    of_others("subnets", "subnet", tagged("subnets"), network_id=lambda t: t.network()["id"], cidr="10.76.0.0/24", ip_version=4),
    of_others("networks", "tagged_network", tagged("networks")), of_others("routers", "tagged_router", tagged("routers")),
    of_others("security-groups", "tagged_group", tagged("security-groups")),
    of_others("ports", "tagged_port", tagged("ports"), network_id=lambda t: t.network()["id"]),
]


@pytest.mark.parametrize("make", REVISED, ids=lambda make: make.__name__)
def test_a_change_of_what_belongs_to_a_thing_raises_its_revision_number(things, make):
    """What Neutron's `revises_on_change` names: who has seen it before is refused with 412."""
    path, thing, steps = make(things)
    noun, one = NOUNS[path.rsplit("/", 1)[-1]], f"{path}/{thing}"
    for step, change in steps:
        seen = things.show(one)
        change()
        now = things.show(one)
        assert now["revision_number"] > seen["revision_number"], step
        old = {"If-Match": f"revision_number={seen['revision_number']}"}
        answer = things.put(one, {noun: {"description": step}}, ok=False, headers=old)
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (412, "RevisionNumberConstraintFailed"), step
        assert things.show(one)["description"] == now["description"]
    new = {"If-Match": f"revision_number={things.show(one)['revision_number']}"}
    assert things.put(one, {noun: {"description": "seen"}}, headers=new).json()[noun]["description"] == "seen"


def test_a_port_forwarding_is_changed_only_as_it_was_seen(things):
    _, _, port = things.routed()
    floating = things.floating()["id"]
    made = things.forwarding(port["id"], floating)
    path, body = f"floatingips/{floating}/port_forwardings/{made['id']}", {"port_forwarding": {"external_port": 24}}
    seen = {"If-Match": f"revision_number={made['revision_number']}"}
    assert things.put(path, body, headers=seen).status_code == 200
    assert things.put(path, body, ok=False, headers=seen).status_code == 412
    assert things.sim.request("DELETE", f"{NETWORK}/{path}", headers=seen).status_code == 412


def test_a_trunks_subports_move_with_their_server(sim, blank, things):
    mine = {"project_id": sim.get("/identity/v3/projects?name=admin")["projects"][0]["id"]}
    network = things.subnet()["network_id"]
    parent, sub = (things.port(network, **mine)["id"] for _ in range(2))
    entry = {"port_id": sub, "segmentation_type": "vlan", "segmentation_id": 5}
    things.make("trunks", port_id=parent, sub_ports=[entry], **mine)
    shown = lambda port: things.show(f"ports/{port}")
    assert shown(sub)["status"] == "DOWN" and shown(sub)["binding:host_id"] == ""
    body = {"server": {"name": "trunk", "imageRef": blank[0], "flavorRef": "42", "networks": [{"port": parent}]}}
    server = sim.post("/compute/v2.1/servers", body, version="2.79")["server"]["id"]
    before = sim.wait_status(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"]
    both = lambda: {(shown(p)["status"], shown(p)["binding:host_id"], shown(p)["binding:vif_type"]) for p in (parent, sub)}
    assert both() == {("ACTIVE", before, "ovs")}
    move = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    sim.post(f"/compute/v2.1/servers/{server}/action", move, version="2.79")
    arrived = lambda: sim.server(server)["OS-EXT-SRV-ATTR:host"] != before and sim.wait_status(server, "ACTIVE")
    after = wait_until("it has moved", arrived)["OS-EXT-SRV-ATTR:host"]
    assert both() == {("ACTIVE", after, "ovs")}
    assert things.show(f"trunks?port_id={parent}")[0]["status"] == "ACTIVE"
    sim.act(server, "os-stop")
    sim.wait_status(server, "SHUTOFF")
    wait_until("both ports are down", lambda: both() == {("DOWN", after, "ovs")})
    sim.delete(server)
    sim.wait_gone(server)
    assert both() == {("DOWN", "", "unbound")}
