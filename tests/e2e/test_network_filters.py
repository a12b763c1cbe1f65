"""What the network API's listings can be asked for: every filter of Neutron's API reference, what is refused, and where the
resources of extensions are. On simulated hosts."""

import ipaddress

import pytest

from cloud import NOTHING
from test_network_rules import NETWORK, Things

# The filters that the reference lists, by collection (api-ref/source/v2 of neutron-lib). What comes with extensions that are
# not there (segments, VLAN transparency, MAC learning) is left out.
STANDARD = "id description project_id tenant_id revision_number"
REFERENCE = {
    "networks": f"{STANDARD} admin_state_up is_default mtu name provider:network_type provider:physical_network "
                "provider:segmentation_id router:external shared status",
    "ports": f"{STANDARD} admin_state_up binding:host_id device_id device_owner mac_address name network_id status",
    "subnets": f"{STANDARD} cidr dns_publish_fixed_ip enable_dhcp gateway_ip ip_version ipv6_address_mode ipv6_ra_mode name "
               "network_id subnetpool_id",
    "routers": f"{STANDARD} admin_state_up name",
    "floatingips": f"{STANDARD} fixed_ip_address floating_ip_address floating_network_id port_id router_id status",
    "security-groups": f"{STANDARD} name shared",
    "security-group-rules": f"{STANDARD} direction ethertype port_range_max port_range_min protocol remote_group_id "
                            "remote_ip_prefix security_group_id",
    "subnetpools": f"{STANDARD} address_scope_id default_prefixlen default_quota ip_version is_default max_prefixlen "
                   "min_prefixlen name shared",
    "trunks": f"{STANDARD} admin_state_up name port_id status",
    "rbac-policies": "id action object_id object_type project_id tenant_id target_tenant",
    "qos/policies": f"{STANDARD} is_default name shared",
    "qos/policies/POLICY/bandwidth_limit_rules": "id direction max_burst_kbps max_kbps",
    "qos/policies/POLICY/dscp_marking_rules": "id dscp_mark",
    "qos/policies/POLICY/minimum_bandwidth_rules": "id direction min_kbps",
    "address-scopes": "id ip_version name project_id shared tenant_id",
    "address-groups": "id name project_id tenant_id",
    "agents": "id admin_state_up agent_type alive availability_zone binary description host topic",
    "availability_zones": "name resource state",
    "network-ip-availabilities": "network_id network_name project_id tenant_id",
    "floatingips/FLOATING/port_forwardings": "id external_port external_port_range internal_port_id protocol",
    # Without filters in the reference; what they show can be asked for.
    "default-security-group-rules": "id direction ethertype",
    "service-providers": "service_type name",
    "qos/rule-types": "type",
    "floatingip_pools": "subnet_id network_id cidr",
}
TAGGED = ["networks", "ports", "subnets", "routers", "floatingips", "security-groups", "subnetpools", "trunks", "qos/policies"]
ROWS = [(path, name) for path, names in REFERENCE.items() for name in names.split()]


