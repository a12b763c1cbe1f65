"""What operators and older clients meet in Nova: hosts, usages, diagnostics, quota classes, and paths of before. On
simulated hosts."""

import subprocess

from cloud import NOTHING

NOVA = "/compute/v2.1"
SERVERS = f"{NOVA}/servers"


def status(sim, method, path, body=None, **more):
    return sim.request(method, path, json=body, **more).status_code


def test_hypervisors_say_since_when_they_run_and_are_found_by_name(sim):
    one = sim.get(f"{NOVA}/os-hypervisors")["hypervisors"][0]
    name = one["hypervisor_hostname"]
    assert sim.get(f"{NOVA}/os-hypervisors/{one['id']}/uptime")["hypervisor"]["uptime"].startswith("up ")
    assert status(sim, "GET", f"{NOVA}/os-hypervisors/{one['id']}/uptime", version="2.88") == 404
    assert name in {h["hypervisor_hostname"] for h in sim.get(f"{NOVA}/os-hypervisors/{name[:3]}/search")["hypervisors"]}
    assert status(sim, "GET", f"{NOVA}/os-hypervisors/nosuch/servers") == 404
    assert status(sim, "GET", f"{NOVA}/os-hypervisors/{name}/search", version="2.53") == 404
    assert sim.openstack("hypervisor", "show", name, "-f", "value", "-c", "state").strip() == "up"


def test_hosts_are_shown_and_disabled_until_their_version(sim):
    hosts = sim.get(f"{NOVA}/os-hosts")["hosts"]
    name = next(h["host_name"] for h in hosts if h["service"] == "compute")
    lines = [line["resource"] for line in sim.get(f"{NOVA}/os-hosts/{name}")["host"]]
    assert [line["project"] for line in lines][:3] == ["(total)", "(used_now)", "(used_max)"]
    answer = sim.request("PUT", f"{NOVA}/os-hosts/{name}", json={"status": "disable"})
    assert answer.json() == {"host": name, "status": "disabled"}
    services = sim.get(f"{NOVA}/os-services?host={name}")["services"]
    assert services[0]["status"] == "disabled"
    assert status(sim, "PUT", f"{NOVA}/os-hosts/{name}", {"status": "enable"}) == 200
    for bad in ({}, {"status": "on"}, {"status": None}, {"colour": "blue"}):
        assert status(sim, "PUT", f"{NOVA}/os-hosts/{name}", bad) == 400, bad
    assert status(sim, "PUT", f"{NOVA}/os-hosts/{name}", {"maintenance_mode": "enable"}) == 501
    assert status(sim, "GET", f"{NOVA}/os-hosts/{name}/reboot") == 501
    assert status(sim, "GET", f"{NOVA}/os-hosts/nowhere/reboot") == 404
    assert status(sim, "GET", f"{NOVA}/os-hosts", version="2.43") == 404


def test_usage_counts_servers_that_are_gone(sim, blank):
    server = sim.create("used", blank[0])
    sim.wait_status(server, "ACTIVE")
    sim.delete(server)
    sim.wait_gone(server)
    project = sim.get("/identity/v3/projects?name=admin")["projects"][0]["id"]
    since = "start=2020-01-01T00:00:00"
    usage = sim.get(f"{NOVA}/os-simple-tenant-usage/{project}?{since}")["tenant_usage"]
    line = next(line for line in usage["server_usages"] if line["instance_id"] == server)
    assert line["state"] == "terminated" and line["ended_at"] and line["memory_mb"] == 128
    assert usage["total_memory_mb_usage"] > 0
    every = sim.get(f"{NOVA}/os-simple-tenant-usage?{since}&detailed=1")["tenant_usages"]
    assert server in {s["instance_id"] for one in every for s in one["server_usages"]}
    page = sim.get(f"{NOVA}/os-simple-tenant-usage/{project}?{since}&limit=1", version="2.40")
    assert len(page["tenant_usage"]["server_usages"]) == 1
    for bad in ("start=soon", "start=2026-01-02T00:00:00&end=2026-01-01T00:00:00"):
        assert status(sim, "GET", f"{NOVA}/os-simple-tenant-usage/{project}?{bad}") == 400, bad
    assert sim.get(f"{NOVA}/os-simple-tenant-usage/{NOTHING}?{since}") == {"tenant_usage": {}}
    assert "RAM MB-Hours" in sim.openstack("usage", "show", "--project", "admin", "--start", "2020-01-01")


