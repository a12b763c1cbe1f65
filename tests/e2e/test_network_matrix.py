"""Who may use what: every field of the network API's bodies that takes an id, and those of the compute API that name things
of networks, with what is the caller's own, lent to it, open to everyone, lent by it, or another's; as member, reader and
administrator. What may be seen may not always be used. On simulated hosts."""

import types

import pytest

from cloud import NOTHING

NETWORK = "/network/v2.0"


class World:
    """Two projects: `me` of the callers, and `they` of somebody else. Objects stand under their relation to the callers:
    own, lent (by them, to my project alone), open (an administrator's, shared with everyone), mine (theirs, on what I lent
    them: I see it), foreign, and out (an external network that is theirs alone)."""

    def __init__(self, sim, blank):
        self.sim, self.image = sim, blank[0]
        roles = {r["name"]: r["id"] for r in sim.get("/identity/v3/roles")["roles"]}
        self.project, self.token = {}, {"admin": sim.token()}
        for project, user, role in [("me", "member", "member"), ("me", "reader", "reader"), ("they", "they", "member")]:
            name = f"matrix-{project}"
            if project not in self.project:
                made = sim.post("/identity/v3/projects", {"project": {"name": name}})["project"]["id"]
                self.project[project] = made
                sim.request("PUT", f"{NETWORK}/quotas/{made}", json={"quota": {"router": -1, "floatingip": -1, "network": -1}})
                sim.request("PUT", f"/compute/v2.1/os-quota-sets/{made}", json={"quota_set": {"instances": -1, "cores": -1}})
            uid = sim.post("/identity/v3/users", {"user": {"name": f"matrix-{user}", "password": "s3cret"}})["user"]["id"]
            grant = f"/identity/v3/projects/{self.project[project]}/users/{uid}/roles/{roles[role]}"
            assert sim.request("PUT", grant).status_code == 204
            self.token[user] = sim.login(f"matrix-{user}", "s3cret", name)
        self.serial = 0
        self.things = {}

    def make(self, path, noun, by="member", **fields):
        answer = self.sim.request("POST", f"{NETWORK}/{path}", token=self.token[by], json={noun: fields})
        assert answer.status_code == 201, f"{path} {fields}: {answer.text}"
        return answer.json()[noun]["id"]

    def lend(self, kind, thing, by, to):
        self.make("rbac-policies", "rbac_policy", by=by, object_type=kind, object_id=thing, action="access_as_shared",
                  target_tenant=self.project[to])

    def network(self, by, **fields):
        """A network with a subnet of its own range; gives both."""
        self.serial += 1
        network = self.make("networks", "network", by=by, **fields)
        cidr = f"10.{100 + self.serial // 250}.{self.serial % 250}.0/24"
        return network, self.make("subnets", "subnet", by=by, network_id=network, cidr=cidr, ip_version=4)

    def port(self, network, by="member", **fields):
        return self.make("ports", "port", by=by, network_id=network, **fields)

    def fill(self):
        t = self.things
        pairs = {"own": self.network("member"), "lent": self.network("they"), "foreign": self.network("they"),
                 "open": self.network("admin", shared=True)}
        self.lend("network", pairs["lent"][0], "they", "me")
        self.lend("network", pairs["own"][0], "member", "they")
        t["network"] = {relation: pair[0] for relation, pair in pairs.items()}
        t["subnet"] = {relation: pair[1] for relation, pair in pairs.items()}
        flat = {"router:external": True, "provider:network_type": "flat"}
        outside = {name: self.network("admin", **flat, **{"provider:physical_network": f"matrix-{name}"})[0]
                   for name in ("open", "out")}
        policy = self.sim.get(f"{NETWORK}/rbac-policies?object_id={outside['out']}")["rbac_policies"][0]["id"]
        answer = self.sim.request("PUT", f"{NETWORK}/rbac-policies/{policy}",
                                  json={"rbac_policy": {"target_tenant": self.project["they"]}})
        assert answer.status_code == 200, answer.text
        t["external"] = {**outside, "own": t["network"]["own"], "foreign": t["network"]["foreign"]}
        self.router = self.make("routers", "router", external_gateway_info={"network_id": outside["open"]})
        leg = self.sim.request("PUT", f"{NETWORK}/routers/{self.router}/add_router_interface", token=self.token["member"],
                               json={"subnet_id": t["subnet"]["own"]})
        assert leg.status_code == 200, leg.text
        lists = [("security_group", "security-groups", {}), ("address_group", "address-groups", {}),
                 ("address_scope", "address-scopes", {"ip_version": 4})]
        for noun, path, fields in lists:
            t[noun] = {"own": self.make(path, noun, name="own", **fields),
                       "lent": self.make(path, noun, by="they", name="lent", **fields),
                       "foreign": self.make(path, noun, by="they", name="foreign", **fields)}
        t["subnetpool"] = {r: self.make("subnetpools", "subnetpool", by="member" if r == "own" else "they", name=r,
                                        prefixes=[f"10.{200 + n}.0.0/16"], default_prefixlen=26)
                           for n, r in enumerate(("own", "lent", "foreign"))}
        t["qos_policy"] = {r: self.make("qos/policies", "policy", by="admin", name=r,
                                        project_id=self.project["me" if r == "own" else "they"])
                           for r in ("own", "lent", "foreign")}
        for noun in ("security_group", "address_group", "address_scope", "subnetpool", "qos_policy"):
            self.lend(noun, t[noun]["lent"], "they", "me")
        return self

    def new(self, kind, relation):
        """What a request names; ports are made for it, since most uses take them."""
        if relation == "nothing":
            return NOTHING
        if kind != "port":
            return self.things[kind][relation]
        networks = self.things["network"]
        network = networks["own"] if relation in ("own", "mine") else networks["lent"]
        return self.port(network, by="member" if relation == "own" else "they")

    def own_port(self):
        return self.port(self.things["network"]["own"])

    def floating(self):
        return self.make("floatingips", "floatingip", floating_network_id=self.things["external"]["open"])

    def own(self, path, noun, **fields):
        return f"{path}/{self.make(path, noun, **fields)}"


