"""The network API as stock clients and raw requests meet it: every noun, what is refused, who sees what. On simulated
hosts."""

import pytest

from cloud import NOTHING, Cloud, wait_until

NETWORK = "/network/v2.0"


@pytest.fixture(scope="module")
def sdk(sim):
    import openstack
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(sim.data / "clouds.yaml"))
        return openstack.connect(cloud="lenticular")


@pytest.fixture(scope="module")
def external(sim):
    return way_out(sim)


def way_out(sim):
    """Makes the way out of a cloud, which is the default one."""
    body = {"name": "outside", "router:external": True, "is_default": True, "provider:network_type": "flat",
            "provider:physical_network": "physnet1"}
    network = sim.post(f"{NETWORK}/networks", {"network": body})["network"]["id"]
    sim.post(f"{NETWORK}/subnets", {"subnet": {"network_id": network, "cidr": "203.0.113.0/24", "ip_version": 4,
                                               "enable_dhcp": False}})
    return network


@pytest.fixture(scope="module")
def people(sim):
    """Tokens of a member and a reader of one project, and of a member of another."""
    roles = {r["name"]: r["id"] for r in sim.get("/identity/v3/roles")["roles"]}
    made = {}
    for project, user, role in [("north", "nora", "member"), ("north", "nick", "reader"), ("south", "sue", "member")]:
        found = sim.get(f"/identity/v3/projects?name={project}")["projects"]
        pid = found[0]["id"] if found else sim.post("/identity/v3/projects", {"project": {"name": project}})["project"]["id"]
        uid = sim.post("/identity/v3/users", {"user": {"name": user, "password": "s3cret"}})["user"]["id"]
        assert sim.request("PUT", f"/identity/v3/projects/{pid}/users/{uid}/roles/{roles[role]}").status_code == 204
        made[user], made[project] = sim.login(user, "s3cret", project), pid
    return made


@pytest.fixture(scope="module")
def topology(sim, external, people):
    """What a member has made: a network behind a router, a port, and a floating IP that leads to it."""
    post = lambda path, noun, body: sim.post(f"{NETWORK}/{path}", {noun: body}, token=people["nora"])[noun]["id"]
    made = {"network": post("networks", "network", {"name": "inner"})}
    made["subnet"] = post("subnets", "subnet", {"network_id": made["network"], "cidr": "10.9.0.0/24", "ip_version": 4})
    made["router"] = post("routers", "router", {"name": "r", "external_gateway_info": {"network_id": external}})
    answer = sim.request("PUT", f"{NETWORK}/routers/{made['router']}/add_router_interface", token=people["nora"],
                         json={"subnet_id": made["subnet"]})
    assert answer.status_code == 200, answer.text
    made["port"] = post("ports", "port", {"network_id": made["network"]})
    made["floatingip"] = post("floatingips", "floatingip", {"floating_network_id": external, "port_id": made["port"]})
    made["security_group"] = post("security-groups", "security_group", {"name": "web"})
    return made


def test_every_extension_that_is_listed_is_shown(sim):
    listed = [e["alias"] for e in sim.get(f"{NETWORK}/extensions")["extensions"]]
    assert len(listed) == len(set(listed)) and "router" in listed
    for alias in listed:
        assert sim.get(f"{NETWORK}/extensions/{alias}")["extension"]["alias"] == alias
    assert sim.request("GET", f"{NETWORK}/extensions/metering").status_code == 404


# What an extension adds to what is shown, by collection.
PROMISED = {
    "networks": {"address-scope": ["ipv4_address_scope", "ipv6_address_scope"], "auto-allocated-topology": ["is_default"],
                 "dns-integration": ["dns_domain"], "external-net": ["router:external"], "net-mtu": ["mtu"],
                 "network_availability_zone": ["availability_zone_hints", "availability_zones"],
                 "port-security": ["port_security_enabled"], "provider": ["provider:network_type"], "qos": ["qos_policy_id"]},
    "subnets": {"subnet-dns-publish-fixed-ip": ["dns_publish_fixed_ip"], "subnet-service-types": ["service_types"],
                "subnet_allocation": ["subnetpool_id"]},
    "ports": {"allowed-address-pairs": ["allowed_address_pairs"], "binding": ["binding:vif_type", "binding:host_id"],
              "dns-domain-ports": ["dns_domain"], "dns-integration": ["dns_name", "dns_assignment"],
              "extra_dhcp_opt": ["extra_dhcp_opts"], "qos": ["qos_policy_id", "qos_network_policy_id"],
              "uplink-status-propagation": ["propagate_uplink_status"]},
    "routers": {"dvr": ["distributed"], "extraroute": ["routes"], "l3-ha": ["ha"],
                "router_availability_zone": ["availability_zone_hints", "availability_zones"]},
    "floatingips": {"dns-integration": ["dns_name", "dns_domain"], "expose-port-forwarding-in-fip": ["port_forwardings"],
                    "fip-port-details": ["port_details"], "qos-fip": ["qos_policy_id", "qos_network_policy_id"]},
    "security-groups": {"rbac-security-groups": ["shared"], "stateful-security-group": ["stateful"]},
    "security-group-rules": {"security-groups-normalized-cidr": ["normalized_cidr"],
                             "security-groups-remote-address-group": ["remote_address_group_id"],
                             "security-groups-rules-belongs-to-default-sg": ["belongs_to_default_sg"]},
}


