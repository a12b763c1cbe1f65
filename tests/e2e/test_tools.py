"""The request sequences of tools that people bring: Terraform's provider and Packer's builder, both made with Gophercloud. They
use the lowest compute version, unless a feature needs more. On simulated hosts."""

import pytest
import requests

from cloud import wait_until

COMPUTE, NETWORK, IMAGE = "/compute/v2.1", "/network/v2.0", "/image/v2"


class Tool:
    """A tool: a member of a project, who finds the services in the catalog of its token."""

    def __init__(self, cloud, user):
        self.cloud = cloud
        auth = {"identity": {"methods": ["password"], "password": {
            "user": {"name": user, "domain": {"name": "Default"}, "password": "s3cret-pass"}}},
            "scope": {"project": {"name": user, "domain": {"name": "Default"}}}}
        answer = requests.post(f"{cloud.url}/identity/v3/auth/tokens", json={"auth": auth}, timeout=30)
        assert answer.status_code == 201
        self.token = answer.headers["X-Subject-Token"]
        self.project = answer.json()["token"]["project"]["id"]
        urls = {service["type"]: endpoint["url"] for service in answer.json()["token"]["catalog"]
                for endpoint in service["endpoints"] if endpoint["interface"] == "public"}
        # Gophercloud puts its own version behind the roots of these services.
        assert urls["compute"] == cloud.url + COMPUTE and urls["network"] == cloud.url + "/network"
        assert urls["image"] == cloud.url + "/image"

    def call(self, method, path, status, body=None, **more):
        answer = self.cloud.request(method, path, token=self.token, **({"json": body} if body is not None else {}), **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def get(self, path, status=200, **more):
        return self.call("GET", path, status, **more).json()

    def wait(self, path, key, status):
        return wait_until(f"{path} is {status}", lambda: (
            lambda shown: shown if shown["status"] == status else None)(self.get(path)[key] if key else self.get(path)))

    def wait_gone(self, path):
        gone = lambda: self.cloud.request("GET", path, token=self.token).status_code == 404
        wait_until(f"{path} is gone", gone)


@pytest.fixture(scope="module")
def outside(sim):
    """An external network."""
    network = sim.post("/network/v2.0/networks", {"network": {
        "name": "outside", "router:external": True, "provider:network_type": "flat",
        "provider:physical_network": "external"}})["network"]["id"]
    sim.post("/network/v2.0/subnets", {"subnet": {"network_id": network, "cidr": "203.0.113.0/24", "ip_version": 4,
                                                  "enable_dhcp": False}})
    return network


@pytest.fixture
def tool(sim, request):
    name = request.node.name.replace("_", "-")[:40]
    project = sim.post("/identity/v3/projects", {"project": {"name": name}})["project"]["id"]
    user = sim.post("/identity/v3/users", {"user": {"name": name, "password": "s3cret-pass"}})["user"]["id"]
    member = sim.get("/identity/v3/roles?name=member")["roles"][0]["id"]
    assert sim.request("PUT", f"/identity/v3/projects/{project}/users/{user}/roles/{member}").status_code == 204
    return Tool(sim, name)


def test_terraform_makes_changes_and_destroys_a_small_site(tool, outside, blank):
    # openstack_networking_network_v2, _subnet_v2, _router_v2, _router_interface_v2
    network = tool.call("POST", f"{NETWORK}/networks", 201, {"network": {"name": "site", "admin_state_up": True}}).json()
    network = network["network"]["id"]
    tool.wait(f"{NETWORK}/networks/{network}", "network", "ACTIVE")
    subnet = {"network_id": network, "name": "site", "cidr": "10.44.0.0/24", "ip_version": 4, "enable_dhcp": True,
              "dns_nameservers": ["192.0.2.53"]}
    subnet = tool.call("POST", f"{NETWORK}/subnets", 201, {"subnet": subnet}).json()["subnet"]["id"]
    router = {"name": "site", "admin_state_up": True, "external_gateway_info": {"network_id": outside}}
    router = tool.call("POST", f"{NETWORK}/routers", 201, {"router": router}).json()["router"]["id"]
    tool.wait(f"{NETWORK}/routers/{router}", "router", "ACTIVE")
    leg = tool.call("PUT", f"{NETWORK}/routers/{router}/add_router_interface", 200, {"subnet_id": subnet}).json()
    tool.wait(f"{NETWORK}/ports/{leg['port_id']}", "port", "ACTIVE")
    # openstack_networking_secgroup_v2 with delete_default_rules, _secgroup_rule_v2
    group = tool.call("POST", f"{NETWORK}/security-groups", 201, {"security_group": {"name": "web"}}).json()["security_group"]
    for rule in group["security_group_rules"]:
        tool.call("DELETE", f"{NETWORK}/security-group-rules/{rule['id']}", 204)
    rule = {"security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp",
            "port_range_min": 80, "port_range_max": 80, "remote_ip_prefix": "0.0.0.0/0"}
    rule = tool.call("POST", f"{NETWORK}/security-group-rules", 201, {"security_group_rule": rule}).json()
    tool.get(f"{NETWORK}/security-group-rules/{rule['security_group_rule']['id']}")
    # openstack_compute_keypair_v2
    key = tool.call("POST", f"{COMPUTE}/os-keypairs", 200, {"keypair": {"name": "deploy"}}).json()["keypair"]
    assert key["private_key"].startswith("-----BEGIN")
    assert tool.get(f"{COMPUTE}/os-keypairs/deploy")["keypair"]["fingerprint"] == key["fingerprint"]
    # openstack_compute_instance_v2: names of flavor and image are looked up first.
    flavors = tool.get(f"{COMPUTE}/flavors/detail?is_public=None")["flavors"]
    flavor, larger = (next(f["id"] for f in flavors if f["name"] == name) for name in ("m1.nano", "m1.micro"))
    assert tool.get(f"{IMAGE}/images?name=blank")["images"][0]["id"] == blank[0]
    body = {"name": "web-1", "imageRef": blank[0], "flavorRef": flavor, "key_name": "deploy", "config_drive": True,
            "networks": [{"uuid": network}], "security_groups": [{"name": "web"}], "metadata": {"role": "web"},
            "user_data": "I2Nsb3VkLWNvbmZpZwo="}
    server = tool.call("POST", f"{COMPUTE}/servers", 202, {"server": body}).json()["server"]
    assert server.keys() >= {"id", "adminPass", "links"}
    path = f"{COMPUTE}/servers/{server['id']}"
    shown = tool.wait(path, "server", "ACTIVE")
    assert shown["key_name"] == "deploy" and shown["metadata"] == {"role": "web"} and shown["flavor"]["id"] == flavor
    assert [g["name"] for g in shown["security_groups"]] == ["web"]
    (address,) = shown["addresses"]["site"]
    assert address["OS-EXT-IPS:type"] == "fixed" and address["OS-EXT-IPS-MAC:mac_addr"]
    (port,) = tool.get(f"{NETWORK}/ports?device_id={server['id']}&network_id={network}")["ports"]
    assert tool.get(f"{path}/os-interface")["interfaceAttachments"][0]["port_id"] == port["id"]
    # openstack_networking_floatingip_v2 and _associate_v2
    floating = {"floating_network_id": outside}
    floating = tool.call("POST", f"{NETWORK}/floatingips", 201, {"floatingip": floating}).json()["floatingip"]
    tool.call("PUT", f"{NETWORK}/floatingips/{floating['id']}", 200, {"floatingip": {"port_id": port["id"]}})
    tool.wait(f"{NETWORK}/floatingips/{floating['id']}", "floatingip", "ACTIVE")
    wait_until("the server shows the floating address", lambda: len(tool.get(path)["server"]["addresses"]["site"]) == 2)
    # A second plan: another name, other metadata, another group, another size.
    tool.call("PUT", path, 200, {"server": {"name": "web-one"}})
    tool.call("DELETE", f"{path}/metadata/role", 204)
    tool.call("POST", f"{path}/metadata", 200, {"metadata": {"tier": "front"}})
    tool.call("POST", f"{path}/action", 202, {"addSecurityGroup": {"name": "default"}})
    tool.call("POST", f"{path}/action", 202, {"removeSecurityGroup": {"name": "web"}})
    tool.call("POST", f"{path}/action", 202, {"resize": {"flavorRef": larger}})
    tool.wait(path, "server", "VERIFY_RESIZE")
    tool.call("POST", f"{path}/action", 204, {"confirmResize": None})
    shown = tool.wait(path, "server", "ACTIVE")
    assert (shown["name"], shown["metadata"], shown["flavor"]["id"]) == ("web-one", {"tier": "front"}, larger)
    # openstack_compute_interface_attach_v2
    attached = tool.call("POST", f"{path}/os-interface", 200, {"interfaceAttachment": {"net_id": network}}).json()
    attached = attached["interfaceAttachment"]["port_id"]
    tool.get(f"{path}/os-interface/{attached}")
    tool.call("DELETE", f"{path}/os-interface/{attached}", 202)
    tool.wait_gone(f"{path}/os-interface/{attached}")
    # Destroy: what is in use is refused, and tried again by the provider.
    tool.call("DELETE", f"{NETWORK}/networks/{network}", 409)
    tool.call("PUT", f"{NETWORK}/floatingips/{floating['id']}", 200, {"floatingip": {"port_id": None}})
    tool.call("DELETE", f"{NETWORK}/floatingips/{floating['id']}", 204)
    tool.call("DELETE", path, 204)
    tool.wait_gone(path)
    tool.call("DELETE", f"{COMPUTE}/os-keypairs/deploy", 202)
    tool.call("DELETE", f"{NETWORK}/security-groups/{group['id']}", 204)
    tool.call("PUT", f"{NETWORK}/routers/{router}/remove_router_interface", 200, {"subnet_id": subnet})
    tool.wait_gone(f"{NETWORK}/ports/{leg['port_id']}")
    tool.call("DELETE", f"{NETWORK}/routers/{router}", 204)
    tool.call("DELETE", f"{NETWORK}/subnets/{subnet}", 204)
    tool.call("DELETE", f"{NETWORK}/networks/{network}", 204)
    for what in ["networks", "subnets", "routers", "floatingips"]:
        assert not [r for r in tool.get(f"{NETWORK}/{what}")[what] if r["project_id"] == tool.project]


def test_packer_makes_an_image_and_leaves_nothing_else(tool, blank):
    name = "packer-5f3c"
    network = tool.call("POST", f"{NETWORK}/networks", 201, {"network": {"name": "build"}}).json()["network"]["id"]
    subnet = {"network_id": network, "cidr": "10.45.0.0/24", "ip_version": 4}
    tool.call("POST", f"{NETWORK}/subnets", 201, {"subnet": subnet})
    # The source image by filter, the newest first; flavor by name.
    (source,) = tool.get(f"{IMAGE}/images?name=blank&status=active&visibility=public&sort=created_at:desc&limit=1")["images"]
    flavor = next(f["id"] for f in tool.get(f"{COMPUTE}/flavors/detail")["flavors"] if f["name"] == "m1.nano")
    key = tool.call("POST", f"{COMPUTE}/os-keypairs", 200, {"keypair": {"name": name}}).json()["keypair"]
    assert key["private_key"].startswith("-----BEGIN RSA PRIVATE KEY-----"), "Packer reads no other kind"
    body = {"name": name, "imageRef": source["id"], "flavorRef": flavor, "key_name": name, "networks": [{"uuid": network}]}
    server = tool.call("POST", f"{COMPUTE}/servers", 202, {"server": body}).json()["server"]["id"]
    path = f"{COMPUTE}/servers/{server}"
    tool.wait(path, "server", "ACTIVE")
    # What it does over ssh is no request. Then it stops the server and takes the image.
    tool.call("POST", f"{path}/action", 202, {"os-stop": None})
    tool.wait(path, "server", "SHUTOFF")
    answer = tool.call("POST", f"{path}/action", 202, {"createImage": {"name": "golden", "metadata": {"build": "7"}}})
    image = answer.headers["Location"].rsplit("/", 1)[1]
    shown = tool.wait(f"{IMAGE}/images/{image}", None, "active")
    assert (shown["name"], shown["build"], shown["visibility"]) == ("golden", "7", "private")
    patch = [{"op": "replace", "path": "/min_disk", "value": 1}]
    headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    tool.call("PATCH", f"{IMAGE}/images/{image}", 200, patch, headers=headers)
    tool.call("PUT", f"{IMAGE}/images/{image}/tags/golden", 204)
    tool.call("DELETE", path, 204)
    tool.wait_gone(path)
    tool.call("DELETE", f"{COMPUTE}/os-keypairs/{name}", 202)
    assert tool.get(f"{COMPUTE}/servers")["servers"] == [] and tool.get(f"{COMPUTE}/os-keypairs")["keypairs"] == []
    # The image boots.
    again = {"name": "from-golden", "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network}]}
    again = tool.call("POST", f"{COMPUTE}/servers", 202, {"server": again}).json()["server"]["id"]
    tool.wait(f"{COMPUTE}/servers/{again}", "server", "ACTIVE")
    tool.call("DELETE", f"{COMPUTE}/servers/{again}", 204)
    tool.wait_gone(f"{COMPUTE}/servers/{again}")
