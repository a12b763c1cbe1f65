"""Which addresses ports have, whatever was asked for them, and how large a packet networks carry. On simulated hosts."""

import ipaddress

import pytest

NETWORK = "/network/v2.0"


def make(sim, path, **fields):
    noun = path.rstrip("s")
    return sim.post(f"{NETWORK}/{path}", {noun: fields})[noun]


@pytest.fixture
def dual(sim):
    """A network with a subnet of each family, whose guests form their IPv6 addresses themselves."""
    network = make(sim, "networks", name="dual")["id"]
    v4 = make(sim, "subnets", network_id=network, ip_version=4, cidr="10.94.0.0/24")["id"]
    v6 = make(sim, "subnets", network_id=network, ip_version=6, cidr="fd00:94::/64", ipv6_ra_mode="slaac",
              ipv6_address_mode="slaac")["id"]
    return network, v4, v6


def formed(port):
    """What its guest forms of its Ethernet address (RFC 4291, appendix A)."""
    mac = bytes.fromhex(port["mac_address"].replace(":", ""))
    tail = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return str(ipaddress.IPv6Address(ipaddress.IPv6Address("fd00:94::").packed[:8] + tail))


def addresses(port):
    return [ip["ip_address"] for ip in port["fixed_ips"]]


def test_a_guest_may_use_what_it_forms_whatever_was_asked_for_it(sim, dual):
    network, v4, v6 = dual
    for asked in ([{"subnet_id": v4}], [{"ip_address": "10.94.0.77"}], [{"subnet_id": v4}, {"subnet_id": v6}], []):
        port = make(sim, "ports", network_id=network, fixed_ips=asked)
        assert formed(port) in addresses(port) and len(addresses(port)) == (2 if asked else 1), asked
        sim.request("DELETE", f"{NETWORK}/ports/{port['id']}")
    port = make(sim, "ports", network_id=network)
    change = lambda **fields: sim.request("PUT", f"{NETWORK}/ports/{port['id']}", json={"port": fields}).json()["port"]
    changed = change(fixed_ips=[{"ip_address": "10.94.0.78"}])
    assert addresses(changed) == ["10.94.0.78", formed(port)]
    changed = change(mac_address="fa:16:3e:01:02:03")
    assert addresses(changed) == ["10.94.0.78", formed(changed)] and formed(changed) != formed(port)
    # A router's leg has what it is given, and no more.
    router = make(sim, "routers", name="dual")["id"]
    for subnet in (v4, v6):
        assert sim.request("PUT", f"{NETWORK}/routers/{router}/add_router_interface", json={"subnet_id": subnet}).status_code == 200
    legs = sim.get(f"{NETWORK}/ports?device_id={router}")["ports"]
    assert sorted(addresses(leg) for leg in legs) == [["10.94.0.1"], ["fd00:94::1"]]


def test_metadata_takes_the_first_address_that_is_free_again(sim):
    network = make(sim, "networks", name="full")["id"]
    subnet = make(sim, "subnets", network_id=network, ip_version=4, cidr="10.95.0.0/29", enable_dhcp=False)["id"]
    taken = [make(sim, "ports", network_id=network)["id"] for _ in range(5)]
    metadata = lambda: [addresses(port) for port in sim.get(f"{NETWORK}/ports?network_id={network}")["ports"]
                        if port["device_owner"] == "network:distributed"]
    assert sim.request("PUT", f"{NETWORK}/subnets/{subnet}", json={"subnet": {"enable_dhcp": True}}).status_code == 200
    assert metadata() == []
    free = sim.get(f"{NETWORK}/ports/{taken[2]}")["port"]
    sim.request("DELETE", f"{NETWORK}/ports/{taken[2]}")
    assert metadata() == [addresses(free)]
    for port in taken[:2] + taken[3:]:
        sim.request("DELETE", f"{NETWORK}/ports/{port}")
    assert sim.request("DELETE", f"{NETWORK}/networks/{network}").status_code == 204
    assert sim.get(f"{NETWORK}/ports?network_id={network}")["ports"] == []


def test_no_network_is_larger_than_a_tunnel_or_too_small_for_ipv6(sim, dual):
    error = lambda answer: (answer.status_code, answer.json()["NeutronError"]["type"])
    change = lambda network, mtu: sim.request("PUT", f"{NETWORK}/networks/{network}", json={"network": {"mtu": mtu}})
    largest = make(sim, "networks", name="largest")
    too_large = {"network": {"mtu": largest["mtu"] + 1}}
    assert error(sim.request("POST", f"{NETWORK}/networks", json=too_large)) == (400, "InvalidInput")
    assert error(change(largest["id"], largest["mtu"] + 1)) == (400, "InvalidInput")
    # What stays on the wire is no tunnel's business.
    wire = make(sim, "networks", name="wire", mtu=9000, **{"provider:network_type": "vlan",
                                                           "provider:physical_network": "physnet2"})
    assert wire["mtu"] == 9000
    assert error(change(dual[0], 1279)) == (409, "NetworkMTUSubnetConflict")
    assert change(dual[0], 1280).status_code == 200
    small = make(sim, "networks", name="small", mtu=1279)["id"]
    body = {"subnet": {"network_id": small, "ip_version": 6, "cidr": "fd00:96::/64"}}
    assert error(sim.request("POST", f"{NETWORK}/subnets", json=body)) == (409, "NetworkMTUSubnetConflict")
    for network in (largest["id"], wire["id"], small):
        assert sim.request("DELETE", f"{NETWORK}/networks/{network}").status_code == 204


def test_ports_of_rules_are_real_and_all_of_them_are_no_range(sim):
    group = sim.post(f"{NETWORK}/security-groups", {"security_group": {"name": "ports"}})["security_group"]["id"]
    rule = lambda low, high: sim.request("POST", f"{NETWORK}/security-group-rules", json={"security_group_rule": {
        "security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": low, "port_range_max": high}})
    for low, high in ((0, 0), (0, 80)):
        answer = rule(low, high)
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (400, "SecurityGroupInvalidPortValue")
    made = rule(1, 65535).json()["security_group_rule"]
    assert (made["port_range_min"], made["port_range_max"]) == (None, None)
    assert rule(None, None).status_code == 409, "the same again"
    assert sim.request("DELETE", f"{NETWORK}/security-groups/{group}").status_code == 204
