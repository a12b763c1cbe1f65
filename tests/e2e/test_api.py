"""What clients meet: versions, errors, limits, isolation, paging. On simulated hosts."""

import json
import threading

import pytest
import requests

from cloud import NOTHING, rows, wait_until

SERVERS = "/compute/v2.1/servers"


@pytest.fixture(scope="module")
def tenants(sim):
    """Two projects with a member each, and a reader in the first."""
    roles = {r["name"]: r["id"] for r in sim.get("/identity/v3/roles")["roles"]}
    made = {}
    for project, user, role in [("red", "ruby", "member"), ("blue", "bert", "member"), ("red", "rita", "reader")]:
        found = sim.get(f"/identity/v3/projects?name={project}")["projects"]
        pid = found[0]["id"] if found else sim.post("/identity/v3/projects", {"project": {"name": project}})["project"]["id"]
        uid = sim.post("/identity/v3/users", {"user": {"name": user, "password": "s3cret"}})["user"]["id"]
        path = f"/identity/v3/projects/{pid}/users/{uid}/roles/{roles[role]}"
        assert sim.request("PUT", path).status_code == 204
        made[user] = sim.login(user, "s3cret", project)
        made[project] = pid
    return made


def test_services_are_found_through_the_catalog(sim):
    answer = sim.request("GET", "/identity/v3/auth/catalog")
    types = {s["type"]: s["endpoints"][0]["url"] for s in answer.json()["catalog"]}
    assert set(types) == {"identity", "compute", "image", "network", "placement"}
    for kind in ("identity", "compute", "image", "network", "placement"):
        status = requests.get(types[kind], timeout=10).status_code
        assert status in (200, 300), f"{kind}: {status}"


@pytest.mark.parametrize("version, status, spoken", [
    (None, 200, "2.1"), ("compute 2.53", 200, "2.53"), ("compute latest", 200, "2.100"), ("compute 2.101", 406, "2.1"),
    ("compute two", 400, "2.1"), ("volume 3.1", 200, "2.1"),
])
def test_microversions_are_negotiated(sim, version, status, spoken):
    headers = {"OpenStack-API-Version": version} if version else {}
    answer = sim.request("GET", "/compute/v2.1/flavors", headers=headers)
    assert answer.status_code == status
    assert answer.headers["OpenStack-API-Version"] == f"compute {spoken}"
    assert answer.headers["X-OpenStack-Nova-API-Version"] == spoken


def test_fields_appear_exactly_from_their_version(sim, blank):
    server = sim.create("versions", *blank[:1])
    sim.wait_status(server, "ACTIVE")
    came = {"locked": 9, "description": 19, "tags": 26, "locked_reason": 73, "host_status": 16,
            "OS-EXT-SRV-ATTR:reservation_id": 3, "trusted_image_certificates": 63, "server_groups": 71,
            "pinned_availability_zone": 96}
    for field, version in came.items():
        older = sim.get(f"{SERVERS}/{server}", version=f"2.{version - 1}")["server"]
        newer = sim.get(f"{SERVERS}/{server}", version=f"2.{version}")["server"]
        assert field not in older and field in newer, field
    flavor = lambda version: sim.get(f"{SERVERS}/{server}", version=version)["server"]["flavor"]
    assert "id" in flavor("2.46") and "original_name" in flavor("2.47")
    sim.delete(server)


def settled_seq(sim):
    """The last commit, once what earlier tests began has come to its end."""
    seen = []
    def check():
        seen.append(sim.get("/healthz")["seq"])
        return seen[-1] if len(seen) > 3 and len(set(seen[-4:])) == 1 else None
    return wait_until("the cloud is quiet", check)