def test_what_extensions_promise_is_shown(sim, topology):
    listed = {e["alias"] for e in sim.get(f"{NETWORK}/extensions")["extensions"]}
    for collection, promises in PROMISED.items():
        [items] = sim.get(f"{NETWORK}/{collection}").values()
        for alias, attributes in promises.items():
            assert alias in listed
            assert set(attributes) <= set(items[0]), (collection, alias)
        for attribute in {"standard-attr-description": ["description"], "standard-attr-revisions": ["revision_number"],
                          "standard-attr-timestamp": ["created_at", "updated_at"], "project-id": ["project_id"]}.values():
            assert set(attribute) <= set(items[0]), collection
    gateway = sim.get(f"{NETWORK}/routers/{topology['router']}")["router"]["external_gateway_info"]
    assert set(gateway) == {"network_id", "enable_snat", "external_fixed_ips", "qos_policy_id"}
    group = sim.get(f"{NETWORK}/ports/{topology['port']}")["port"]["security_groups"][0]
    inside = sim.get(f"{NETWORK}/ports?security_groups={group}")["ports"]
    assert topology["port"] in [p["id"] for p in inside] and all(group in p["security_groups"] for p in inside)
    unnamed = sim.get(f"{NETWORK}/ports?name=")["ports"]
    assert unnamed and {p["name"] for p in unnamed} == {""}
    zone = sim.get(f"{NETWORK}/availability_zones?resource=router")["availability_zones"]
    assert {z["resource"] for z in zone} == {"router"}


def test_agents_follow_their_hosts(sim):
    agent = sim.get(f"{NETWORK}/agents")["agents"][0]["id"]
    change = sim.request("PUT", f"{NETWORK}/agents/{agent}", json={"agent": {"admin_state_up": False}})
    assert (change.status_code, change.json()["NeutronError"]["type"]) == (400, "BadRequest")
    assert "compute service" in change.json()["NeutronError"]["message"]
    assert sim.request("DELETE", f"{NETWORK}/agents/{agent}").status_code == 409


def test_the_sdk_walks_through_every_noun(sdk, external):
    net = sdk.network
    scope = net.create_address_scope(name="scope", ip_version=4)
    pool = net.create_subnet_pool(name="pool", prefixes=["10.80.0.0/16"], default_prefix_length=28,
                                  address_scope_id=scope.id)
    network = net.create_network(name="walk", dns_domain="example.org.")
    subnet = net.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id)
    assert subnet.cidr == "10.80.0.0/28" and net.get_network(network).ipv4_address_scope_id == scope.id
    port = net.create_port(network_id=network.id, dns_name="web", extra_dhcp_opts=[{"opt_name": "mtu", "opt_value": "1400"}])
    assert port.dns_assignment[0]["fqdn"] == "web.example.org."
    router = net.create_router(name="walk", external_gateway_info={"network_id": external})
    assert net.add_interface_to_router(router, subnet=subnet.id)["subnet_id"] == subnet.id
    route = {"destination": "172.16.0.0/12", "nexthop": "10.80.0.9"}
    assert net.add_extra_routes_to_router(router, {"router": {"routes": [route]}}).routes == [route]
    assert net.remove_extra_routes_from_router(router, {"router": {"routes": [route]}}).routes == []

    ip = net.create_ip(floating_network_id=external, port_id=port.id)
    assert ip.status == "ACTIVE" and ip.router_id == router.id and ip.port_details["name"] == port.name
    ip = net.update_ip(ip, port_id=None)
    assert ip.status == "DOWN" and ip.fixed_ip_address is None
    forward = net.create_port_forwarding(floatingip_id=ip.id, internal_port_id=port.id, internal_ip_address=port.fixed_ips[0]["ip_address"],
                                         internal_port=22, external_port=2222, protocol="tcp")
    assert [f.id for f in net.port_forwardings(ip)] == [forward.id]
    assert net.get_ip(ip).router_id == router.id
    net.delete_port_forwarding(forward, ip)

    policy = net.create_qos_policy(name="gold", shared=True)
    limit = net.create_qos_bandwidth_limit_rule(policy, max_kbps=1000, max_burst_kbps=100)
    net.create_qos_dscp_marking_rule(policy, dscp_mark=26)
    net.update_qos_bandwidth_limit_rule(limit, policy, max_kbps=2000)
    assert {r["type"]: r.get("max_kbps") for r in net.get_qos_policy(policy).rules} == {
        "bandwidth_limit": 2000, "dscp_marking": None}
    port = net.update_port(port, qos_policy_id=policy.id)

    sub = net.create_port(network_id=network.id)
    trunk = net.create_trunk(name="walk", port_id=port.id)
    net.add_trunk_subports(trunk, [{"port_id": sub.id, "segmentation_type": "vlan", "segmentation_id": 7}])
    assert net.get_port(port).trunk_details["sub_ports"][0]["segmentation_id"] == 7
    assert net.get_port(sub).device_owner == "trunk:subport"
    net.delete_trunk_subports(trunk, [{"port_id": sub.id}])
    net.delete_trunk(trunk)

    addresses = net.create_address_group(name="office", addresses=["198.51.100.0/24"])
    assert len(net.add_addresses_to_address_group(addresses, ["192.0.2.7/32"]).addresses) == 2
    group = net.create_security_group(name="walk", stateful=False)
    rule = net.create_security_group_rule(security_group_id=group.id, direction="ingress", remote_address_group_id=addresses.id)
    assert net.get_security_group_rule(rule).remote_address_group_id == addresses.id

    used = net.get_network_ip_availability(network.id)
    assert (used.total_ips, used.used_ips) == (13, 4), "metadata, router and two ports"
    assert {a.agent_type for a in net.agents()} == {"OVN Controller agent"}
    assert all(a.is_alive for a in net.agents())
    assert {z.name for z in net.availability_zones()} == {"nova"}
    assert [p.name for p in net.service_providers()] == ["ovn"]
    quota = net.get_quota(sdk.current_project_id, details=True)
    assert quota.routers["used"] >= 1 and quota.floating_ips["used"] >= 1

    net.delete_ip(ip)
    net.remove_interface_from_router(router, subnet=subnet.id)
    for delete, what in [(net.delete_router, router), (net.delete_port, port), (net.delete_port, sub),
                         (net.delete_network, network), (net.delete_subnet_pool, pool), (net.delete_address_scope, scope),
                         (net.delete_qos_policy, policy), (net.delete_security_group, group),
                         (net.delete_address_group, addresses)]:
        delete(what, ignore_missing=False)