def test_diagnostics_come_from_the_servers_host(sim, blank):
    server = sim.create("measured", blank[0])
    sim.wait_status(server, "ACTIVE")
    old = sim.get(f"{SERVERS}/{server}/diagnostics")
    assert old["memory"] == 128 * 1024 and old["vda_read"] == 0
    new = sim.get(f"{SERVERS}/{server}/diagnostics", version="2.48")
    assert (new["state"], new["num_disks"], new["memory_details"]["maximum"]) == ("running", 1, 128)
    assert "running" in sim.openstack("--os-compute-api-version", "2.48", "server", "show", "--diagnostics", server)
    assert sim.get(f"{SERVERS}/{server}/topology", version="2.78") == {"nodes": [], "pagesize_kb": None}
    assert status(sim, "GET", f"{SERVERS}/{server}/topology", version="2.77") == 404
    assert sim.get(f"{SERVERS}/{server}/shares", version="2.97") == {"shares": []}
    sim.act(server, "os-stop")
    sim.wait_status(server, "SHUTOFF")
    assert status(sim, "GET", f"{SERVERS}/{server}/diagnostics") == 409
    sim.delete(server)


def test_the_default_quota_class_counts_for_projects_without_limits_of_their_own(sim):
    path = f"{NOVA}/os-quota-class-sets/default"
    before = sim.get(path, version="2.50")["quota_class_set"]
    assert before["id"] == "default" and before["server_groups"] == 10
    project = sim.post("/identity/v3/projects", {"project": {"name": "plain"}})["project"]["id"]
    try:
        assert sim.request("PUT", path, json={"quota_class_set": {"cores": 7}}).json()["quota_class_set"]["cores"] == 7
        assert sim.get(f"{NOVA}/os-quota-sets/{project}")["quota_set"]["cores"] == 7
    finally:
        assert status(sim, "PUT", path, {"quota_class_set": {"cores": before["cores"]}}) == 200
    for bad in ({"quota_class_set": {"force": True}}, {"quota_class_set": {"colour": 1}}, {"cores": 7}):
        assert status(sim, "PUT", path, bad) == 400, bad
    assert status(sim, "GET", f"{NOVA}/os-quota-class-sets/gold") == 404


def test_events_of_other_services_are_taken_and_change_nothing(sim, blank):
    server = sim.create("told", blank[0])
    sim.wait_status(server, "ACTIVE")
    path, event = f"{NOVA}/os-server-external-events", {"name": "network-changed", "server_uuid": server}
    send = lambda *events, **more: sim.request("POST", path, json={"events": events}, **more)
    answer = send(event)
    assert answer.status_code == 200 and answer.json()["events"][0]["code"] == 200
    assert send(event, {**event, "server_uuid": NOTHING}).status_code == 207
    assert send({**event, "server_uuid": NOTHING}).status_code == 404
    assert send({**event, "name": "volume-extended"}).status_code == 400
    assert send({**event, "name": "volume-extended"}, version="2.51").status_code == 404
    sim.delete(server)


def test_images_have_novas_old_paths_until_their_version(sim, blank):
    image = blank[0]
    shown = sim.get(f"{NOVA}/images/{image}")["image"]
    assert (shown["status"], shown["progress"]) == ("ACTIVE", 100)
    sim.request("PUT", f"{NOVA}/images/{image}/metadata/os_distro", json={"meta": {"os_distro": "plan9"}})
    found = sim.get(f"{NOVA}/images/detail?property-os_distro=plan9")["images"]
    assert [i["id"] for i in found] == [image]
    assert image not in [i["id"] for i in sim.get(f"{NOVA}/images?status=saving")["images"]]
    assert status(sim, "DELETE", f"{NOVA}/images/{image}/metadata/os_distro") == 204
    assert status(sim, "DELETE", f"{NOVA}/images/{image}/metadata/os_distro") == 404
    assert status(sim, "GET", f"{NOVA}/images", version="2.36") == 404
    assert status(sim, "GET", f"{NOVA}/images/{image}/metadata", version="2.39") == 404


def test_a_project_may_stand_in_the_path(sim):
    project = sim.get("/identity/v3/projects?name=admin")["projects"][0]["id"]
    assert sim.get(f"{NOVA}/{project}/flavors") == sim.get(f"{NOVA}/flavors")
    assert sim.get(f"/compute/v2/{project}/flavors") == sim.get(f"{NOVA}/flavors")
    assert status(sim, "GET", f"{NOVA}/{'f' * 32}/flavors") == 400


def test_removed_paths_are_gone(sim):
    for path in ("os-cells", "os-fixed-ips/10.0.0.1", "os-agents", f"servers/{NOTHING}/os-virtual-interfaces"):
        assert status(sim, "GET", f"{NOVA}/{path}") == 410, path
    assert status(sim, "POST", f"{NOVA}/os-networks", {}) == 410
    assert sim.get(f"{NOVA}/extensions/os-hosts")["extension"]["name"] == "Hosts"
    assert status(sim, "GET", f"{NOVA}/extensions/os-nosuch") == 404
    log = sim.get(f"{NOVA}/os-instance_usage_audit_log")["instance_usage_audit_logs"]
    assert log["num_hosts_not_run"] == log["num_hosts"]