@pytest.mark.parametrize("what, body, status", [
    ("no name", {"server": {"imageRef": "IMAGE", "flavorRef": "42"}}, 400),
    ("unknown field", {"server": {"name": "a", "imageRef": "IMAGE", "flavorRef": "42", "colour": "red"}}, 400),
    ("ill-typed field", {"server": {"name": 1, "imageRef": "IMAGE", "flavorRef": "42"}}, 400),
    ("field of a later version", {"server": {"name": "a", "imageRef": "IMAGE", "flavorRef": "42", "description": "x"}}, 400),
    ("unknown image", {"server": {"name": "a", "imageRef": NOTHING, "flavorRef": "42"}}, 400),
    ("unknown flavor", {"server": {"name": "a", "imageRef": "IMAGE", "flavorRef": "nope"}}, 400),
    ("unknown key", {"server": {"name": "a", "imageRef": "IMAGE", "flavorRef": "42", "key_name": "nope"}}, 400),
    ("unknown network", {"server": {"name": "a", "imageRef": "IMAGE", "flavorRef": "42",
                                    "networks": [{"uuid": NOTHING}]}}, 400),
    ("unknown zone", {"server": {"name": "a", "imageRef": "IMAGE", "flavorRef": "42", "availability_zone": "moon"}}, 400),
    ("min above max", {"server": {"name": "a", "imageRef": "IMAGE", "flavorRef": "42", "min_count": 3, "max_count": 2}}, 400),
    ("bad user data", {"server": {"name": "a", "imageRef": "IMAGE", "flavorRef": "42", "user_data": "%%%"}}, 400),
    ("name of blanks", {"server": {"name": "   ", "imageRef": "IMAGE", "flavorRef": "42"}}, 400),
    ("a list", [], 400),
    ("nothing", None, 400),
])
def test_bad_requests_are_refused_and_change_nothing(sim, blank, what, body, status):
    before = settled_seq(sim)
    text = json.dumps(body).replace("IMAGE", blank[0])
    answer = sim.request("POST", SERVERS, data=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, f"{what}: {answer.status_code} {answer.text}"
    assert answer.json()["badRequest"]["code"] == status
    assert answer.json()["badRequest"]["message"]
    assert [s for s in sim.get(SERVERS)["servers"] if s["name"] in ("a", "   ")] == [], what
    # Heartbeats are not journalled, so a quiet cloud's last commit stands still.
    assert sim.get("/healthz")["seq"] == before, what


@pytest.mark.parametrize("method, path, kwargs, status", [
    ("GET", SERVERS, {"headers": {"X-Auth-Token": "nonsense"}}, 401),
    ("GET", "/network/v2.0/networks", {"headers": {"X-Auth-Token": ""}}, 401),
    ("GET", f"{SERVERS}/{NOTHING}", {}, 404),
    ("GET", f"{SERVERS}/no-uuid", {}, 404),
    ("GET", "/compute/v2.1/nothing", {}, 404),
    ("DELETE", "/compute/v2.1/flavors", {}, 405),
    ("POST", SERVERS, {"data": "x" * 200_000, "headers": {"Content-Type": "application/json"}}, 413),
    ("POST", SERVERS, {"data": "<a/>", "headers": {"Content-Type": "application/xml"}}, 415),
    ("POST", SERVERS, {"data": "{", "headers": {"Content-Type": "application/json"}}, 400),
    ("POST", SERVERS, {"data": "[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400),
    ("POST", SERVERS, {"data": b"\xff\xfe", "headers": {"Content-Type": "application/json"}}, 400),
    ("GET", "/identity/v3/projects/nothing", {}, 404),
    ("GET", f"/image/v2/images/{NOTHING}", {}, 404),
    ("GET", f"/network/v2.0/ports/{NOTHING}", {}, 404),
    ("GET", f"/placement/resource_providers/{NOTHING}", {}, 404),
    ("GET", f"{SERVERS}?limit=minus", {}, 400),
    ("GET", f"{SERVERS}?marker={NOTHING}", {}, 400),
])
def test_refusals_have_the_status_and_the_words_of_their_service(sim, method, path, kwargs, status):
    answer = sim.request(method, path, **kwargs)
    assert answer.status_code == status, answer.text
    body = answer.json()
    key = {"compute": None, "identity": "error", "network": "NeutronError", "placement": "errors", "image": "code"}
    service = path.split("/")[1]
    if status == 401:
        # Judged in front of every service by the same program, keystonemiddleware.
        assert body == {"error": {"code": 401, "title": "Unauthorized", "message": body["error"]["message"]}}
    elif service == "compute":
        (inner,) = body.values()
        assert inner["code"] == status and inner["message"]
    else:
        assert key[service] in body, body
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    if status == 401:
        assert "Keystone uri" in answer.headers["WWW-Authenticate"]


def test_tenants_see_and_touch_nothing_of_each_other(sim, blank, tenants):
    image, _ = blank
    ruby, bert, rita = tenants["ruby"], tenants["bert"], tenants["rita"]
    net = sim.post("/network/v2.0/networks", {"network": {"name": "red-net"}}, token=ruby)["network"]["id"]
    sim.post("/network/v2.0/subnets", {"subnet": {"network_id": net, "cidr": "10.9.0.0/24", "ip_version": 4}}, token=ruby)
    body = {"server": {"name": "red", "imageRef": image, "flavorRef": "42", "networks": [{"uuid": net}]}}
    server = sim.post(SERVERS, body, token=ruby, version="2.79")["server"]["id"]
    port = sim.get("/network/v2.0/ports", token=ruby)["ports"][0]["id"]
    group = sim.get("/network/v2.0/security-groups", token=ruby)["security_groups"][0]["id"]

    for path in (f"{SERVERS}/{server}", f"/network/v2.0/networks/{net}", f"/network/v2.0/ports/{port}",
                 f"/network/v2.0/security-groups/{group}", f"{SERVERS}/{server}/os-instance-actions"):
        assert sim.request("GET", path, token=bert).status_code == 404, path
        assert sim.request("GET", path, token=ruby).status_code == 200, path
        assert sim.request("GET", path, token=rita).status_code == 200, path
    for path in (f"{SERVERS}/{server}", f"/network/v2.0/networks/{net}", f"/network/v2.0/ports/{port}"):
        assert sim.request("DELETE", path, token=bert).status_code == 404, path
        assert sim.request("DELETE", path, token=rita).status_code in (403, 409), path
    theirs = {"server": {"name": "x", "imageRef": image, "flavorRef": "42", "networks": [{"uuid": net}]}}
    assert sim.request("POST", SERVERS, json=theirs, token=bert).status_code == 400
    with_port = {"server": {"name": "x", "imageRef": image, "flavorRef": "42", "networks": [{"port": port}]}}
    assert sim.request("POST", SERVERS, json=with_port, token=bert).status_code == 400
    for listing in (SERVERS, "/network/v2.0/networks", "/network/v2.0/ports", "/network/v2.0/subnets"):
        assert server not in sim.request("GET", listing, token=bert).text
        assert net not in sim.request("GET", listing, token=bert).text
    assert sim.request("GET", f"{SERVERS}?all_tenants=1", token=bert).status_code == 403
    for path in ("/compute/v2.1/os-hypervisors", "/compute/v2.1/os-services", "/identity/v3/users",
                 "/operator/v1/hosts", "/placement/resource_providers"):
        assert sim.request("GET", path, token=bert).status_code == 403, path
    # What only operators may know is not in a tenant's view.
    view = sim.get(f"{SERVERS}/{server}", token=ruby, version="2.90")["server"]
    assert "OS-EXT-SRV-ATTR:host" not in view and "host_status" not in view
    assert "sim-" not in json.dumps(view)
    sim.delete(server)


def test_a_revoked_or_outdated_token_is_refused(sim, tenants):
    token = sim.login("bert", "s3cret", "blue")
    assert sim.request("GET", SERVERS, token=token).status_code == 200
    assert sim.request("DELETE", "/identity/v3/auth/tokens", token=token,
                       headers={"X-Auth-Token": token, "X-Subject-Token": token}).status_code == 204
    assert sim.request("GET", SERVERS, token=token).status_code == 401
    user = sim.post("/identity/v3/users", {"user": {"name": "carl", "password": "one"}})["user"]["id"]
    member = [r["id"] for r in sim.get("/identity/v3/roles")["roles"] if r["name"] == "member"][0]
    sim.request("PUT", f"/identity/v3/projects/{tenants['blue']}/users/{user}/roles/{member}")
    token = sim.login("carl", "one", "blue")
    assert sim.request("PATCH", f"/identity/v3/users/{user}", json={"user": {"password": "two"}}).status_code == 200
    assert sim.request("GET", SERVERS, token=token).status_code == 401, "the password changed since"
    token = sim.login("carl", "two", "blue")
    assert sim.request("DELETE", f"/identity/v3/users/{user}").status_code == 204
    assert sim.request("GET", SERVERS, token=token).status_code == 401


def test_wrong_passwords_and_unknown_users_get_the_same_answer(sim):
    def attempt(user, password):
        auth = {"auth": {"identity": {"methods": ["password"], "password": {
            "user": {"name": user, "domain": {"id": "default"}, "password": password}}}}}
        return requests.post(f"{sim.url}/identity/v3/auth/tokens", json=auth, timeout=30)
    wrong, unknown = attempt("admin", "wrong"), attempt("nobody", "wrong")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


def test_no_valid_host_says_counts_to_the_owner_and_hosts_to_the_operator(sim, blank, tenants):
    flavor = sim.post("/compute/v2.1/flavors", {"flavor": {"name": "huge", "ram": 1 << 30, "vcpus": 1, "disk": 1}})
    project = tenants["red"]
    sim.request("PUT", f"/compute/v2.1/os-quota-sets/{project}", json={"quota_set": {"ram": -1}})
    body = {"server": {"name": "too-big", "imageRef": blank[0], "flavorRef": flavor["flavor"]["id"], "networks": "none"}}
    server = sim.post(SERVERS, body, token=tenants["ruby"], version="2.79")["server"]["id"]
    view = sim.get(f"{SERVERS}/{server}", token=tenants["ruby"])["server"]
    assert view["status"] == "ERROR"
    assert "Of 20 hosts: 20 refused by MEMORY_MB" in view["fault"]["message"]
    assert "sim-" not in view["fault"]["message"] and "details" not in view["fault"]
    explained = sim.lenticular("server", "explain", "too-big")
    assert "MEMORY_MB refused 20." in explained
    hosts = {host: said for host, *said in rows(explained)[1:]}
    assert len(hosts) == 20 and all(word.startswith("refused by MEMORY_MB: ") for said in hosts.values() for word in said)
    assert "sim-0007" in hosts
    sim.delete(server)
    sim.wait_gone(server)


def test_quotas_hold_against_parallel_requests(sim, blank, tenants):
    project = tenants["blue"]
    assert sim.request("PUT", f"/compute/v2.1/os-quota-sets/{project}", json={"quota_set": {"instances": 5}}).status_code == 200
    body = {"server": {"name": "q", "imageRef": blank[0], "flavorRef": "42", "networks": "none"}}
    codes = []
    def one():
        codes.append(sim.request("POST", SERVERS, json=body, token=tenants["bert"], version="2.79").status_code)
    threads = [threading.Thread(target=one) for _ in range(20)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(codes) == [202] * 5 + [403] * 15
    assert sim.get("/compute/v2.1/limits", token=tenants["bert"])["limits"]["absolute"]["totalInstancesUsed"] == 5
    for s in sim.get(SERVERS, token=tenants["bert"])["servers"]:
        sim.delete(s["id"])


def test_listings_are_paged_sorted_and_filtered(sim, blank):
    body = {"server": {"name": "page", "imageRef": blank[0], "flavorRef": "42", "networks": "none", "min_count": 25}}
    sim.post(SERVERS, body, version="2.79")
    seen, path = [], f"{SERVERS}?limit=10&name=page"
    while path:
        answer = sim.get(path)
        seen += [s["name"] for s in answer["servers"]]
        links = [l["href"] for l in answer.get("servers_links", [])]
        path = links[0].replace(sim.url, "") if links else None
    assert len(seen) == len(set(seen)) == 25
    by_name = sim.get(f"{SERVERS}?name=page&sort_key=display_name&sort_dir=asc")["servers"]
    assert [s["name"] for s in by_name] == sorted(seen)
    wait_until("all run", lambda: len(sim.get(f"{SERVERS}?name=page&status=ACTIVE")["servers"]) == 25)
    host = sim.get(f"{SERVERS}/detail?name=page-1$", version="2.79")["servers"][0]["OS-EXT-SRV-ATTR:host"]
    on_host = sim.get(f"{SERVERS}/detail?host={host}&all_tenants=1", version="2.79")["servers"]
    assert on_host and all(s["OS-EXT-SRV-ATTR:host"] == host for s in on_host)
    for s in by_name:
        sim.delete(s["id"])
    wait_until("all are gone", lambda: not sim.get(f"{SERVERS}?name=page")["servers"])
    gone = sim.get(f"{SERVERS}?deleted=True&name=page&all_tenants=1")["servers"]
    assert len(gone) == 25, "what was deleted can still be listed by an operator"


def test_images_are_accepted_only_as_what_they_are(sim):
    qcow2 = bytearray(65536)
    qcow2[0:8] = b"QFI\xfb\0\0\0\x03"
    qcow2[20:24] = (16).to_bytes(4, "big")
    qcow2[24:32] = (1 << 20).to_bytes(8, "big")
    qcow2[100:104] = (104).to_bytes(4, "big")
    backing = bytearray(qcow2)
    backing[8:16] = (512).to_bytes(8, "big")
    backing[16:20] = (11).to_bytes(4, "big")
    backing[512:523] = b"/etc/shadow"
    for content, fmt, status in [(qcow2, "qcow2", 204), (backing, "qcow2", 400), (qcow2, "raw", 400), (b"x" * 512, "qcow2", 400),
                                 (b"# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/shadow\" 0\n", "vmdk", 400)]:
        image = sim.post("/image/v2/images", {"name": "i", "disk_format": fmt, "container_format": "bare"})["id"]
        answer = sim.request("PUT", f"/image/v2/images/{image}/file", data=bytes(content),
                             headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code == status, answer.text
        assert sim.get(f"/image/v2/images/{image}")["status"] == ("active" if status == 204 else "queued")
        if status == 204:
            import hashlib
            shown = sim.get(f"/image/v2/images/{image}")
            assert shown["os_hash_algo"] == "sha512" and shown["os_hash_value"] == hashlib.sha512(content).hexdigest()
            assert sim.request("GET", f"/image/v2/images/{image}/file").content == bytes(content)
        assert sim.request("DELETE", f"/image/v2/images/{image}").status_code == 204


def test_placement_says_what_is_true(sim, blank):
    server = sim.create("placed", blank[0])
    host = sim.wait_status(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"]
    (provider,) = sim.get(f"/placement/resource_providers?name={host}")["resource_providers"]
    allocations = sim.get(f"/placement/allocations/{server}")["allocations"]
    assert allocations[provider["uuid"]]["resources"] == {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}
    held = sim.get(f"/placement/resource_providers/{provider['uuid']}/allocations")["allocations"]
    used = sim.get(f"/placement/resource_providers/{provider['uuid']}/usages")["usages"]
    assert used["MEMORY_MB"] == sum(a["resources"]["MEMORY_MB"] for a in held.values())
    sim.delete(server)
    sim.wait_gone(server)
    assert sim.get(f"/placement/allocations/{server}")["allocations"] == {}


def test_a_disabled_host_takes_no_servers(sim, blank):
    sim.openstack("compute", "service", "set", "--disable", "--disable-reason", "patching", "sim-0003", "nova-compute")
    try:
        body = {"server": {"name": "elsewhere", "imageRef": blank[0], "flavorRef": "42", "networks": "none", "min_count": 40}}
        sim.post(SERVERS, body, version="2.79")
        hosts = {s["OS-EXT-SRV-ATTR:host"] for s in sim.get(f"{SERVERS}/detail?name=elsewhere", version="2.79")["servers"]}
        assert len(hosts) == 19 and "sim-0003" not in hosts
        there = {"server": {"name": "forced", "imageRef": blank[0], "flavorRef": "42", "networks": "none",
                            "availability_zone": "nova:sim-0003"}}
        forced = sim.post(SERVERS, there, version="2.79")["server"]["id"]
        assert sim.server(forced)["status"] == "ERROR"
        assert "patching" in sim.lenticular("server", "explain", forced)
    finally:
        sim.openstack("compute", "service", "set", "--enable", "sim-0003", "nova-compute")
    for name in ("elsewhere", "forced"):
        for s in sim.get(f"{SERVERS}?name={name}")["servers"]:
            sim.delete(s["id"])


def test_metrics_and_the_journal_name_the_request(sim, blank):
    answer = sim.request("POST", SERVERS, version="2.79",
                         json={"server": {"name": "traced", "imageRef": blank[0], "flavorRef": "42", "networks": "none"}})
    server, request_id = answer.json()["server"]["id"], answer.headers["x-openstack-request-id"]
    journal = lambda: json.loads(sim.lenticular("server", "journal", server, "--json"))
    created = journal()[0]
    assert created["request_id"] == request_id and created["by"] == "admin"
    sim.wait_status(server, "ACTIVE")
    shown = rows(sim.lenticular("server", "journal", server))
    assert shown[0] == ["commit", "at", "by", "what for", "what changed"]
    assert shown[1][2:4] == ["admin", "server create"] and "status BUILD; host sim-" in shown[1][4]
    assert any(by.startswith("host sim-") and "status BUILD → ACTIVE" in changed for *_, by, _, changed in shown[1:])
    # The client's own id is kept beside ours, never in place of it.
    given = "req-01234567-89ab-cdef-0123-456789abcdef"
    answer = sim.request("PUT", f"{SERVERS}/{server}", json={"server": {"name": "traced"}},
                         headers={"X-OpenStack-Request-ID": given})
    own = answer.headers["x-openstack-request-id"]
    assert answer.status_code == 200 and own != given
    assert f"{own} {given}" in [line["request_id"] for line in journal()]
    actions = sim.get(f"{SERVERS}/{server}/os-instance-actions")["instanceActions"]
    assert [a["request_id"] for a in actions] == [request_id]
    metrics = requests.get(f"{sim.url}/metrics", timeout=10).text
    assert "lenticular_http_requests_total" in metrics and "lenticular_store_commits_total" in metrics
    sim.delete(server)


def test_the_sdk_walks_through_everything(sim, blank, monkeypatch):
    import openstack
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(sim.data / "clouds.yaml"))
    conn = openstack.connect(cloud="lenticular")
    network = conn.network.create_network(name="sdk")
    subnet = conn.network.create_subnet(network_id=network.id, ip_version=6, cidr="fd00:1::/64",
                                        ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
    port = conn.network.create_port(network_id=network.id)
    assert port.fixed_ips[0]["ip_address"].startswith("fd00:1::f816:3eff:fe")
    server = conn.compute.create_server(name="sdk", image_id=blank[0], flavor_id="42", networks=[{"port": port.id}])
    server = conn.compute.wait_for_server(server, wait=60)
    assert server.addresses["sdk"][0]["addr"] == port.fixed_ips[0]["ip_address"]
    conn.compute.set_server_metadata(server, colour="green")
    assert conn.compute.get_server(server.id).metadata == {"colour": "green"}
    conn.compute.add_tag_to_server(server, "a-tag")
    conn.compute.lock_server(server, locked_reason="mine")
    assert conn.compute.get_server(server.id).is_locked
    conn.compute.unlock_server(server)
    group = conn.network.create_security_group(name="sdk")
    rule = conn.network.create_security_group_rule(security_group_id=group.id, direction="ingress", protocol="tcp",
                                                   port_range_min=22, port_range_max=22, ether_type="IPv4")
    with pytest.raises(openstack.exceptions.ConflictException):
        conn.network.create_security_group_rule(security_group_id=group.id, direction="ingress", protocol="tcp",
                                                port_range_min=22, port_range_max=22, ether_type="IPv4")
    conn.network.delete_security_group_rule(rule)
    conn.network.delete_security_group(group)
    with pytest.raises(openstack.exceptions.ConflictException):
        conn.network.delete_network(network.id)
    conn.compute.delete_server(server)
    conn.compute.wait_for_delete(server, wait=60)
    assert conn.network.get_port(port.id).device_id == "", "a port that was brought along stays and is free"
    conn.network.delete_port(port)
    conn.network.delete_subnet(subnet)
    conn.network.delete_network(network)
    images = list(conn.image.images(name="blank"))
    assert [i.id for i in images] == [blank[0]]


def test_a_shared_network_is_used_on_its_owners_terms(sim, blank, tenants):
    ruby, bert = tenants["ruby"], tenants["bert"]
    net = sim.post("/network/v2.0/networks", {"network": {"name": "common"}}, token=ruby)["network"]["id"]
    sim.post("/network/v2.0/subnets", {"subnet": {"network_id": net, "cidr": "10.8.0.0/24", "ip_version": 4}}, token=ruby)
    assert sim.request("PUT", f"/network/v2.0/networks/{net}", json={"network": {"shared": True}}).status_code == 200
    for choice in ({"device_owner": "network:dhcp"}, {"port_security_enabled": False, "security_groups": []},
                   {"allowed_address_pairs": [{"ip_address": "0.0.0.0/0"}]}, {"mac_address": "fa:16:3e:00:00:01"},
                   {"fixed_ips": [{"ip_address": "10.8.0.77"}]}):
        port = {"port": {"network_id": net, **choice}}
        assert sim.request("POST", "/network/v2.0/ports", json=port, token=bert).status_code == 403, choice
    port = sim.post("/network/v2.0/ports", {"port": {"network_id": net}}, token=bert)["port"]
    for choice in ({"fixed_ips": [{"ip_address": "10.8.0.1"}]}, {"port_security_enabled": False, "security_groups": []},
                   {"device_owner": "network:dhcp"}, {"mac_address": "fa:16:3e:00:00:01"}):
        change = {"port": choice}
        assert sim.request("PUT", f"/network/v2.0/ports/{port['id']}", json=change, token=bert).status_code == 403, choice
    body = {"server": {"name": "x", "imageRef": blank[0], "flavorRef": "42"}}
    chosen = {**body["server"], "networks": [{"uuid": net, "fixed_ip": "10.8.0.99"}]}
    assert sim.request("POST", SERVERS, json={"server": chosen}, token=bert).status_code == 403
    # The network's owner sees the other project's port, and still may not take it.
    taken = {**body["server"], "networks": [{"port": port["id"]}]}
    assert sim.request("GET", f"/network/v2.0/ports/{port['id']}", token=ruby).status_code == 200
    assert sim.request("POST", SERVERS, json={"server": taken}, token=ruby).status_code == 400
    assert sim.get(f"/network/v2.0/ports/{port['id']}", token=bert)["port"]["device_id"] == ""
    assert sim.request("DELETE", f"/network/v2.0/ports/{port['id']}", token=bert).status_code == 204
    # Others would find it among the networks that they may use.
    assert sim.request("DELETE", f"/network/v2.0/networks/{net}", token=ruby).status_code == 204


def test_nobody_can_lock_everybody_out(sim):
    roles = {r["name"]: r["id"] for r in sim.get("/identity/v3/roles")["roles"]}
    assert sim.request("DELETE", f"/identity/v3/roles/{roles['admin']}").status_code == 403
    assert sim.request("PATCH", f"/identity/v3/roles/{roles['member']}", json={"role": {"name": "x"}}).status_code == 403
    assert sim.request("PATCH", "/identity/v3/domains/default", json={"domain": {"enabled": False}}).status_code == 403


def test_a_disabled_users_tokens_stay_void(sim, tenants):
    user = [u for u in sim.get("/identity/v3/users?name=bert")["users"]][0]["id"]
    token = sim.login("bert", "s3cret", "blue")
    for enabled, status in ((False, 401), (True, 401)):
        change = {"user": {"enabled": enabled}}
        assert sim.request("PATCH", f"/identity/v3/users/{user}", json=change).status_code == 200
        assert sim.request("GET", SERVERS, token=token).status_code == status
    assert sim.request("GET", SERVERS, token=sim.login("bert", "s3cret", "blue")).status_code == 200


def test_every_named_method_must_prove_the_user(sim):
    auth = {"auth": {"identity": {"methods": ["password", "token"], "token": {"id": "bad"}, "password": {
        "user": {"name": "admin", "domain": {"id": "default"}, "password": sim.password()}}}}}
    answer = requests.post(f"{sim.url}/identity/v3/auth/tokens", json=auth, timeout=30)
    assert answer.status_code == 404, "Keystone does not find a token that is none"


def test_a_malformed_path_and_an_idle_crowd_are_borne(sim):
    answer = sim.request("GET", f"{SERVERS}/%ff")
    assert answer.status_code == 400 and answer.json()["badRequest"]["message"]
    import socket
    crowd = [socket.create_connection(("127.0.0.1", sim.port)) for _ in range(300)]
    try:
        assert sim.get("/healthz")["status"] == "ok"
    finally:
        [s.close() for s in crowd]


def test_network_resources_have_tags(sim):
    sim.openstack("network", "create", "--tag", "red", "--tag", "blue", "tagged")
    (net,) = sim.get("/network/v2.0/networks?tags=red,blue")["networks"]
    assert net["tags"] == ["blue", "red"] and net["name"] == "tagged"
    tags = f"/network/v2.0/networks/{net['id']}/tags"
    assert sim.request("PUT", f"{tags}/green").status_code == 201
    assert sim.request("GET", f"{tags}/green").status_code == 204
    assert sim.request("DELETE", f"{tags}/green").status_code == 204
    assert sim.request("DELETE", f"{tags}/green").status_code == 404
    assert sim.request("PUT", tags, json={"tags": ["x" * 300]}).status_code == 400
    assert sim.get("/network/v2.0/networks?not-tags-any=red&name=tagged")["networks"] == []
    sim.openstack("network", "delete", "tagged")


def refused(sim, method, path, body, status, **kwargs):
    """Sends what must be refused, and gives the words of the refusal."""
    answer = sim.request(method, path, json=body, **kwargs)
    assert answer.status_code == status, f"{method} {path} {body}: {answer.status_code} {answer.text}"
    return answer.text


def test_projects_and_users_have_names_and_places_that_hold(sim):
    projects = "/identity/v3/projects"
    top = sim.post(projects, {"project": {"name": "edge-top"}})["project"]
    sub = sim.post(projects, {"project": {"name": "edge-sub", "parent_id": top["id"], "tags": ["a"]}})["project"]
    for parent in ("default", None, sub["id"]):
        refused(sim, "PATCH", f"{projects}/{sub['id']}", {"project": {"parent_id": parent}}, 403)
    same = {"project": {"parent_id": top["id"], "is_domain": False, "description": "d"}}
    assert sim.request("PATCH", f"{projects}/{sub['id']}", json=same).json()["project"]["description"] == "d"
    refused(sim, "PATCH", f"{projects}/{sub['id']}", {"project": {"is_domain": True}}, 400)
    for tags in (["a/b"], ["a,b"], [""], ["a", "a"]):
        refused(sim, "PATCH", f"{projects}/{sub['id']}", {"project": {"tags": tags}}, 400)
        refused(sim, "POST", projects, {"project": {"name": "edge-tags", "tags": tags}}, 400)
    for name in ("a\0b", "a\nb", "\x1b[2J"):
        refused(sim, "POST", projects, {"project": {"name": name}}, 400)
        refused(sim, "POST", "/identity/v3/users", {"user": {"name": name, "password": "s3cret"}}, 400)
    for project in (sub, top):
        assert sim.request("DELETE", f"{projects}/{project['id']}").status_code == 204


def test_compute_refuses_what_novas_schemas_refuse(sim, blank, key):
    server = sim.create("edges", blank[0])
    sim.wait_status(server, "ACTIVE")
    act = f"{SERVERS}/{server}/action"
    for action in ({"reboot": {"type": "HARD", "when": "now"}}, {"reboot": None}, {"lock": {"reason": "x"}},
                   {"lock": {"locked_reason": "x"}}, {"os-resetState": {"state": "active", "x": 1}},
                   {"os-getConsoleOutput": {"lines": 7}}):
        refused(sim, "POST", act, action, 400)
    sim.act(server, "lock", {})
    sim.act(server, "unlock")
    sim.openstack("server", "lock", "--reason", "mine", server)
    sim.openstack("server", "unlock", server)

    body = {"name": "edge", "imageRef": blank[0], "flavorRef": "42"}
    assert "key_name" in refused(sim, "POST", SERVERS, {"server": {**body, "key_name": ""}}, 400)
    ill_typed = {**body, "security_groups": [{"name": 7}]}
    assert "security_groups[0].name" in refused(sim, "POST", SERVERS, {"server": ill_typed}, 400)
    for flag, words in (("--swap", "Swap disks"), ("--ephemeral", "Ephemeral disks")):
        size = "512" if flag == "--swap" else "size=1"
        code, said = sim.openstack("server", "create", "--image", blank[0], "--flavor", "42", "--network", blank[1], flag,
                                   size, "edge", ok=False)
        assert code != 0 and words in said, said
    two = {"keypair": {"name": "edge-two", "public_key": f"{key[1]}\n{key[1]}"}}
    assert "one line" in refused(sim, "POST", "/compute/v2.1/os-keypairs", two, 400)
    sim.delete(server)


def test_servers_are_found_by_regular_expressions(sim, blank):
    names = ["edge-web-1", "edge-web-12", "edge-db-1"]
    made = [sim.create(name, blank[0], network=blank[1]) for name in names]
    found = lambda query: sorted(s["name"] for s in sim.get(SERVERS, params=query)["servers"])
    assert found({"name": "^edge-(web|db)-[0-9]$"}) == ["edge-db-1", "edge-web-1"]
    assert found({"name": "edge-web"}) == ["edge-web-1", "edge-web-12"]
    address = sim.get(f"{SERVERS}/{made[0]}/ips")["addresses"]["net"][0]["addr"]
    assert found({"name": "edge-", "ip": f"^{address}$".replace(".", "\\.")}) == ["edge-web-1"]
    assert found({"name": "edge-", "ip": r"1[0-9]\.20\."}) == sorted(names)
    for query in ({"name": "["}, {"ip": "("}, {"ip6": "*"}, {"name": "(a{100}){100}"}):
        assert sim.request("GET", SERVERS, params=query).status_code == 400, query
    for server in made:
        sim.delete(server)


def test_quotas_that_went_with_a_version_are_taken_until_then(sim, tenants):
    path = f"/compute/v2.1/os-quota-sets/{tenants['blue']}"
    cases = [("fixed_ips", 36), ("floating_ips", 36), ("security_groups", 36)]
    for name, until in cases:
        body = {"quota_set": {name: 5}}
        assert sim.request("PUT", path, json=body, version=f"2.{until - 1}").json()["quota_set"][name] == -1
        assert name in refused(sim, "PUT", path, body, 400, version=f"2.{until}")
    assert "colour" in refused(sim, "PUT", path, {"quota_set": {"colour": 1}}, 400)


def test_image_attributes_that_are_not_the_clients_are_refused(sim):
    images = "/image/v2/images"
    image = sim.post(images, {"name": "edge", "os_distro": "x"})["id"]
    patch = {"headers": {"Content-Type": "application/openstack-images-v2.1-json-patch"}}
    def change(name, status):
        ops = json.dumps([{"op": "add", "path": f"/{name}", "value": "x"}])
        answer = sim.request("PATCH", f"{images}/{image}", data=ops, **patch)
        assert answer.status_code == status, f"{name!r}: {answer.status_code} {answer.text}"
        return answer.text
    for name in ("id", "status", "size", "checksum", "direct_url", "self", "schema"):
        assert "is read-only" in change(name, 403)
    # An admin may give an image to a project.
    assert "'owner'" in change("owner", 400)
    for name in ("location", "locations", "members", "deleted", "os_glance_x"):
        assert "is reserved" in change(name, 403)
    for name in ("", "\0", "a\nb", "x" * 256):
        change(name, 400)
    for name, status in (("members", 403), ("size", 403), ("\0", 400), ("", 400)):
        refused(sim, "POST", images, {"name": "edge", name: "x"}, status)
    change("os_version", 200)
    assert sim.request("DELETE", f"{images}/{image}").status_code == 204


def test_networks_are_asked_for_in_all_the_words_neutron_takes(sim):
    v2 = "/network/v2.0"
    net = sim.post(f"{v2}/networks/", {"network": {"name": "edge-net", "mtu": "1400"}})["network"]
    assert net["mtu"] == 1400
    subnet = {"network_id": net["id"], "cidr": "10.77.0.0/24", "ip_version": "4"}
    made = sim.post(f"{v2}/subnets.json", {"subnet": subnet})["subnet"]
    assert made["ip_version"] == 4
    assert "ip_version" in refused(sim, "POST", f"{v2}/subnets", {"subnet": {**subnet, "ip_version": "four"}}, 400)
    for path in ("networks/", "networks.json", "networks.json/"):
        assert [n["id"] for n in sim.get(f"{v2}/{path}?name=edge-net")["networks"]] == [net["id"]], path
    for path in (f"networks/{net['id']}/", f"networks/{net['id']}.json"):
        assert sim.get(f"{v2}/{path}")["network"]["id"] == net["id"]
    project = net["project_id"]
    for path in ("details", "details.json"):
        assert sim.get(f"{v2}/quotas/{project}/{path}")["quota"]["network"]["used"] >= 1
    several = [{"network_id": net["id"]}, {"network_id": net["id"]}]
    ports = sim.post(f"{v2}/ports", {"ports": several})["ports"]
    assert len({p["id"] for p in ports}) == 2
    for port in ports:
        assert sim.request("DELETE", f"{v2}/ports/{port['id']}").status_code == 204

    one = {**subnet, "cidr": "10.78.0.9/32"}
    assert "DHCP" in refused(sim, "POST", f"{v2}/subnets", {"subnet": one}, 400)
    one = sim.post(f"{v2}/subnets", {"subnet": {**one, "enable_dhcp": False}})["subnet"]
    assert one["gateway_ip"] == "10.78.0.10"
    assert one["allocation_pools"] == [{"start": "10.78.0.9", "end": "10.78.0.9"}]
    assert "DHCP" in refused(sim, "PUT", f"{v2}/subnets/{one['id']}", {"subnet": {"enable_dhcp": True}}, 400)

    group = sim.post(f"{v2}/security-groups", {"security_group": {"name": "edge"}})["security_group"]["id"]
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "gre"}
    ranged = {**rule, "port_range_min": 1, "port_range_max": 2}
    assert "gre" in refused(sim, "POST", f"{v2}/security-group-rules", {"security_group_rule": ranged}, 400)
    sim.post(f"{v2}/security-group-rules", {"security_group_rule": rule})
    assert sim.request("DELETE", f"{v2}/security-groups/{group}").status_code == 204
    assert sim.request("DELETE", f"{v2}/networks/{net['id']}").status_code == 204


def test_every_version_that_is_named_is_there(sim):
    versions = requests.get(f"{sim.url}/compute/", timeout=10).json()["versions"]
    assert {v["id"]: v["status"] for v in versions} == {"v2.0": "SUPPORTED", "v2.1": "CURRENT"}
    for version in versions:
        (link,) = version["links"]
        assert requests.get(link["href"], timeout=10).json()["version"]["id"] == version["id"]
        assert "flavors" in sim.get(link["href"].replace(sim.url, "") + "flavors")
    assert requests.get(f"{sim.url}/compute/v2", timeout=10).json()["version"]["id"] == "v2.0"
    # What came with a microversion is not there, though the header asks for it.
    (flavor,) = [f for f in sim.get("/compute/v2/flavors/detail", version="2.90")["flavors"] if f["id"] == "42"]
    assert "description" not in flavor
    assert "description" in sim.get("/compute/v2.1/flavors/42", version="2.90")["flavor"]
    assert sim.request("GET", "/compute/v2/nothing").json()["itemNotFound"]["code"] == 404
    for path in ("/image/v2", "/image/v2/"):
        assert requests.get(f"{sim.url}{path}", timeout=10).json()["versions"], path