def test_the_stock_client_knows_every_noun(sim, external):
    sim.openstack("network", "create", "cli-net")
    sim.openstack("subnet", "create", "--network", "cli-net", "--subnet-range", "10.70.0.0/24", "cli-sub")
    sim.openstack("router", "create", "--external-gateway", external, "cli-router")
    sim.openstack("router", "add", "subnet", "cli-router", "cli-sub")
    sim.openstack("port", "create", "--network", "cli-net", "cli-port")
    address = sim.openstack("floating", "ip", "create", "--port", "cli-port", external, "-f", "value", "-c", "floating_ip_address")
    rows = sim.openstack_json("floating", "ip", "list")
    assert address in [row["Floating IP Address"] for row in rows]
    sim.openstack("network", "set", "--tag", "blue", "cli-net")
    assert [n["Name"] for n in sim.openstack_json("network", "list", "--tags", "blue")] == ["cli-net"]
    code, why = sim.openstack("router", "remove", "subnet", "cli-router", "cli-sub", ok=False)
    assert code != 0 and "required by one or more floating IPs" in why
    sim.openstack("floating", "ip", "delete", address)
    sim.openstack("router", "remove", "subnet", "cli-router", "cli-sub")
    sim.openstack("router", "delete", "cli-router")
    sim.openstack("port", "delete", "cli-port")
    sim.openstack("network", "delete", "cli-net")


BAD = [
    ("POST", "routers", {"router": {"colour": "red"}}, 400, "HTTPBadRequest"),
    ("POST", "routers", {"router": {"external_gateway_info": {"network_id": "NETWORK"}}}, 400, "BadRequest"),
    ("POST", "routers", {"router": {"external_gateway_info": {"network_id": NOTHING}}}, 404, "NetworkNotFound"),
    ("POST", "routers", {"router": {"distributed": True}}, 403, "PolicyNotAuthorized"),
    ("PUT", "routers/ROUTER/add_router_interface", {}, 400, "BadRequest"),
    ("PUT", "routers/ROUTER/add_router_interface", {"subnet_id": "SUBNET"}, 400, "BadRequest"),
    ("PUT", "routers/ROUTER/remove_router_interface", {"subnet_id": "SUBNET"}, 409, "RouterInterfaceInUseByFloatingIP"),
    ("PUT", "routers/ROUTER", {"router": {"external_gateway_info": None}}, 409, "RouterExternalGatewayInUseByFloatingIp"),
    ("PUT", "routers/ROUTER", {"router": {"routes": [{"destination": "172.16.0.0/12", "nexthop": "192.0.2.1"}]}}, 400,
     "InvalidRoutes"),
    ("DELETE", "routers/ROUTER", None, 409, "RouterInUse"),
    ("DELETE", "networks/NETWORK", None, 409, "NetworkInUse"),
    ("DELETE", "subnets/SUBNET", None, 409, "SubnetInUse"),
    ("PUT", "subnets/SUBNET", {"subnet": {"gateway_ip": "10.9.0.200"}}, 409, "GatewayIpInUse"),
    ("POST", "subnets", {"subnet": {"network_id": "NETWORK", "cidr": "10.9.0.128/25", "ip_version": 4}}, 400, "InvalidInput"),
    ("POST", "subnets", {"subnet": {"network_id": "NETWORK", "prefixlen": 26, "ip_version": 4}}, 400, "BadRequest"),
    ("POST", "ports", {"port": {"network_id": "NETWORK", "fixed_ips": [{"ip_address": "10.8.0.9"}]}}, 400, "InvalidIpForNetwork"),
    ("POST", "ports", {"port": {"network_id": "NETWORK", "fixed_ips": [{"ip_address": "10.9.0.1"}]}}, 409,
     "IpAddressAlreadyAllocated"),
    ("POST", "ports", {"port": {"network_id": "NETWORK", "device_owner": "network:router_interface"}}, 400, "HTTPBadRequest"),
    ("POST", "ports", {"port": {"network_id": "NETWORK", "binding:host_id": "sim-0001"}}, 403, "PolicyNotAuthorized"),
    ("POST", "ports", {"port": {"network_id": "NETWORK", "dns_name": "not a name"}}, 400, "HTTPBadRequest"),
    ("POST", "ports", {"port": {"network_id": "NETWORK", "binding:vnic_type": "direct"}}, 400, "HTTPBadRequest"),
    ("PUT", "ports/PORT", {"port": {"binding:vnic_type": "wireless"}}, 400, "HTTPBadRequest"),
    ("PUT", "ports/PORT", {"port": {"propagate_uplink_status": "maybe"}}, 400, "HTTPBadRequest"),
    ("POST", "floatingips", {"floatingip": {"floating_network_id": "NETWORK"}}, 400, "BadRequest"),
    ("POST", "floatingips", {"floatingip": {"floating_network_id": "EXTERNAL", "port_id": "PORT"}}, 409,
     "FloatingIPPortAlreadyAssociated"),
    ("POST", "floatingips", {"floatingip": {"floating_network_id": "EXTERNAL", "floating_ip_address": "203.0.113.9"}}, 403,
     "PolicyNotAuthorized"),
    ("POST", "floatingips/FLOATING/port_forwardings", {"port_forwarding": {
        "internal_port_id": "PORT", "internal_port": 22, "external_port": 22, "protocol": "tcp"}}, 409, "FloatingIpInUse"),
    ("POST", "subnetpools", {"subnetpool": {"prefixes": ["10.0.0.0/8"], "min_prefixlen": 30, "max_prefixlen": 20}}, 400,
     "IllegalSubnetPoolPrefixBounds"),
    ("POST", "subnetpools", {"subnetpool": {"prefixes": ["10.0.0.0/8"], "shared": True}}, 403, "PolicyNotAuthorized"),
    ("POST", "qos/policies", {"policy": {"name": "mine"}}, 403, "PolicyNotAuthorized"),
    ("POST", "rbac-policies", {"rbac_policy": {"object_type": "network", "object_id": "EXTERNAL", "action": "access_as_shared",
                                               "target_tenant": "0" * 32}}, 404, "RbacObjectNotFound"),
    ("POST", "trunks", {"trunk": {"port_id": "PORT", "sub_ports": [{"port_id": "PORT", "segmentation_id": 7}]}}, 409,
     "PortInUseAsTrunkParent"),
    ("GET", "network-ip-availabilities", None, 403, "PolicyNotAuthorized"),
    ("GET", "networks?sort_key=colour&sort_dir=asc", None, 400, "HTTPBadRequest"),
    ("GET", "trunks?sort_key=colour&sort_dir=asc", None, 400, "HTTPBadRequest"),
    ("GET", "networks?sort_key=name&sort_dir=up", None, 400, "HTTPBadRequest"),
    ("GET", "networks?sort_key=name", None, 400, "HTTPBadRequest"),
    ("GET", "networks?limit=-1", None, 400, "BadRequest"),
    ("GET", "networks?limit=many", None, 400, "BadRequest"),
    ("GET", "networks?limit=2&marker=nowhere", None, 404, "NetworkNotFound"),
    ("GET", f"ports?limit=2&marker={NOTHING}", None, 404, "PortNotFound"),
    ("GET", "trunks?admin_state_up=maybe", None, 400, "InvalidInput"),
    ("GET", "flavors", None, 404, "HTTPNotFound"),
    ("POST", "subnets", {"subnet": {"network_id": "NETWORK", "cidr": "fd00:5::/64", "ip_version": 6, "enable_dhcp": False,
                                    "ipv6_ra_mode": "slaac"}}, 400, "InvalidInput"),
    ("POST", "subnets", {"subnet": {"network_id": "NETWORK", "cidr": "10.5.0.0/24", "ip_version": 4,
                                    "dns_nameservers": ["9.9.9.9", "9.9.9.9"]}}, 400, "HTTPBadRequest"),
    ("PUT", "subnets/SUBNET", {"subnet": {"host_routes": [{"destination": "10.6.0.0/24", "nexthop": "10.9.0.9"}] * 2}}, 400,
     "HTTPBadRequest"),
    ("POST", "ports", {"port": {"network_id": "NETWORK", "fixed_ips": [{"ip_address": "10.9.0.77"}] * 2}}, 400,
     "HTTPBadRequest"),
    ("POST", "subnetpools", {"subnetpool": {"name": "none", "prefixes": []}}, 400, "EmptySubnetPoolPrefixList"),
    ("POST", "networks", {"network": {"mtu": 20}}, 400, "InvalidInput"),
    ("POST", "rbac-policies", {"rbac_policy": {"object_type": "flavor", "object_id": "NETWORK", "action": "access_as_shared",
                                               "target_tenant": "0" * 32}}, 400, "InvalidInput"),
    ("POST", "rbac-policies", {"rbac_policy": {"object_type": "network", "object_id": "NETWORK", "action": "access_as_owner",
                                               "target_tenant": "0" * 32}}, 400, "InvalidActionForType"),
    ("POST", "security-group-rules", {"security_group_rule": {"security_group_id": "GROUP", "direction": "ingress",
                                                              "protocol": "58"}}, 400,
     "SecurityGroupEthertypeConflictWithProtocol"),
    ("POST", "security-group-rules", {"security_group_rule": {"security_group_id": "GROUP", "direction": "ingress",
                                                              "remote_ip_prefix": "anywhere"}}, 400, "InvalidCIDR"),
    ("POST", "security-group-rules", {"security_group_rule": {"security_group_id": "GROUP", "direction": "egress",
                                                              "remote_ip_prefix": "0.0.0.0/0"}}, 409,
     "SecurityGroupRuleExists"),
    ("PUT", "agents/nobody", {"agent": {"description": "mine"}}, 404, "AgentNotFound"),
]