@pytest.fixture(scope="module")
def made(sim):
    """One of each, with a value of its own wherever it can have one; by the collection's path."""
    t = Things(sim, "filtered")
    scope = t.make("address-scopes", name="scope", ip_version=4)
    pool = t.make("subnetpools", name="pool", description="d", prefixes=["10.210.0.0/16"], address_scope_id=scope["id"],
                  default_prefixlen=25, min_prefixlen=20, max_prefixlen=28, default_quota=4_096)
    network = t.make("networks", name="filtered", description="d", mtu=1400, admin_state_up=True, **{
        "provider:network_type": "vlan", "provider:physical_network": "filters", "provider:segmentation_id": 77})
    subnet = t.make("subnets", name="v6", description="d", network_id=network["id"], ip_version=6, cidr="fd00:77::/64",
                    ipv6_address_mode="slaac", ipv6_ra_mode="slaac", dns_publish_fixed_ip=True)
    t.make("subnets", network_id=network["id"], ip_version=4, subnetpool_id=pool["id"], name="v4")
    group = t.make("security-groups", name="filtered", description="d")
    port = t.make("ports", network_id=network["id"], name="filtered", description="d", device_id="dev", device_owner="some:one",
                  admin_state_up=False, security_groups=[group["id"]], **{"binding:host_id": "sim-0001"})
    rule = t.make("security-group-rules", security_group_id=group["id"], direction="ingress", ethertype="IPv6", description="d",
                  protocol="tcp", port_range_min=80, port_range_max=81, remote_ip_prefix="fd00:88::/64")
    router, _, inner = t.routed()
    t.put(f"routers/{router['id']}", {"router": {"name": "filtered", "description": "d"}})
    floating = t.floating(port_id=inner["id"], description="d")
    forwards = t.floating()
    forwarding = t.forwarding(t.port(inner["network_id"])["id"], forwards["id"])
    trunk = t.make("trunks", name="filtered", description="d", port_id=t.port()["id"])
    rbac = t.make("rbac-policies", object_type="network", object_id=network["id"], action="access_as_shared",
                  target_tenant=t.other)
    policy = t.make("qos/policies", name="filtered", description="d", is_default=True)
    rules = {}
    for kind, body in [("bandwidth_limit", {"max_kbps": 2_000, "max_burst_kbps": 99}), ("dscp_marking", {"dscp_mark": 26}),
                       ("minimum_bandwidth", {"min_kbps": 77})]:
        path = f"qos/policies/{policy['id']}/{kind}_rules"
        rules[path] = sim.post(f"{NETWORK}/{path}", {f"{kind}_rule": body})[f"{kind}_rule"]
    addresses = t.make("address-groups", name="filtered", description="d", addresses=["10.0.0.0/8"])
    things = {"networks": network, "subnets": subnet, "ports": port, "routers": router, "floatingips": floating,
              "security-groups": group, "security-group-rules": rule, "subnetpools": pool, "trunks": trunk,
              "rbac-policies": rbac, "qos/policies": policy, "address-scopes": scope, "address-groups": addresses,
              f"floatingips/{forwards['id']}/port_forwardings": forwarding, **rules}
    first = lambda path: next(iter(sim.get(f"{NETWORK}/{path}").values()))[0]
    for path in ["agents", "availability_zones", "network-ip-availabilities", "default-security-group-rules",
                 "service-providers", "qos/rule-types", "floatingip_pools"]:
        things[path] = first(path)
    for path in TAGGED:
        t.put(f"{path.rsplit('/', 1)[-1]}/{things[path]['id']}/tags", {"tags": ["blue", "round"]})
    things["POLICY"], things["FLOATING"], things["t"] = policy["id"], forwards["id"], t
    return things


def place(made, path):
    for word in ("POLICY", "FLOATING"):
        path = path.replace(word, made[word])
    return path


def listed(sim, path, query):
    answer = sim.request("GET", f"{NETWORK}/{path}", params=query)
    assert answer.status_code == 200, f"{path} {query}: {answer.text}"
    [items] = [v for k, v in answer.json().items() if not k.endswith("_links")]
    return items


def known_by(item):
    return item.get("id") or tuple(sorted((k, str(v)) for k, v in item.items()))