@pytest.fixture(scope="module")
def world(sim, blank):
    return World(sim, blank).fill()


def post(path, noun, field, **more):
    """A new thing of which one field names something."""
    def ask(w, value):
        fields = {name: given(w) if callable(given) else given for name, given in more.items()}
        return "POST", f"{NETWORK}/{path}", {noun: {**fields, **(field(value) if callable(field) else {field: value})}}
    return ask


def put(path, noun, field, **made):
    """A change of a thing of one's own, by which it comes to name something."""
    def ask(w, value):
        fields = {name: given(w) if callable(given) else given for name, given in made.items()}
        body = {noun: field(value) if callable(field) else {field: value}}
        return "PUT", f"{NETWORK}/{w.own(path, noun, **fields)}", body
    return ask


def act(target, action, body):
    return lambda w, value: ("PUT", f"{NETWORK}/{target(w)}/{action}", body(value))


own_network = lambda w: w.things["network"]["own"]
outside = lambda w: w.things["external"]["open"]
forwarding = lambda port: {"internal_port_id": port, "internal_port": 22, "external_port": 22, "protocol": "tcp"}
sub = lambda port: {"sub_ports": [{"port_id": port, "segmentation_type": "vlan", "segmentation_id": 7}]}
rule = {"direction": "ingress", "protocol": "tcp"}


def forward(w, port):
    return "POST", f"{NETWORK}/floatingips/{w.floating()}/port_forwardings", {"port_forwarding": forwarding(port)}


def reforward(w, port):
    method, path, body = forward(w, w.own_port())
    made = w.sim.post(path, body, token=w.token["member"])["port_forwarding"]["id"]
    return "PUT", f"{path}/{made}", {"port_forwarding": {"internal_port_id": port}}


def on_subnet(w, subnet):
    network = w.sim.get(f"{NETWORK}/subnets/{subnet}")["subnet"]["network_id"] if subnet != NOTHING else own_network(w)
    return "POST", f"{NETWORK}/ports", {"port": {"network_id": network, "fixed_ips": [{"subnet_id": subnet}]}}