@pytest.mark.parametrize("method, path, body, status, kind", BAD)
def test_bad_requests_are_refused_in_neutrons_words(sim, people, topology, external, method, path, body, status, kind):
    words = {"NETWORK": topology["network"], "SUBNET": topology["subnet"], "ROUTER": topology["router"],
             "PORT": topology["port"], "FLOATING": topology["floatingip"], "EXTERNAL": external,
             "GROUP": topology["security_group"]}

    def filled(value):
        if isinstance(value, dict):
            return {k: filled(v) for k, v in value.items()}
        if isinstance(value, list):
            return [filled(v) for v in value]
        return words.get(value, value)

    for word, real in words.items():
        path = path.replace(f"/{word}", f"/{real}")
    before = sim.get("/healthz")["seq"]
    answer = sim.request(method, f"{NETWORK}/{path}", token=people["nora"], json=filled(body))
    assert answer.status_code == status, answer.text
    assert answer.json()["NeutronError"]["type"] == kind, answer.text
    assert answer.json()["NeutronError"]["message"]
    assert sim.get("/healthz")["seq"] == before, "a refused request changes nothing"


def test_a_rules_range_is_shown_as_it_was_written_and_as_it_is(sim, people, topology):
    rule = lambda prefix: sim.request("POST", f"{NETWORK}/security-group-rules", token=people["nora"], json={
        "security_group_rule": {"security_group_id": topology["security_group"], "direction": "egress",
                                "remote_ip_prefix": prefix}})
    made = rule("192.0.2.7/24").json()["security_group_rule"]
    assert (made["remote_ip_prefix"], made["normalized_cidr"]) == ("192.0.2.7/24", "192.0.2.0/24")
    assert rule("192.0.2.0/24").json()["NeutronError"]["type"] == "SecurityGroupRuleExists"