def another(value):
    """A value of the same type that nothing has."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1_000_000
    return NOTHING if len(value) == 36 else value + "x"


@pytest.mark.parametrize("path, name", ROWS, ids=lambda v: v)
def test_every_filter_of_the_reference_holds(sim, made, path, name):
    path = place(made, path)
    sample = made[path]
    sample = next(i for i in listed(sim, path, {}) if known_by(i) == known_by(sample)) if "id" in sample else sample
    value = sample[name]
    asked = "" if value is None else value
    found = listed(sim, path, {name: asked})
    assert known_by(sample) in [known_by(item) for item in found], (name, value)
    assert {str(item[name]) for item in found} == {str(value)}, "and nothing else"
    other = NOTHING if value is None else another(value)
    if (name, other) in [("protocol", "tcpx")]:
        other = "udp"
    if isinstance(value, int) and not isinstance(value, bool) and name.startswith("port_range"):
        other = value + 1
    if name == "remote_ip_prefix":
        other = "fd00:99::/64"
    if name == "object_type":
        other = "qos_policy"
    left = listed(sim, path, {name: other})
    assert known_by(sample) not in [known_by(item) for item in left], (name, other)
    both = sim.request("GET", f"{NETWORK}/{path}", params=[(name, asked), (name, other)]).json()
    assert known_by(sample) in [known_by(i) for i in next(iter(both.values()))], "of several values any will do"
    if isinstance(value, bool) or isinstance(value, int):
        answer = sim.request("GET", f"{NETWORK}/{path}", params={name: "maybe"})
        assert answer.status_code == 400, answer.text
        kind = "SecurityGroupInvalidPortValue" if name.startswith("port_range") else "InvalidInput"
        assert answer.json()["NeutronError"]["type"] == kind


@pytest.mark.parametrize("path", REFERENCE)
def test_what_cannot_be_asked_for_is_refused_and_nothing_is_listed(sim, made, path):
    path = place(made, path)
    for query in ["nosuch=1", "nosuch=", "links=x", "id=a&nosuch=1&name_x=2"]:
        answer = sim.request("GET", f"{NETWORK}/{path}?{query}")
        assert answer.status_code == 400, f"{path}?{query}: {answer.text}"
        assert "'nosuch'" in answer.text or "links" in query
        assert "is invalid attribute for filtering" in answer.json()["NeutronError"]["message"]
    if path not in TAGGED:
        assert sim.request("GET", f"{NETWORK}/{path}?tags=a").status_code == 400


@pytest.mark.parametrize("path", TAGGED)
def test_tags_are_asked_for_in_four_ways(sim, made, path):
    sample = made[path]["id"]
    has = lambda query: sample in [i["id"] for i in sim.get(f"{NETWORK}/{path}?id={sample}&{query}").popitem()[1]]
    for query, found in [("tags=blue", True), ("tags=blue,round", True), ("tags=blue&tags=round", True), ("tags=blue,red", False),
                         ("tags-any=red,blue", True), ("tags-any=red", False), ("not-tags=blue,round", False),
                         ("not-tags=blue,red", True), ("not-tags-any=red", True), ("not-tags-any=red,blue", False)]:
        assert has(query) is found, (path, query)
    assert sim.get(f"{NETWORK}/{path}?id={sample}&fields=id").popitem()[1] == [{"id": sample}]


def test_ports_are_found_by_their_addresses(sim, made):
    port = made["ports"]
    v4, v6 = sorted(port["fixed_ips"], key=lambda ip: ipaddress.ip_address(ip["ip_address"]).version)
    long = ipaddress.ip_address(v6["ip_address"]).exploded
    has = lambda *values: port["id"] in [p["id"] for p in listed(sim, "ports", [("fixed_ips", v) for v in values])]
    assert has(f"ip_address={v4['ip_address']}") and has(f"ip_address={long}") and has(f"subnet_id={v4['subnet_id']}")
    assert has(f"ip_address={v4['ip_address']}", f"subnet_id={v4['subnet_id']}") and has("ip_address_substr=10.210.")
    assert not has("ip_address=10.0.0.9") and not has("ip_address_substr=192.0.2") and not has(f"subnet_id={NOTHING}")
    assert not has(f"ip_address={v4['ip_address']}", f"subnet_id={NOTHING}")
    for bad in ["10.0.0.9", "colour=red", ""]:
        assert sim.request("GET", f"{NETWORK}/ports", params={"fixed_ips": bad}).status_code == 400, bad
    groups = {"security_groups": port["security_groups"][0]}
    assert [p["id"] for p in listed(sim, "ports", groups)] == [port["id"]]
    assert listed(sim, "ports", {"mac_address": port["mac_address"].upper()})[0]["id"] == port["id"]


def test_subnets_are_found_by_what_their_network_is(sim, made):
    ids = lambda **query: {s["id"] for s in listed(sim, "subnets", query)}
    out = sim.get(f"{NETWORK}/subnets?network_id={made['t'].outside['id']}")["subnets"][0]["id"]
    inside = made["subnets"]["id"]
    assert out in ids(**{"router:external": "true"}) and inside not in ids(**{"router:external": "true"})
    assert inside in ids(shared="false") and inside not in ids(shared="true")
    versions = lambda v: [n["network_id"] for n in listed(sim, "network-ip-availabilities", {"ip_version": v})]
    assert made["networks"]["id"] in versions(6)
    assert sim.request("GET", f"{NETWORK}/network-ip-availabilities?ip_version=x").status_code == 400


def test_what_a_caller_may_not_see_finds_nothing(sim, made):
    """Else who guesses would learn on which host a port is."""
    t = made["t"]
    roles = {r["name"]: r["id"] for r in sim.get("/identity/v3/roles")["roles"]}
    user = sim.post("/identity/v3/users", {"user": {"name": "filters", "password": "s3cret"}})["user"]["id"]
    assert sim.request("PUT", f"/identity/v3/projects/{t.project}/users/{user}/roles/{roles['reader']}").status_code == 204
    token = sim.login("filters", "s3cret", "filtered")
    get = lambda path: sim.get(f"{NETWORK}/{path}", token=token).popitem()[1]
    port = made["ports"]["id"]
    assert [p["id"] for p in get(f"ports?id={port}")] == [port]
    assert get(f"ports?id={port}&binding:host_id=sim-0001") == [] == get("networks?provider:segmentation_id=77")


@pytest.mark.parametrize("path", [*REFERENCE, "quotas/PROJECT/default", "qos/rule-types/dscp_marking"])
def test_who_holds_no_role_of_the_policy_lists_nothing(sim, made, path):
    """A user with a role of an administrator's own making, and one without a scope."""
    if "strangers" not in made:
        project = sim.post("/identity/v3/projects", {"project": {"name": "odd"}})["project"]["id"]
        role = sim.post("/identity/v3/roles", {"role": {"name": "oddity"}})["role"]["id"]
        user = sim.post("/identity/v3/users", {"user": {"name": "odd", "password": "s3cret"}})["user"]["id"]
        assert sim.request("PUT", f"/identity/v3/projects/{project}/users/{user}/roles/{role}").status_code == 204
        made["strangers"] = [sim.login("odd", "s3cret", "odd"), sim.login("odd", "s3cret", scope=False)]
    path = place(made, path).replace("PROJECT", made["t"].project)
    for token in made["strangers"]:
        answer = sim.request("GET", f"{NETWORK}/{path}", token=token)
        hidden = answer.status_code in (403, 404) or answer.json() == {"agents": []}
        assert hidden, f"{path}: {answer.status_code} {answer.text}"