def from_pool(w, pool):
    network = w.make("networks", "network")
    return "POST", f"{NETWORK}/subnets", {"subnet": {"network_id": network, "subnetpool_id": pool, "ip_version": 4}}


def scoped(w, scope):
    w.serial += 1
    prefix = f"172.16.{w.serial % 250}.0/24"
    return "POST", f"{NETWORK}/subnetpools", {"subnetpool": {"name": "s", "prefixes": [prefix], "address_scope_id": scope}}


def into_scope(w, scope):
    w.serial += 1
    path = w.own("subnetpools", "subnetpool", name="s", prefixes=[f"172.17.{w.serial % 250}.0/24"])
    return "PUT", f"{NETWORK}/{path}", {"subnetpool": {"address_scope_id": scope}}


def lending(kind):
    def ask(w, thing):
        target = w.sim.post("/identity/v3/projects", {"project": {"name": f"target-{w.serial}-{kind}-{thing}"}})["project"]["id"]
        w.serial += 1
        return "POST", f"{NETWORK}/rbac-policies", {"rbac_policy": {
            "object_type": kind, "object_id": thing, "action": "access_as_shared", "target_tenant": target}}
    return ask


def boot(**more):
    def ask(w, value):
        server = {"name": "m", "imageRef": w.image, "flavorRef": "42", "networks": [{"uuid": own_network(w)}]}
        return "POST", "/compute/v2.1/servers", {"server": {**server, **{k: v(value) for k, v in more.items()}}}
    return ask


def attach(field):
    def ask(w, value):
        if not hasattr(w, "server"):
            body = boot()(w, None)[2]
            w.server = w.sim.post("/compute/v2.1/servers", body, version="2.79", token=w.token["member"])["server"]["id"]
            w.sim.wait_status(w.server, "ACTIVE")
        path = f"/compute/v2.1/servers/{w.server}"
        if field == "security group":
            return "POST", f"{path}/action", {"addSecurityGroup": {"name": value}}
        return "POST", f"{path}/os-interface", {"interfaceAttachment": {field: value}}
    return ask


OK = "ok"
SHARED = {"own": OK, "lent": OK, "foreign": 404, "nothing": 404}
PORT = {"own": OK, "mine": 403, "foreign": 404, "nothing": 404}