def test_new_security_groups_begin_with_the_rules_that_the_administrator_says(sim, sdk, people):
    path = f"{NETWORK}/default-security-group-rules"
    rules = lambda: sim.get(path, token=people["nick"])["default_security_group_rules"]
    said = lambda r: (r["direction"], r["ethertype"], r["remote_group_id"], r["used_in_default_sg"], r["used_in_non_default_sg"])
    first = rules()
    assert sorted(map(said, first), key=str) == [
        ("egress", "IPv4", None, True, True), ("egress", "IPv6", None, True, True),
        ("ingress", "IPv4", "PARENT", True, False), ("ingress", "IPv6", "PARENT", True, False)]
    post = lambda token=None, **rule: sim.request("POST", path, token=token, json={"default_security_group_rule": rule})
    ssh = {"direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22}
    assert post(people["nora"], **ssh).status_code == 403
    assert post(**{**ssh, "port_range_max": 21}).json()["NeutronError"]["type"] == "SecurityGroupInvalidPortRange"
    both = {"remote_group_id": "PARENT", "remote_ip_prefix": "10.0.0.0/8"}
    assert post(direction="ingress", **both).json()["NeutronError"]["type"] == "SecurityGroupMultipleRemoteEntites"
    answer = post(**ssh, description="way in")
    made = answer.json()["default_security_group_rule"]
    assert answer.status_code == 201 and said(made) == ("ingress", "IPv4", None, False, True)
    again = post(**ssh)
    assert (again.status_code, again.json()["NeutronError"]["type"]) == (409, "DefaultSecurityGroupRuleExists")
    inside = post(**ssh, remote_group_id="PARENT", used_in_default_sg=True, used_in_non_default_sg=False).json()
    assert sim.request("DELETE", f"{path}/{made['id']}", token=people["nora"]).status_code == 403
    egress6 = next(r for r in first if (r["direction"], r["ethertype"]) == ("egress", "IPv6"))
    try:
        assert sdk.network.get_default_security_group_rule(egress6["id"]).ether_type == "IPv6"
        assert sim.request("DELETE", f"{path}/{egress6['id']}").status_code == 204
        assert sim.request("DELETE", f"{path}/{egress6['id']}").json()["NeutronError"]["type"] == "DefaultSecurityGroupRuleNotFound"
        group = sim.post(f"{NETWORK}/security-groups", {"security_group": {"name": "begun"}}, token=people["sue"])["security_group"]
        got = {(r["direction"], r["ethertype"], r["port_range_min"], r["description"]) for r in group["security_group_rules"]}
        assert got == {("egress", "IPv4", None, ""), ("ingress", "IPv4", 22, "way in")}
        # A rule about a group goes with the group.
        about = post(direction="ingress", remote_group_id=group["id"]).json()["default_security_group_rule"]["id"]
        assert sim.request("DELETE", f"{NETWORK}/security-groups/{group['id']}").status_code == 204
        assert about not in [r["id"] for r in rules()]
        project = sim.post("/identity/v3/projects", {"project": {"name": "begun"}})["project"]["id"]
        body = {"security_group": {"name": "other", "project_id": project}}
        sim.post(f"{NETWORK}/security-groups", body)
        default = sim.get(f"{NETWORK}/security-groups?project_id={project}&name=default")["security_groups"][0]
        own = [r for r in default["security_group_rules"] if r["remote_group_id"] == default["id"]]
        assert len(default["security_group_rules"]) == 4 and {r["port_range_min"] for r in own} == {22, None}
    finally:
        sim.request("DELETE", f"{path}/{made['id']}")
        sim.request("DELETE", f"{path}/{inside['default_security_group_rule']['id']}")
        back = post(direction="egress", ethertype="IPv6", used_in_default_sg=True)
    assert back.status_code == 201 and sorted(map(said, rules()), key=str) == sorted(map(said, first), key=str)


def test_anothers_resources_do_not_exist(sim, people, topology):
    paths = {"network": "networks", "subnet": "subnets", "router": "routers", "port": "ports", "floatingip": "floatingips",
             "security_group": "security-groups"}
    for noun, path in paths.items():
        one = f"{NETWORK}/{path}/{topology[noun]}"
        assert sim.request("GET", one, token=people["sue"]).status_code == 404, noun
        assert sim.request("DELETE", one, token=people["sue"]).status_code == 404, noun
        assert sim.request("PUT", one, token=people["sue"], json={noun: {"description": "mine"}}).status_code == 404, noun
        listed = sim.get(f"{NETWORK}/{path}", token=people["sue"])
        ids = [item["id"] for items in listed.values() for item in items if isinstance(item, dict)]
        assert topology[noun] not in ids, noun
        assert sim.request("GET", one, token=people["nick"]).status_code == 200, f"a reader sees the project's {noun}"
        assert sim.request("DELETE", one, token=people["nick"]).status_code == 403, f"a reader removes no {noun}"
    theft = {"router": {"external_gateway_info": {"network_id": topology["network"]}}}
    assert sim.request("POST", f"{NETWORK}/routers", token=people["sue"], json=theft).status_code == 404


def test_a_bulk_request_is_done_whole_or_not_at_all(sim, people, topology):
    count = lambda: len(sim.get(f"{NETWORK}/ports?network_id={topology['network']}", token=people["nora"])["ports"])
    before = count()
    good = {"network_id": topology["network"]}
    bad = {**good, "fixed_ips": [{"ip_address": "10.9.0.1"}]}
    answer = sim.request("POST", f"{NETWORK}/ports", token=people["nora"], json={"ports": [good, good, bad]})
    assert answer.status_code == 409 and count() == before
    made = sim.post(f"{NETWORK}/ports", {"ports": [good, good]}, token=people["nora"])["ports"]
    assert len({p["fixed_ips"][0]["ip_address"] for p in made}) == 2 and count() == before + 2
    for port in made:
        assert sim.request("DELETE", f"{NETWORK}/ports/{port['id']}", token=people["nora"]).status_code == 204


def test_a_change_of_what_has_changed_since_is_refused(sim, people, topology):
    path = f"{NETWORK}/routers/{topology['router']}"
    put = lambda name, revision: sim.request("PUT", path, token=people["nora"], json={"router": {"name": name}},
                                             headers={"If-Match": f"revision_number={revision}"})
    seen = sim.get(path, token=people["nora"])["router"]["revision_number"]
    assert put("first", seen).status_code == 200
    answer = put("second", seen)
    assert answer.status_code == 412
    assert answer.json()["NeutronError"]["type"] == "RevisionNumberConstraintFailed"
    assert sim.get(path, token=people["nora"])["router"]["name"] == "first"
    assert put("third", "many").status_code == 400


def test_listings_are_filtered_sorted_and_paged_in_both_directions(sim, people):
    names = [f"page-{n}" for n in range(5)]
    made = sim.post(f"{NETWORK}/networks", {"networks": [{"name": n} for n in names]}, token=people["sue"])["networks"]
    get = lambda query: sim.get(f"{NETWORK}/networks?{query}", token=people["sue"])
    ours = "&".join(f"name={n}" for n in names)
    listed = lambda answer: [n["name"] for n in answer["networks"]]
    assert listed(get(f"{ours}&sort_key=name&sort_dir=desc")) == names[::-1]
    first = get(f"{ours}&sort_key=name&sort_dir=asc&limit=2")
    assert listed(first) == names[:2]
    links = {l["rel"]: l["href"] for l in first["networks_links"]}
    second = sim.get(links["next"][len(sim.url):], token=people["sue"])
    assert listed(second) == names[2:4]
    links = {l["rel"]: l["href"] for l in second["networks_links"]}
    assert listed(sim.get(links["previous"][len(sim.url):], token=people["sue"])) == names[:2]
    everything = listed(get(f"{ours}&sort_key=name&sort_dir=asc"))
    assert listed(get(f"{ours}&sort_key=name&sort_dir=asc&limit=0&marker=nowhere")) == everything == names
    behind = get(f"name={names[4]}&limit=2&sort_key=name&sort_dir=asc&marker={made[1]['id']}")
    assert listed(behind) == [names[4]], "a marker need not be among what is asked for"
    assert get(f"name={names[0]}&fields=id&fields=name")["networks"] == [{"id": made[0]["id"], "name": names[0]}]
    sim.request("PUT", f"{NETWORK}/networks/{made[1]['id']}/tags", token=people["sue"], json={"tags": ["a", "b"]})
    assert listed(get(f"{ours}&tags=a,b")) == [names[1]] == listed(get(f"{ours}&tags-any=b,c"))
    assert len(listed(get(f"{ours}&not-tags-any=b,c"))) == 4
    for network in made:
        assert sim.request("DELETE", f"{NETWORK}/networks/{network['id']}", token=people["sue"]).status_code == 204


def test_what_is_true_or_false_is_only_asked_for_so(sim, topology):
    collections = [r["links"][0]["href"][len(sim.url):] for r in sim.get(f"{NETWORK}/")["resources"]]
    flags = 0
    for path in collections:
        items = [item for items in sim.get(path).values() for item in items][:1]
        for name in [name for item in items for name, value in item.items() if isinstance(value, bool)]:
            answer = sim.request("GET", f"{path}?{name}=maybe")
            assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (400, "InvalidInput"), (path, name)
            flags += 1
    assert flags > 15


def test_a_network_is_shared_with_one_project_and_kept_while_it_uses_it(sim, people, topology):
    policy = sim.post(f"{NETWORK}/rbac-policies", {"rbac_policy": {
        "object_type": "network", "object_id": topology["network"], "action": "access_as_shared",
        "target_tenant": people["south"]}}, token=people["nora"])["rbac_policy"]
    seen = sim.get(f"{NETWORK}/networks/{topology['network']}", token=people["sue"])["network"]
    assert seen["shared"] is True
    port = sim.post(f"{NETWORK}/ports", {"port": {"network_id": topology["network"]}}, token=people["sue"])["port"]["id"]
    path = f"{NETWORK}/rbac-policies/{policy['id']}"
    assert sim.request("DELETE", path, token=people["nora"]).status_code == 409
    assert sim.request("DELETE", f"{NETWORK}/ports/{port}", token=people["sue"]).status_code == 204
    assert sim.request("DELETE", path, token=people["nora"]).status_code == 204
    assert sim.request("GET", f"{NETWORK}/networks/{topology['network']}", token=people["sue"]).status_code == 404


def test_quotas_hold_for_every_resource(sim, people):
    limits = {"router": 0, "floatingip": 0, "subnetpool": 0, "rbac_policy": 0, "network": 0, "port": 0, "trunk": 0}
    path = f"{NETWORK}/quotas/{people['south']}"
    assert sim.request("PUT", path, json={"quota": limits}).status_code == 200
    seen = sim.get(f"{NETWORK}/networks?router:external=True", token=people["sue"])["networks"]
    external = seen[0]["id"]
    for path_of, body in [("routers", {"router": {}}), ("networks", {"network": {}}),
                          ("floatingips", {"floatingip": {"floating_network_id": external}}),
                          ("subnetpools", {"subnetpool": {"prefixes": ["10.0.0.0/8"]}})]:
        answer = sim.request("POST", f"{NETWORK}/{path_of}", token=people["sue"], json=body)
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, "OverQuota"), path_of
    assert sim.request("DELETE", path).status_code == 204
    details = sim.get(f"{path}/details.json", token=people["sue"])["quota"]
    assert details["router"] == {"limit": 10, "used": 0, "reserved": 0}