def test_a_generated_key_is_one_that_ssh_reads(sim, tmp_path):
    private = tmp_path / "id"
    made = sim.post(f"{NOVA}/os-keypairs", {"keypair": {"name": "made"}})["keypair"]
    private.write_text(made["private_key"])
    private.chmod(0o600)
    public = made["public_key"]
    assert "private_key" not in sim.get(f"{NOVA}/os-keypairs/made")["keypair"]
    assert made["fingerprint"] in sim.openstack("keypair", "show", "made", "-f", "value", "-c", "fingerprint")
    read = subprocess.run(["ssh-keygen", "-y", "-f", private], check=True, capture_output=True, text=True).stdout
    assert private.read_text().startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert read.split()[:2] == public.split()[:2]
    windows = sim.post(f"{NOVA}/os-keypairs", {"keypair": {"name": "windows", "type": "x509"}}, version="2.2")["keypair"]
    assert windows["public_key"].startswith("-----BEGIN CERTIFICATE-----") and len(windows["fingerprint"]) == 59
    again = {"keypair": {"name": "again", "type": "x509", "public_key": windows["public_key"]}}
    assert sim.post(f"{NOVA}/os-keypairs", again, version="2.92")["keypair"]["fingerprint"] == windows["fingerprint"]
    assert status(sim, "POST", f"{NOVA}/os-keypairs", {"keypair": {"name": "none"}}, version="2.92") == 400
    for name in ("made", "windows", "again"):
        assert status(sim, "DELETE", f"{NOVA}/os-keypairs/{name}") == 202


def test_a_change_is_answered_with_the_fields_of_its_version(sim, blank):
    server = sim.create("changed", blank[0])
    sim.wait_status(server, "ACTIVE")
    change = lambda version, **fields: sim.request(
        "PUT", f"{SERVERS}/{server}", json={"server": fields}, version=version).json()["server"]
    old = change("2.74", accessIPv6="0000:0000:0000:0000:0000:babe:220.12.22.2")
    assert old["accessIPv6"] == "::babe:dc0c:1602"
    whole = {"OS-EXT-STS:vm_state", "key_name", "config_drive", "OS-EXT-SRV-ATTR:host"}
    assert not whole & old.keys()
    assert whole <= change("2.75", name="changed-again").keys()
    newest = change("2.100", name="changed")
    assert newest["scheduler_hints"] == {} and "properties" in newest["image"]
    assert "properties" not in sim.get(f"{SERVERS}/{server}", version="2.97")["server"]["image"]
    sim.delete(server)


def test_devices_have_tags_and_guests_get_files(sim, blank):
    network = sim.network("tagged", "10.77.0.0/24")
    nic = {"uuid": network, "tag": "wan"}
    body = lambda **more: {"server": {"name": "tagged", "imageRef": blank[0], "flavorRef": "42", **more}}
    for version, expected in (("2.31", 400), ("2.37", 400), ("2.42", 202)):
        answer = sim.request("POST", SERVERS, json=body(networks=[nic]), version=version)
        assert answer.status_code == expected, answer.text
    server = answer.json()["server"]["id"]
    sim.wait_status(server, "ACTIVE")
    shown = sim.get(f"{SERVERS}/{server}/os-interface", version="2.70")["interfaceAttachments"]
    assert [i["tag"] for i in shown] == ["wan"]
    ask = {"interfaceAttachment": {"net_id": network, "tag": "lan"}}
    assert sim.post(f"{SERVERS}/{server}/os-interface", ask, version="2.70")["interfaceAttachment"]["tag"] == "lan"
    assert status(sim, "POST", f"{SERVERS}/{server}/os-interface", ask, version="2.48") == 400
    sim.delete(server)
    file = {"path": "/etc/motd", "contents": "aGVsbG8="}
    for files, version, expected in (
            ([file] * 6, "2.1", 403), ([{**file, "contents": "QUFB" * 4000}], "2.1", 403), ([{**file, "contents": "$"}], "2.1", 400),
            ([file], "2.57", 400), ([file], "2.56", 202)):
        answer = sim.request("POST", SERVERS, json=body(personality=files, networks=[{"uuid": network}]), version=version)
        assert answer.status_code == expected, answer.text
    sim.wait_status(answer.json()["server"]["id"], "ACTIVE")
    sim.delete(answer.json()["server"]["id"])