# The field, what it names, how it is asked, what a member gets for each relation, and for which of them an administrator, who
# uses everything, is refused all the same: because things have to belong together.
ROWS = [
    ("port.network_id", "network", post("ports", "port", "network_id"), {**SHARED, "open": OK}, {"nothing"}),
    ("port.network_id", "external", post("ports", "port", "network_id"), {"own": OK, "open": 403, "out": 404}, set()),
    ("port.fixed_ips.subnet_id", "subnet", on_subnet, {"own": OK, "lent": OK, "open": OK, "foreign": 404, "nothing": 400},
     {"nothing"}),
    ("port.security_groups", "security_group",
     post("ports", "port", lambda g: {"security_groups": [g]}, network_id=own_network), SHARED, {"nothing"}),
    ("port.security_groups", "security_group",
     put("ports", "port", lambda g: {"security_groups": [g]}, network_id=own_network), SHARED, {"nothing"}),
    ("port.qos_policy_id", "qos_policy", post("ports", "port", "qos_policy_id", network_id=own_network), SHARED, {"nothing"}),
    ("port.qos_policy_id", "qos_policy", put("ports", "port", "qos_policy_id", network_id=own_network), SHARED, {"nothing"}),
    ("network.qos_policy_id", "qos_policy", post("networks", "network", "qos_policy_id"), SHARED, {"nothing"}),
    ("network.qos_policy_id", "qos_policy", put("networks", "network", "qos_policy_id"), SHARED, {"nothing"}),
    ("subnet.network_id", "network", post("subnets", "subnet", "network_id", ip_version=4, cidr="192.168.77.0/24"),
     {"own": OK, "lent": 403, "open": 403, "foreign": 404, "nothing": 404}, {"nothing"}),
    ("subnet.subnetpool_id", "subnetpool", from_pool, SHARED, {"nothing"}),
    ("router.gateway.network_id", "external",
     post("routers", "router", lambda n: {"external_gateway_info": {"network_id": n}}),
     {"own": 400, "open": OK, "out": 404, "foreign": 404, "nothing": 404}, {"own", "foreign", "nothing"}),
    ("router.gateway.network_id", "external",
     put("routers", "router", lambda n: {"external_gateway_info": {"network_id": n}}),
     {"own": 400, "open": OK, "out": 404, "foreign": 404, "nothing": 404}, {"own", "foreign", "nothing"}),
    ("router.gateway.qos_policy_id", "qos_policy", lambda w, p: (
        "POST", f"{NETWORK}/routers", {"router": {"external_gateway_info": {"network_id": outside(w), "qos_policy_id": p}}}),
     SHARED, {"nothing"}),
    ("add_router_interface.subnet_id", "subnet",
     act(lambda w: w.own("routers", "router"), "add_router_interface", lambda s: {"subnet_id": s}),
     {"lent": OK, "open": 400, "foreign": 404, "nothing": 404}, {"nothing"}),
    ("add_router_interface.port_id", "port",
     act(lambda w: w.own("routers", "router"), "add_router_interface", lambda p: {"port_id": p}), PORT, {"nothing"}),
    ("remove_router_interface.port_id", "port", act(lambda w: f"routers/{w.router}", "remove_router_interface",
                                                    lambda p: {"port_id": p}),
     {"own": 404, "mine": 404, "foreign": 404, "nothing": 404}, {"own", "mine", "foreign", "nothing"}),
    ("floatingip.floating_network_id", "external", post("floatingips", "floatingip", "floating_network_id"),
     {"own": 400, "open": OK, "out": 404, "foreign": 404, "nothing": 404}, {"own", "foreign", "nothing"}),
    ("floatingip.port_id", "port", post("floatingips", "floatingip", "port_id", floating_network_id=outside),
     {**PORT, "mine": 400}, {"foreign", "nothing"}),
    ("floatingip.port_id", "port", put("floatingips", "floatingip", "port_id", floating_network_id=outside),
     {**PORT, "mine": 400}, {"foreign", "nothing"}),
    ("floatingip.qos_policy_id", "qos_policy", post("floatingips", "floatingip", "qos_policy_id", floating_network_id=outside),
     SHARED, {"nothing"}),
    ("floatingip.qos_policy_id", "qos_policy", put("floatingips", "floatingip", "qos_policy_id", floating_network_id=outside),
     SHARED, {"nothing"}),
    ("port_forwarding.internal_port_id", "port", forward, PORT, {"foreign", "nothing"}),
    ("port_forwarding.internal_port_id", "port", reforward, PORT, {"foreign", "nothing"}),
    ("trunk.port_id", "port", post("trunks", "trunk", "port_id"), PORT, {"nothing"}),
    ("trunk.sub_ports", "port", post("trunks", "trunk", sub, port_id=World.own_port), PORT, {"nothing"}),
    ("add_subports", "port", act(lambda w: w.own("trunks", "trunk", port_id=w.own_port()), "add_subports", sub), PORT, {"nothing"}),
    ("remove_subports", "port", act(lambda w: w.own("trunks", "trunk", port_id=w.own_port()), "remove_subports", sub),
     {"own": 404, "mine": 404, "foreign": 404, "nothing": 404}, {"own", "mine", "foreign", "nothing"}),
    ("subnetpool.address_scope_id", "address_scope", scoped, SHARED, {"nothing"}),
    ("subnetpool.address_scope_id", "address_scope", into_scope, SHARED, {"nothing"}),
    ("rule.security_group_id", "security_group", post("security-group-rules", "security_group_rule", "security_group_id", **rule),
     {"own": OK, "lent": 403, "foreign": 404, "nothing": 404}, {"nothing"}),
    ("rule.remote_group_id", "security_group", post(
        "security-group-rules", "security_group_rule", "remote_group_id",
        security_group_id=lambda w: w.things["security_group"]["own"], **rule), SHARED, {"nothing"}),
    ("rule.remote_address_group_id", "address_group", post(
        "security-group-rules", "security_group_rule", "remote_address_group_id",
        security_group_id=lambda w: w.things["security_group"]["own"], **rule), SHARED, {"nothing"}),
    *[("rbac_policy.object_id", kind, lending(kind), {"own": OK, "lent": 404, "foreign": 404, "nothing": 404}, {"nothing"})
      for kind in ("network", "security_group", "address_group", "address_scope", "subnetpool", "qos_policy")],
    ("server.networks.uuid", "network", boot(networks=lambda n: [{"uuid": n}]),
     {"own": OK, "lent": OK, "open": OK, "foreign": 400, "nothing": 400}, {"nothing"}),
    ("server.networks.uuid", "external", boot(networks=lambda n: [{"uuid": n}]), {"open": 403, "out": 400}, set()),
    ("server.networks.port", "port", boot(networks=lambda p: [{"port": p}]),
     {"own": OK, "mine": 400, "foreign": 400, "nothing": 400}, {"own", "mine", "foreign", "nothing"}),
    ("server.security_groups", "security_group", boot(security_groups=lambda g: [{"name": g}]),
     {"own": OK, "lent": OK, "foreign": 400, "nothing": 400}, {"own", "lent", "foreign", "nothing"}),
    ("os-interface.net_id", "network", attach("net_id"),
     {"own": OK, "lent": OK, "open": OK, "foreign": 404, "nothing": 404}, {"nothing"}),
    ("os-interface.port_id", "port", attach("port_id"), {"own": OK, "mine": 400, "foreign": 404, "nothing": 404},
     {"mine", "foreign", "nothing"}),
    ("addSecurityGroup", "security_group", attach("security group"), {**SHARED}, {"foreign", "nothing"}),
]