def test_interfaces_come_and_go_and_floating_ips_stand_among_the_addresses(sim, blank, topology, people):
    token = people["nora"]
    group = sim.post(f"{NETWORK}/security-groups", {"security_group": {"name": "late"}}, token=token)["security_group"]["id"]
    body = {"server": {"name": "legs", "imageRef": blank[0], "flavorRef": "42", "networks": [{"port": topology["port"]}]}}
    server = sim.post("/compute/v2.1/servers", body, version="2.79", token=token)["server"]["id"]
    sim.wait_status(server, "ACTIVE")
    kinds = lambda: sorted(a["OS-EXT-IPS:type"] for a in sim.server(server)["addresses"]["inner"])
    assert kinds() == ["fixed", "floating"]
    path = f"/compute/v2.1/servers/{server}/os-interface"
    added = sim.post(path, {"interfaceAttachment": {"net_id": topology["network"]}}, token=token)["interfaceAttachment"]
    ports = lambda: [i["port_id"] for i in sim.get(path, token=token)["interfaceAttachments"]]
    assert ports() == [topology["port"], added["port_id"]]
    assert kinds() == ["fixed", "fixed", "floating"]
    taken = sim.request("POST", path, token=token, json={"interfaceAttachment": {"port_id": added["port_id"]}})
    assert taken.status_code == 409
    for action, present in [("addSecurityGroup", True), ("removeSecurityGroup", False)]:
        answer = sim.request("POST", f"/compute/v2.1/servers/{server}/action", token=token, json={action: {"name": "late"}})
        assert answer.status_code == 202, answer.text
        groups = sim.get(f"/compute/v2.1/servers/{server}/os-security-groups", token=token)["security_groups"]
        assert (group in [g["id"] for g in groups]) is present
    again = sim.request("POST", f"/compute/v2.1/servers/{server}/action", token=token, json={"removeSecurityGroup": {"name": "late"}})
    assert again.status_code == 404
    act = lambda action, args, version=None: sim.request(
        "POST", f"/compute/v2.1/servers/{server}/action", token=token, json={action: args}, version=version).status_code
    before = len(kinds())
    assert act("addFixedIp", {"networkId": topology["network"]}, "2.44") == 404, "it was taken away"
    assert act("addFixedIp", {"networkId": topology["network"]}) == 202 and len(kinds()) == before + 1
    extra = sim.get(path, token=token)["interfaceAttachments"][0]["fixed_ips"][-1]["ip_address"]
    assert act("removeFixedIp", {"address": extra}) == 202 and len(kinds()) == before
    assert act("removeFixedIp", {"address": extra}) == 400
    assert sim.request("DELETE", f"{path}/{added['port_id']}", token=token).status_code == 202
    assert ports() == [topology["port"]]
    assert sim.request("GET", f"{NETWORK}/ports/{added['port_id']}", token=token).status_code == 404, "it was made for the server"
    done = sim.get(f"/compute/v2.1/servers/{server}/os-instance-actions", token=token)["instanceActions"]
    assert [a["action"] for a in done] == ["detach_interface", "attach_interface", "create"]
    event = sim.get(f"/compute/v2.1/servers/{server}/os-instance-actions/{done[0]['request_id']}")["instanceAction"]["events"][0]
    assert (event["event"], event["result"]) == ("compute_detach_interface", "Success")
    sim.delete(server)
    sim.wait_gone(server)
    floating = sim.get(f"{NETWORK}/floatingips/{topology['floatingip']}", token=token)["floatingip"]
    assert floating["port_id"] == topology["port"], "a port that was brought along stays, and so does what leads to it"