def test_what_changed_since_is_listed(sim, made):
    port = made["ports"]["id"]
    seen = sim.get(f"{NETWORK}/ports/{port}")["port"]["updated_at"]
    ids = lambda since: [p["id"] for p in listed(sim, "ports", {"changed_since": since})]
    assert port in ids(seen) and ids("2100-01-01T00:00:00Z") == []
    assert sim.request("GET", f"{NETWORK}/ports?changed_since=yesterday").status_code == 400


# Where the resources of each extension are that has any; all others add attributes, filters or words to these.
ROUTED = {
    "address-group": ["address-groups"], "address-scope": ["address-scopes"], "agent": ["agents"],
    "auto-allocated-topology": ["auto-allocated-topology/null?fields=dry-run"], "availability_zone": ["availability_zones"],
    "floating-ip-port-forwarding": ["floatingips/FLOATING/port_forwardings"],
    "floatingip-pools": ["floatingip_pools", "floatingip-pools"], "network-ip-availability": ["network-ip-availabilities"],
    "qos": ["qos/policies", "qos/rule-types", "qos/policies/POLICY/bandwidth_limit_rules",
            "qos/policies/POLICY/dscp_marking_rules", "qos/policies/POLICY/minimum_bandwidth_rules"],
    "qos-rule-type-details": ["qos/rule-types/bandwidth_limit", "qos/rule-types/dscp_marking", "qos/rule-types/minimum_bandwidth"],
    "quotas": ["quotas", "quotas/PROJECT", "quotas/PROJECT/default"], "quota_details": ["quotas/PROJECT/details.json"],
    "rbac-policies": ["rbac-policies"], "router": ["routers", "floatingips"],
    "security-group": ["security-groups", "security-group-rules"],
    "security-groups-default-rules": ["default-security-group-rules"], "service-type": ["service-providers"],
    "standard-attr-tag": ["networks/NETWORK/tags"], "subnet_allocation": ["subnetpools"], "trunk": ["trunks"],
    "qos-rules-alias": ["qos/alias_dscp_marking_rules/RULE"],
}


def test_the_resources_of_extensions_are_where_the_reference_has_them(sim, made):
    told = {e["alias"] for e in sim.get(f"{NETWORK}/extensions")["extensions"]}
    assert set(ROUTED) <= told and "filter-validation" in told
    rule = next(thing["id"] for path, thing in made.items() if path.endswith("dscp_marking_rules"))
    words = {"FLOATING": made["FLOATING"], "POLICY": made["POLICY"], "PROJECT": made["t"].project, "RULE": rule,
             "NETWORK": made["networks"]["id"]}
    for alias, paths in ROUTED.items():
        for path in paths:
            for word, real in words.items():
                path = path.replace(word, real)
            answer = sim.request("GET", f"{NETWORK}/{path}")
            allowed = (200, 409, 400) if alias == "auto-allocated-topology" else (200,)
            assert answer.status_code in allowed, f"{alias}: {path}: {answer.status_code} {answer.text}"
    for resource in sim.get(f"{NETWORK}/")["resources"]:
        href = resource["links"][0]["href"]
        answer = sim.request("GET", href[len(sim.url):])
        assert answer.status_code == 200 and resource["collection"] in answer.json(), href


def test_pools_of_floating_ips_are_the_subnets_that_they_are_of(sim, made):
    pools = sim.get(f"{NETWORK}/floatingip_pools")["floatingip_pools"]
    mine = [p for p in pools if p["network_id"] == made["t"].outside["id"]]
    assert len(mine) == 1 and mine[0]["cidr"] == "198.19.0.0/24"
    assert set(mine[0]) == {"subnet_id", "subnet_name", "cidr", "network_id", "project_id", "tenant_id"}
    assert sim.get(f"{NETWORK}/floatingip_pools?network_id={NOTHING}")["floatingip_pools"] == []