@pytest.mark.parametrize("row", range(len(ROWS)), ids=lambda n: f"{n}-{ROWS[n][0]}")
@pytest.mark.parametrize("role", ["member", "reader", "admin"])
def test_what_a_request_names_must_be_usable_by_whoever_sends_it(world, role, row):
    _, kind, ask, expected, refuses_admin = ROWS[row]
    sim = world.sim
    for relation, status in expected.items():
        method, path, body = ask(world, world.new(kind, relation))
        before = sim.get("/healthz")["seq"]
        version = "2.79" if "/compute/" in path else None
        answer = sim.request(method, path, token=world.token[role], json=body, version=version)
        where = f"{role} {relation}: {method} {path} {body}: {answer.status_code} {answer.text}"
        if role == "reader":
            # Readers see the same and use nothing. What is theirs to see is no secret.
            assert answer.status_code in ((403, 404, 400) if status != OK else (403,)), where
        elif role == "admin" and relation not in refuses_admin or role == "member" and status == OK:
            assert answer.status_code in (200, 201, 202), where
            undo(world, method, path, answer)
            continue
        elif role == "member":
            assert answer.status_code == status, where
        else:
            assert answer.status_code in (400, 403, 404, 409), where
        if "/compute/" not in path:
            assert sim.get("/healthz")["seq"] == before, f"{where}: a refused request changes nothing"


def undo(world, method, path, answer):
    """Takes back what the next request would meet: legs, rules, servers and interfaces."""
    sim, made = world.sim, answer.json() if answer.content else {}
    if path.endswith("add_router_interface"):
        port = {"port_id": made["port_id"]}
        sim.request("PUT", path.replace("add_", "remove_"), json=port)
    elif path.endswith("os-interface"):
        assert sim.request("DELETE", f"{path}/{made['interfaceAttachment']['port_id']}").status_code == 202
    elif path.endswith("/action"):
        sim.request("POST", path, json={"removeSecurityGroup": {"name": world.things["security_group"]["lent"]}})
        sim.request("POST", path, json={"removeSecurityGroup": {"name": world.things["security_group"]["own"]}})
    elif path.endswith("/servers"):
        sim.delete(made["server"]["id"])
    elif method == "POST" and path.startswith(NETWORK):
        [thing] = made.values()
        sim.request("DELETE", f"{path}/{thing['id']}")