def test_a_policy_that_limits_floating_ips_and_gateways_stays_until_it_is_taken_from_them(sim, people, topology):
    made = sim.post(f"{NETWORK}/qos/policies", {"policy": {"name": "slow", "project_id": people["north"]}})["policy"]["id"]
    hidden = sim.post(f"{NETWORK}/qos/policies", {"policy": {"name": "hidden"}})["policy"]["id"]
    path, token = f"{NETWORK}/qos/policies/{made}", people["nora"]
    put = lambda noun, where, body: sim.request("PUT", f"{NETWORK}/{where}", token=token, json={noun: body})
    fip, router = f"floatingips/{topology['floatingip']}", f"routers/{topology['router']}"
    network = sim.get(f"{NETWORK}/{router}", token=token)["router"]["external_gateway_info"]["network_id"]
    gateway = lambda policy: {"external_gateway_info": {"network_id": network, "qos_policy_id": policy}}
    assert put("floatingip", fip, {"qos_policy_id": hidden}).json()["NeutronError"]["type"] == "QosPolicyNotFound"
    assert put("router", router, gateway(hidden)).json()["NeutronError"]["type"] == "QosPolicyNotFound"
    assert put("floatingip", fip, {"qos_policy_id": made}).json()["floatingip"]["qos_policy_id"] == made
    refused = lambda: sim.request("DELETE", path).json()["NeutronError"]["type"]
    assert refused() == "QosPolicyInUse"
    shown = put("router", router, gateway(made)).json()["router"]["external_gateway_info"]
    assert shown["qos_policy_id"] == made
    assert put("floatingip", fip, {"qos_policy_id": None}).json()["floatingip"]["qos_policy_id"] is None
    assert refused() == "QosPolicyInUse"
    kept = put("router", router, {"external_gateway_info": {"network_id": network}}).json()["router"]
    assert kept["external_gateway_info"]["qos_policy_id"] == made, "what is not said stays"
    assert put("router", router, gateway(None)).json()["router"]["external_gateway_info"]["qos_policy_id"] is None
    for policy in [made, hidden]:
        assert sim.request("DELETE", f"{NETWORK}/qos/policies/{policy}").status_code == 204


def test_a_running_servers_port_goes_by_way_of_the_network_api(sim, blank, topology, people):
    token = people["nora"]
    body = {"server": {"name": "loses", "imageRef": blank[0], "flavorRef": "42", "networks": [{"uuid": topology["network"]}] * 2}}
    server = sim.post("/compute/v2.1/servers", body, version="2.79", token=token)["server"]["id"]
    sim.wait_status(server, "ACTIVE")
    path = f"/compute/v2.1/servers/{server}/os-interface"
    ports = lambda: [i["port_id"] for i in sim.get(path, token=token)["interfaceAttachments"]]
    first, second = ports()
    assert sim.request("DELETE", f"{NETWORK}/ports/{first}", token=people["nick"]).status_code == 403
    assert sim.request("DELETE", f"{NETWORK}/ports/{first}", token=token).status_code == 204
    assert ports() == [second] and sim.server(server)["status"] == "ACTIVE"
    assert len(sim.server(server)["addresses"]["inner"]) == 1
    assert sim.request("DELETE", f"/compute/v2.1/servers/{server}", token=token).status_code == 204
    leg = sim.get(f"{NETWORK}/ports?device_owner=network:router_interface&network_id={topology['network']}")["ports"][0]["id"]
    answer = sim.request("DELETE", f"{NETWORK}/ports/{leg}")
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, "ServicePortInUse")


def test_a_networks_owner_removes_others_ports_on_it(sim, people, topology):
    lent = sim.post(f"{NETWORK}/rbac-policies", {"rbac_policy": {
        "object_type": "network", "object_id": topology["network"], "action": "access_as_shared",
        "target_tenant": people["south"]}}, token=people["nora"])["rbac_policy"]["id"]
    make = lambda: sim.post(f"{NETWORK}/ports", {"port": {"network_id": topology["network"]}}, token=people["sue"])["port"]
    guest = make()
    assert guest["propagate_uplink_status"] is True
    path = f"{NETWORK}/ports/{guest['id']}"
    answer = sim.request("PUT", path, token=people["sue"], json={"port": {"propagate_uplink_status": False}})
    assert answer.json()["port"]["propagate_uplink_status"] is False
    assert sim.request("PUT", path, token=people["nora"], json={"port": {"name": "mine"}}).status_code == 403
    assert sim.request("DELETE", f"{NETWORK}/ports/{topology['port']}", token=people["sue"]).status_code == 404
    assert sim.request("DELETE", path, token=people["nora"]).status_code == 204
    assert sim.request("DELETE", f"{NETWORK}/rbac-policies/{lent}", token=people["nora"]).status_code == 204


def test_a_server_that_asks_for_auto_gets_a_network_with_a_way_out(tmp_path):
    # In a cloud for this test alone: a network that others share would do as well, and be taken.
    sim = Cloud(tmp_path / "data", hosts=1)
    try:
        auto_gets_a_way_out(sim.start().wait_for_hosts())
    finally:
        sim.down()


def auto_gets_a_way_out(sim):
    external, image = way_out(sim), sim.upload("blank", data=b"\0" * 4096, disk_format="raw")
    pid = sim.post("/identity/v3/projects", {"project": {"name": "auto"}})["project"]["id"]
    uid = sim.post("/identity/v3/users", {"user": {"name": "ada", "password": "s3cret"}})["user"]["id"]
    member = next(r["id"] for r in sim.get("/identity/v3/roles")["roles"] if r["name"] == "member")
    assert sim.request("PUT", f"/identity/v3/projects/{pid}/users/{uid}/roles/{member}").status_code == 204
    token = sim.login("ada", "s3cret", "auto")
    body = {"server": {"name": "auto", "imageRef": image, "flavorRef": "42", "networks": "auto"}}
    server = sim.post("/compute/v2.1/servers", body, version="2.79", token=token)["server"]["id"]
    sim.wait_status(server, "ACTIVE")
    routers = sim.get(f"{NETWORK}/routers", token=token)["routers"]
    assert [r["external_gateway_info"]["network_id"] for r in routers] == [external]
    port = sim.get(f"{NETWORK}/ports?device_id={server}", token=token)["ports"][0]
    floating = {"floatingip": {"floating_network_id": external, "port_id": port["id"]}}
    made = sim.post(f"{NETWORK}/floatingips", floating, token=token)["floatingip"]
    assert made["router_id"] == routers[0]["id"]
    sim.delete(server)
    sim.wait_gone(server)
    gone = lambda: sim.get(f"{NETWORK}/floatingips/{made['id']}", token=token)["floatingip"]["port_id"] is None
    wait_until("the floating IP of a server that is gone leads nowhere", gone)


def test_nova_has_networks_groups_and_floating_ips_under_its_old_names(sim, people, external, topology):
    get = lambda path: sim.get(f"/compute/v2.1/{path}", token=people["nora"])
    names = [g["name"] for g in get("os-security-groups")["security_groups"]]
    assert {"default", "web"} <= set(names)
    rule = sim.post("/compute/v2.1/os-security-group-rules", {"security_group_rule": {
        "parent_group_id": topology["security_group"], "ip_protocol": "tcp", "from_port": 22, "to_port": 22}},
        token=people["nora"])["security_group_rule"]
    assert rule["ip_range"] == {"cidr": "0.0.0.0/0"} and rule["group"] == {}
    shown = get(f"os-security-groups/{topology['security_group']}")["security_group"]["rules"]
    assert [r["id"] for r in shown] == [rule["id"]], "only what comes in"
    assert topology["network"] in [n["id"] for n in get("os-tenant-networks")["networks"]]
    # Other tests of this cloud leave ways out behind, too.
    pool = sim.get(f"{NETWORK}/networks/{external}")["network"]["name"]
    assert pool in [one["name"] for one in get("os-floating-ip-pools")["floating_ip_pools"]]
    made = sim.post("/compute/v2.1/os-floating-ips", {"pool": pool}, token=people["nora"])["floating_ip"]
    assert made["id"] in [f["id"] for f in get("os-floating-ips")["floating_ips"]]
    assert sim.request("DELETE", f"/compute/v2.1/os-floating-ips/{made['id']}", token=people["nora"]).status_code == 202
    assert sim.request("GET", "/compute/v2.1/os-floating-ips", token=people["nora"], version="2.36").status_code == 404


@pytest.mark.parametrize("name, value", [
    ("mtu", "1400); eth.src = 0e:24:b6:71:b9:01; next(25); reg0[3] = put_dhcp_opts(offerip = 10.0.0.99"),
    ("router", "6.6.6.6); next;"), ("classless-static-route", "{0.0.0.0/0,1.1.1.1}); drop; ("), ("zzz", "x")])
def test_a_dhcp_option_is_what_it_says_and_nothing_more(sim, blank, name, value):
    """OVN pastes options into the text of flows."""
    options = {"extra_dhcp_opts": [{"opt_name": name, "opt_value": value}]}
    answer = sim.request("POST", f"{NETWORK}/ports", json={"port": {"network_id": blank[1], **options}})
    assert answer.status_code == 400 and "extra_dhcp_opts" in answer.text, answer.text
    port = sim.post(f"{NETWORK}/ports", {"port": {"network_id": blank[1]}})["port"]["id"]
    answer = sim.request("PUT", f"{NETWORK}/ports/{port}", json={"port": options})
    assert answer.status_code == 400, answer.text
    assert sim.get(f"{NETWORK}/ports/{port}")["port"]["extra_dhcp_opts"] == []


def test_texts_with_nul_and_routes_of_a_new_router_are_refused(sim):
    for path, noun, fields in [("networks", "network", {"name": "a\0b"}), ("routers", "router", {"name": "r", "routes": []})]:
        answer = sim.request("POST", f"{NETWORK}/{path}", json={noun: fields})
        assert answer.status_code == 400, answer.text