def test_nobody_takes_the_gateways_address_of_anothers_network(world):
    """LP-1757482: by a router's leg in the subnet, or at an address outside of what the subnet gives out."""
    sim, subnet, network = world.sim, world.things["subnet"]["open"], world.things["network"]["open"]
    router = world.own("routers", "router")
    leg = lambda body: sim.request("PUT", f"{NETWORK}/{router}/add_router_interface", token=world.token["member"], json=body)
    gateway = sim.get(f"{NETWORK}/subnets/{subnet}")["subnet"]["gateway_ip"]
    assert leg({"subnet_id": subnet}).json()["NeutronError"]["type"] == "BadRequest"
    at = {"network_id": network, "fixed_ips": [{"subnet_id": subnet, "ip_address": gateway}]}
    answer = sim.request("POST", f"{NETWORK}/ports", token=world.token["member"], json={"port": at})
    assert answer.status_code == 403
    # An administrator gives the member a port there: even so it becomes no gateway.
    given = world.make("ports", "port", by="admin", project_id=world.project["me"], **at)
    answer = leg({"port_id": given})
    assert answer.status_code == 400 and "out of the allocation pool" in answer.text, answer.text
    assert sim.get(f"{NETWORK}/ports/{given}")["port"]["device_owner"] == ""
    assert sim.request("DELETE", f"{NETWORK}/ports/{given}").status_code == 204
    inside = world.port(network)
    assert leg({"port_id": inside}).status_code == 200, "a leg at an address of the pool is nobody's gateway"


# What those who do not own a network may say of a port on it (neutron/conf/policies/port.py).
OWNERS_ONLY = [{"mac_address": "fa:16:3e:00:00:77"}, {"fixed_ips": "ADDRESS"}, {"port_security_enabled": False},
               {"port_security_enabled": True}, {"allowed_address_pairs": [{"ip_address": "10.0.0.0/8"}]},
               {"device_owner": "network:dhcp"}]


@pytest.mark.parametrize("fields", OWNERS_ONLY, ids=lambda f: "-".join(f"{k}" for k in f))
@pytest.mark.parametrize("relation", ["lent", "open"])
def test_a_networks_owner_alone_says_how_its_ports_are_wired(world, relation, fields):
    sim, network = world.sim, world.things["network"][relation]
    subnet = sim.get(f"{NETWORK}/subnets/{world.things['subnet'][relation]}")["subnet"]
    address = subnet["cidr"].replace(".0/24", ".199")
    fields = {k: [{"subnet_id": subnet["id"], "ip_address": address}] if v == "ADDRESS" else v for k, v in fields.items()}
    body = {"port": {"network_id": network, **fields}}
    answer = sim.request("POST", f"{NETWORK}/ports", token=world.token["member"], json=body)
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (403, "PolicyNotAuthorized")
    port = world.port(network)
    change = lambda body: sim.request("PUT", f"{NETWORK}/ports/{port}", token=world.token["member"], json={"port": body})
    assert change(fields).status_code == 403
    if "fixed_ips" in fields:
        assert change({"fixed_ips": [{"subnet_id": subnet["id"]}]}).status_code == 403, "nor does it choose them anew"
    assert change({"name": "mine"}).status_code == 200
    made = sim.request("POST", f"{NETWORK}/ports", json=body)
    assert made.status_code == 201, made.text
    sim.request("DELETE", f"{NETWORK}/ports/{made.json()['port']['id']}")


# Attributes that are for administrators, or for a project's managers, in Neutron's default policy.
ADMINS = [
    ("networks", "network", {}, {"shared": True}), ("networks", "network", {}, {"router:external": True}),
    ("networks", "network", {}, {"is_default": True}), ("networks", "network", {}, {"shared": False}),
    ("subnets", "subnet", {"cidr": "192.168.78.0/24", "ip_version": 4, "network_id": "NEW"}, {"service_types": ["compute:nova"]}),
    ("subnets", "subnet", {"cidr": "192.168.79.0/24", "ip_version": 4, "network_id": "NEW"}, {"service_types": []}),
    ("ports", "port", {"network_id": "NEW"}, {"binding:host_id": "sim-0001"}),
    ("ports", "port", {"network_id": "NEW"}, {"binding:profile": {"a": 1}}),
    ("routers", "router", {}, {"distributed": False}), ("routers", "router", {}, {"ha": False}),
    ("routers", "router", {}, {"external_gateway_info": {"network_id": "OUT", "enable_snat": False}}),
    ("routers", "router", {}, {"external_gateway_info": {"network_id": "OUT", "external_fixed_ips": [{}]}}),
    ("subnetpools", "subnetpool", {"prefixes": ["192.168.0.0/20"], "name": "p"}, {"shared": True}),
    ("subnetpools", "subnetpool", {"prefixes": ["192.168.0.0/20"], "name": "p"}, {"is_default": True}),
    ("address-scopes", "address_scope", {"ip_version": 4, "name": "s"}, {"shared": True}),
    ("floatingips", "floatingip", {"floating_network_id": "OUT"}, {"floating_ip_address": "10.100.1.77"}),
    ("qos/policies", "policy", {"name": "q"}, {"description": "any"}),
    ("rbac-policies", "rbac_policy", {"object_type": "network", "object_id": "NEW", "action": "access_as_shared"},
     {"target_tenant": "*"}),
    ("default-security-group-rules", "default_security_group_rule", {"direction": "ingress"}, {"protocol": "udp"}),
]


@pytest.mark.parametrize("path, noun, needed, said", ADMINS, ids=lambda v: "+".join(v) if isinstance(v, dict) else None)
def test_what_is_an_administrators_to_say_no_member_says(world, path, noun, needed, said):
    sim = world.sim
    words = {"NEW": world.make("networks", "network") if "NEW" in needed.values() else None, "OUT": outside(world)}
    fill = lambda value: ({k: fill(v) for k, v in value.items()} if isinstance(value, dict)
                          else words.get(value, value) if isinstance(value, str) else value)
    needed, said = fill(needed), fill(said)
    before = sim.get("/healthz")["seq"]
    ask = lambda method, where, body: sim.request(method, f"{NETWORK}/{where}", token=world.token["member"], json={noun: body})
    creates = False not in said.values()
    if creates:
        answer = ask("POST", path, {**needed, **said})
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (403, "PolicyNotAuthorized"), answer.text
        assert sim.get("/healthz")["seq"] == before
    fixed = ("qos/", "default-", "floatingips", "rbac")
    if path.startswith(fixed) or (path, list(said)) == ("subnetpools", ["shared"]):
        return
    made = f"{path}/{world.make(path, noun, **needed)}"
    answer = ask("PUT", made, said)
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (403, "PolicyNotAuthorized"), answer.text
    assert ask("PUT", made, {"name": "mine"}).status_code == 200
    sim.request("DELETE", f"{NETWORK}/{made}")


def test_the_default_way_out_stays_everyones(sim, world):
    defaults = sim.get(f"{NETWORK}/networks?is_default=true")["networks"]
    network = defaults[0]["id"] if defaults else outside(world)
    change = lambda body: sim.request("PUT", f"{NETWORK}/networks/{network}", json={"network": body})
    assert change({"is_default": True}).status_code == 200
    policies = f"{NETWORK}/rbac-policies?object_id={network}&action=access_as_external"
    [policy] = [p for p in sim.get(policies)["rbac_policies"] if p["target_tenant"] == "*"]
    path = f"{NETWORK}/rbac-policies/{policy['id']}"
    for answer in [sim.request("DELETE", path),
                   sim.request("PUT", path, json={"rbac_policy": {"target_tenant": world.project["me"]}})]:
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, "RbacPolicyInUse")
    assert network in [n["id"] for n in sim.get(f"{NETWORK}/networks", token=world.token["member"])["networks"]]
    if not defaults:
        assert change({"is_default": False}).status_code == 200
