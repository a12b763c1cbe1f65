"""What clients of Nova meet in its lists, its key pairs, its names and its quotas. On simulated hosts."""

import base64
import struct
import subprocess

import pytest

from cloud import NOTHING, wait_until

NOVA = "/compute/v2.1"
SERVERS = f"{NOVA}/servers"


@pytest.fixture(scope="module")
def people(sim):
    """Users of a project: a member, a reader, and one who holds a role that no policy knows; each with a token."""
    roles = {r["name"]: r["id"] for r in sim.get("/identity/v3/roles")["roles"]}
    roles["painter"] = sim.post("/identity/v3/roles", {"role": {"name": "painter"}})["role"]["id"]
    project = sim.post("/identity/v3/projects", {"project": {"name": "studio"}})["project"]["id"]
    made = {"project": project}
    for role in ("member", "reader", "painter"):
        user = {"name": f"studio-{role}", "password": "s3cret"}
        made[f"{role}_id"] = sim.post("/identity/v3/users", {"user": user})["user"]["id"]
        path = f"/identity/v3/projects/{project}/users/{made[f'{role}_id']}/roles/{roles[role]}"
        assert sim.request("PUT", path).status_code == 204
        made[role] = sim.login(user["name"], "s3cret", "studio")
    return made


def refused(sim, method, path, status, body=None, **more):
    answer = sim.request(method, path, json=body, **more)
    assert answer.status_code == status, f"{method} {path} {body}: {answer.status_code} {answer.text}"
    return answer.text


def ids(answer):
    return {s["id"] for s in answer["servers"]}


# -- deleted servers

def test_a_deleted_server_is_shown_as_deleted(sim, blank, people):
    member, seen = people["member"], None
    sim._token, admin = member, sim.token()
    try:
        server = sim.create("gone-soon", blank[0])
    finally:
        sim._token = admin
    sim.wait_status(server, "ACTIVE")
    before = sim.get(f"{SERVERS}/{server}", token=member)["server"]["updated"]
    assert sim.request("DELETE", f"{SERVERS}/{server}", token=member).status_code == 204
    sim.wait_gone(server)
    everywhere = f"{SERVERS}/detail?all_tenants=1&name=gone-soon&"
    for query in ("deleted=true", "status=DELETED", "status=deleted", f"changes-since={before}"):
        found = [s for s in sim.get(everywhere + query, version="2.79")["servers"] if s["id"] == server]
        assert len(found) == 1, query
        seen = found[0]
        assert (seen["status"], seen["OS-EXT-STS:vm_state"]) == ("DELETED", "deleted"), query
        assert seen["OS-EXT-STS:task_state"] is None and seen["OS-EXT-STS:power_state"] == 0, query
        assert seen["OS-SRV-USG:terminated_at"] and "progress" not in seen, query
    # Users are told of it by what has changed, and by nothing else.
    mine = lambda query: ids(sim.get(f"{SERVERS}?{query}", token=member, version="2.66"))
    assert server in mine(f"changes-since={before}") and server in mine("changes-before=2100-01-01T00:00:00Z")
    assert server not in mine("deleted=true") and server not in mine("")
    assert server not in mine("changes-since=2100-01-01T00:00:00Z")
    refused(sim, "GET", f"{SERVERS}?status=DELETED", 403, token=member)
    assert server in ids(sim.get(f"{SERVERS}?all_tenants=1&deleted=1&terminated_at={seen['OS-SRV-USG:terminated_at']}"))


# -- filters

def test_each_filter_of_servers_finds_what_it_names(sim, blank):
    make = lambda name, **more: sim.create(name, blank[0], **more)
    one = make("sieve-one", network=blank[1], description="of oak", config_drive=True, accessIPv4="192.0.2.7",
               accessIPv6="2001:db8::7", metadata={"a": "b"})
    two = make("sieve-two", description="of ash")
    for server in (one, two):
        sim.wait_status(server, "ACTIVE")
    sim.act(two, "lock")
    shown = sim.get(f"{SERVERS}/{one}", version="2.90")["server"]
    started = shown["OS-SRV-USG:launched_at"]
    both = {one, two}
    cases = {
        "image_ref": [(blank[0], both), (NOTHING, set())], "image": [(blank[0], both), (NOTHING, set())],
        "flavor": [("42", both), ("84", set())], "display_name": [("sieve-t", {two}), ("x{9}", set())],
        "name": [("sieve-o", {one})], "description": [("oak", {one})], "display_description": [("ash", {two})],
        "config_drive": [("True", {one}), ("false", {two})], "access_ip_v4": [("192.0.2", {one})],
        "access_ip_v6": [("2001:db8", {one})], "launch_index": [("0", both), ("1", set())],
        "root_device_name": [("vda", both), ("sda", set())], "progress": [("100", both), ("^0$", set())],
        "kernel_id": [("^$", both), ("x", set())], "ramdisk_id": [("^$", both), ("x", set())],
        "locked_by": [("admin", {two}), ("owner", set())], "locked": [("true", {two}), ("0", {one})],
        "created_at": [(shown["created"], {one}), ("^1999", set())], "launched_at": [(started, {one}), ("^1999", set())],
        "terminated_at": [("^2", set())], "hostname": [("sieve-one", {one})], "key_name": [("k", set())],
        "power_state": [("1", both), ("4", set())], "vm_state": [("active", both), ("error", set())],
        "task_state": [("deleting", set())], "status": [("ACTIVE", both), ("ERROR", set())],
        "host": [(shown["OS-EXT-SRV-ATTR:host"], {one}), ("nowhere", set())],
        "node": [(shown["OS-EXT-SRV-ATTR:host"] + "$", {one}), ("nowhere", set())],
        "user_id": [(shown["user_id"], both), (NOTHING, set())], "uuid": [(one, {one}), (NOTHING, set())],
        "reservation_id": [(shown["OS-EXT-SRV-ATTR:reservation_id"], {one})],
        "availability_zone": [(shown["OS-EXT-AZ:availability_zone"], both), ("moon", set())],
        "auto_disk_config": [("True", both), ("False", set())], "soft_deleted": [("1", both)],
        "ip": [(shown["addresses"]["net"][0]["addr"], {one})], "ip6": [("fe80", set())],
        "tags": [("none", set())], "not-tags": [("none", both)],
        "changes-since": [(shown["created"], both), ("2100-01-01T00:00:00Z", set())],
        "changes-before": [("2100-01-01T00:00:00Z", both), ("1999-01-01T00:00:00Z", set())],
        "project_id": [(shown["tenant_id"], both)], "tenant_id": [(shown["tenant_id"], both)],
    }
    for name, values in cases.items():
        for value, wanted in values:
            found = ids(sim.get(SERVERS, params={name: value, "marker": ""}, version="2.90")) & both
            # Two servers may be made in the same second, or share a host.
            assert wanted <= found and (found == wanted or name in ("created_at", "launched_at", "host", "node")), (
                name, value, found)
    elsewhere = {"all_tenants": "1", "project_id": NOTHING}
    assert sim.get(SERVERS, params=elsewhere)["servers"] == []
    for server in both:
        sim.act(server, "unlock")
        sim.delete(server)


def test_filters_of_operators_are_ignored_for_others_until_their_version(sim, people):
    listed = lambda query, version, token: sim.get(f"{SERVERS}?{query}", version=version, token=token)["servers"]
    member = people["member"]
    server = sim.post(SERVERS, {"server": {"name": "ours", "imageRef": sim.upload("seen", data=b"\0" * 512, disk_format="raw"),
                                           "flavorRef": "42", "networks": "none"}}, version="2.37", token=member)["server"]["id"]
    wait_until("it runs", lambda: listed("status=ACTIVE", "2.1", member))
    for query in ("host=nowhere", "image_ref=nothing", "project_id=x", "locked_by=admin", "uuid=x", "display_name=x"):
        assert listed(query, "2.90", member), query
    for query, since in (("vm_state=error", 83), ("user_id=x", 83), ("key_name=x", 83), ("hostname=x", 90), ("ip6=x", 5)):
        assert listed(query, f"2.{since - 1}", member) and not listed(query, f"2.{since}", member), query
    for query in ("metadata=x", "_sa=x"):
        refused(sim, "GET", f"{SERVERS}?{query}", 400)
        assert listed(query, "2.1", member), query
    refused(sim, "GET", f"{SERVERS}?all_tenants=1", 403, token=member)
    refused(sim, "GET", f"{SERVERS}?sort_key=host", 403, token=member)
    assert sim.request("DELETE", f"{SERVERS}/{server}", token=member).status_code == 204


# What each list is called, and the first version in which it refuses what it does not know; None if none does.
LISTS = [
    ("servers", 75), ("servers/detail", 75), ("flavors", 75), ("flavors/detail", 75), ("os-keypairs", 75), ("limits", 75),
    ("os-server-groups", 75), ("os-services", 75), ("os-hypervisors", 53), ("os-hypervisors/detail", 53),
    ("os-migrations", 59), ("os-quota-sets/PROJECT", 75), ("os-quota-sets/PROJECT/detail", 75),
    ("servers/SERVER/os-instance-actions", 58), ("servers/SERVER/os-volume_attachments", 75), ("os-aggregates", None),
    ("os-availability-zone", None), ("os-quota-sets/PROJECT/defaults", None), ("servers/SERVER/metadata", None),
    ("servers/SERVER/os-interface", None), ("servers/SERVER/ips", None), ("flavors/42/os-extra_specs", None),
]


def test_unknown_parameters_are_refused_from_each_lists_version_on(sim, blank, people):
    server = sim.create("asked", blank[0])
    sim.wait_status(server, "ACTIVE")
    for path, strict in LISTS:
        path = f"{NOVA}/{path}".replace("PROJECT", people["project"]).replace("SERVER", server)
        for minor in {1, 52, 57, 58, 74, 96} | ({strict - 1, strict} if strict else set()):
            status = 400 if strict and minor >= strict else 200
            answer = sim.request("GET", f"{path}?nosuch=1", version=f"2.{minor}")
            assert answer.status_code == status, (path, minor, answer.text)
            assert status == 200 or "nosuch" in answer.text
    sim.delete(server)


@pytest.mark.parametrize("path, version", [
    ("servers?status=nosuch", "2.38"), ("servers?changes-since=yesterday", "2.1"), ("servers?limit=-1", "2.1"),
    ("servers?limit=x", "2.1"), ("servers?limit=", "2.1"), ("servers?name=", "2.1"), ("servers?node=[", "2.1"),
    ("servers?sort_key=colour", "2.1"), ("servers?sort_key=memory_mb", "2.75"), ("servers?sort_dir=up", "2.1"),
    ("servers?sort_dir=asc&sort_dir=asc", "2.1"), ("servers?locked=maybe", "2.73"), ("servers?all_tenants=maybe", "2.1"),
    ("servers?changes-since=2026-01-02T00:00:00Z&changes-before=2026-01-01T00:00:00Z", "2.66"),
    ("os-migrations?changes-since=2026-01-02T00:00:00Z&changes-before=2026-01-01T00:00:00Z", "2.66"),
    ("os-migrations?changes-since=x", "2.59"), ("os-migrations?limit=1&limit=1", "2.59"), ("flavors?sort_key=colour", "2.1"),
    ("flavors?sort_dir=up", "2.1"), ("flavors?minRam=x", "2.1"), ("flavors?limit=-1", "2.1"), ("flavors?marker=x", "2.1"),
    ("flavors?is_public=maybe", "2.1"), ("os-keypairs?limit=x", "2.35"), ("os-keypairs?marker=x", "2.35"),
    ("os-hypervisors?limit=x", "2.33"), ("os-hypervisors?with_servers=maybe", "2.53"),
    ("os-hypervisors?hypervisor_hostname_pattern=a%20b", "2.53"), ("os-hypervisors?hypervisor_hostname_pattern=h&limit=1", "2.53"),
    ("os-hypervisors?limit=1&limit=1", "2.53"), ("os-server-groups?limit=x", "2.1"), ("os-server-groups?offset=-1", "2.1"),
])
def test_values_of_the_wrong_type_are_refused(sim, path, version):
    said = refused(sim, "GET", f"{NOVA}/{path}", 400, version=version)
    assert "badRequest" in said


def test_what_came_later_is_ignored_before(sim):
    assert sim.get(f"{SERVERS}?status=nosuch", version="2.37")["servers"] == []
    count = lambda path, version: len(next(iter(sim.get(f"{NOVA}/{path}", version=version).values())))
    assert count("os-hypervisors?hypervisor_hostname_pattern=nowhere", "2.52") == count("os-hypervisors", "2.52") == 20
    assert count("os-hypervisors?limit=1", "2.32") == 20 and count("os-hypervisors?limit=1", "2.33") == 1
    assert count("os-services?binary=nova-compute", "2.1") == 20
    by_size = [f["ram"] for f in sim.get(f"{NOVA}/flavors/detail?sort_key=memory_mb&sort_dir=desc")["flavors"]]
    assert by_size == sorted(by_size, reverse=True)
    assert count("flavors?limit=0", "2.1") == count("flavors", "2.1")


def test_each_filter_of_the_other_lists_finds_what_it_names(sim, blank, people, key):
    server = sim.create("moved", blank[0])
    source = sim.wait_status(server, "ACTIVE")
    sim.act(server, "migrate")
    moved = sim.wait_status(server, "VERIFY_RESIZE")
    list_of = lambda path, version: next(v for k, v in sim.get(f"{NOVA}/{path}", version=version).items() if k[-5:] != "links")
    (one,) = list_of(f"os-migrations?instance_uuid={server}", "2.80")
    future, past = "2100-01-01T00:00:00Z", "1999-01-01T00:00:00Z"
    cases = {
        "source_compute": (source["OS-EXT-SRV-ATTR:host"], "nowhere"), "host": (moved["OS-EXT-SRV-ATTR:host"], "nowhere"),
        "status": (one["status"], "nosuch"), "migration_type": ("migration", "evacuation"), "hidden": ("0", "1"),
        "user_id": (source["user_id"], people["member_id"]), "project_id": (source["tenant_id"], people["project"]),
        "changes-since": (past, future), "changes-before": (future, past),
    }
    for name, (good, bad) in cases.items():
        both = [[m["uuid"] for m in list_of(f"os-migrations?{name}={value}", "2.80")] for value in (good, bad)]
        assert one["uuid"] in both[0] and one["uuid"] not in both[1], name
    sim.act(server, "confirmResize")
    sim.wait_status(server, "ACTIVE")

    path = f"servers/{server}/os-instance-actions"
    everything = [a["action"] for a in list_of(path, "2.66")]
    assert everything[-1] == "create" and "migrate" in everything
    assert list_of(f"{path}?changes-since={future}", "2.58") == list_of(f"{path}?changes-before={past}", "2.66") == []
    assert len(list_of(f"{path}?changes-before={future}", "2.66")) == len(everything)
    page, seen = sim.get(f"{NOVA}/{path}?limit=1", version="2.58"), []
    while True:
        seen += [a["action"] for a in page["instanceActions"]]
        if "links" not in page:
            break
        page = sim.get(page["links"][0]["href"].replace(sim.url, ""), version="2.58")
    assert seen == everything
    sim.delete(server)

    for number in range(3):
        sim.post(f"{NOVA}/os-keypairs", {"keypair": {"name": f"listed-{number}", "public_key": key[1],
                                                     "user_id": people["member_id"]}}, version="2.10")
    listed = lambda query: [k["keypair"]["name"] for k in list_of(f"os-keypairs?{query}", "2.35")]
    theirs = f"user_id={people['member_id']}"
    assert listed(theirs) == ["listed-0", "listed-1", "listed-2"]
    assert listed(f"{theirs}&limit=1&marker=listed-0") == ["listed-1"]
    groups = [sim.post(f"{NOVA}/os-server-groups", {"server_group": {"name": f"listed-{n}", "policies": ["affinity"]}},
                       version="2.13")["server_group"]["id"] for n in range(2)]
    page = lambda query: [g["id"] for g in list_of(f"os-server-groups?{query}", "2.13")]
    count = len(page(""))
    assert page(f"offset={count - 1}") == groups[1:] and page(f"offset={count - 2}&limit=1") == groups[:1]
    assert page(f"offset={count}") == []
    host = list_of("os-hypervisors?with_servers=True", "2.53")[0]["hypervisor_hostname"]
    assert [h["hypervisor_hostname"] for h in list_of(f"os-hypervisors?hypervisor_hostname_pattern={host}", "2.53")][0] == host
    refused(sim, "GET", f"{NOVA}/os-hypervisors?hypervisor_hostname_pattern=nowhere", 404, version="2.53")
    by_host = list_of(f"os-services?host={host}&binary=nova-compute", "2.53")
    assert [s["host"] for s in by_host] == [host]
    names = lambda query: {g["name"] for g in list_of(f"os-security-groups{query}", "2.1")}
    assert len(list_of("os-security-groups?limit=1", "2.1")) == 1 and not list_of("os-security-groups?offset=1000", "2.1")
    assert len(list_of("os-security-groups?all_tenants=1", "2.1")) >= len(list_of("os-security-groups", "2.1"))
    assert "default" in names("?all_tenants=1")


# -- key pairs

def lines_of_each_type(tmp_path):
    """Public keys of every type of OpenSSH's, as its own tool makes them; security keys by hand, for want of one."""
    def make(kind, bits, name):
        path = tmp_path / name
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-C", "a comment", "-f", path], check=True)
        return path.with_suffix(".pub")
    authority = make("ed25519", "256", "authority").with_suffix("")
    kinds = [("rsa", "2048"), ("rsa", "3072"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("ed25519", "256")]
    for kind, bits in kinds:
        public = make(kind, bits, f"{kind}{bits}")
        yield public.read_text().strip()
        subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "id", "-n", "root", public], check=True)
        yield public.with_name(f"{kind}{bits}-cert.pub").read_text().strip()
    text = lambda part: struct.pack(">I", len(part)) + part
    plain = {line.split()[0]: base64.b64decode(line.split()[1]) for line in (
        (tmp_path / f"{name}.pub").read_text() for name in ("ecdsa256", "ed25519256"))}
    for kind in ("ecdsa-sha2-nistp256", "ssh-ed25519"):
        name = f"sk-{kind}@openssh.com".encode()
        yield f"{name.decode()} {base64.b64encode(text(name) + plain[kind][4 + len(kind):] + text(b'ssh:')).decode()}"


def test_key_pairs_of_every_type_have_ssh_keygens_fingerprints(sim, tmp_path):
    count = 0
    for line in lines_of_each_type(tmp_path):
        (tmp_path / "line").write_text(line + "\n")
        said = subprocess.run(["ssh-keygen", "-E", "md5", "-l", "-f", tmp_path / "line"], check=True, capture_output=True, text=True)
        wanted = said.stdout.split()[1].removeprefix("MD5:")
        made = sim.post(f"{NOVA}/os-keypairs", {"keypair": {"name": f"kind-{count}", "public_key": line}})["keypair"]
        assert made["fingerprint"] == wanted and made["public_key"] == line, line
        sim.request("DELETE", f"{NOVA}/os-keypairs/kind-{count}")
        count += 1
    assert count == 14


def test_what_is_no_key_pair_is_refused(sim, people, key):
    new = lambda status, version="2.10", token=None, **fields: refused(
        sim, "POST", f"{NOVA}/os-keypairs", status, {"keypair": {"public_key": key[1], **fields}}, version=version, token=token)
    for bad in ("ssh-rsa nonsense", "ssh-rsa " + key[1].split()[1], key[1][:-20], "", 7, None):
        new(400, name="bad", public_key=bad)
    for bad in (" a", "a ", "a\u200bb", "a/b", "", "a\nb"):
        new(400, name=bad)
    new(400, name="stranger", user_id=NOTHING)
    new(400, name="stranger", user_id="nobody")
    for user in (NOTHING, "nobody", people["reader_id"]):
        new(403, name="stranger", user_id=user, token=people["member"])
    refused(sim, "POST", f"{NOVA}/os-keypairs", 400, {"keypair": {"name": "a"}, "colour": 1})


def test_a_users_quota_of_key_pairs_holds_for_every_token(sim, people, key):
    unscoped = sim.login("studio-painter", "s3cret", scope=False)
    scoped = people["painter"]
    made = 0
    for number in range(101):
        body = {"keypair": {"name": f"many-{number}", "public_key": key[1]}}
        answer = sim.request("POST", f"{NOVA}/os-keypairs", json=body, token=scoped if number % 2 else unscoped)
        made += answer.status_code in (200, 201)
    assert made == 100 and answer.status_code == 403 and "too many key pairs" in answer.text


# -- rights

def test_a_role_that_no_policy_knows_sees_nothing(sim, blank, people):
    for path in ("os-security-groups", "os-floating-ips", "os-tenant-networks", f"os-tenant-networks/{NOTHING}", "servers",
                 f"os-quota-sets/{people['project']}", "limits", "os-server-groups"):
        said = refused(sim, "GET", f"{NOVA}/{path}", 403, token=people["painter"])
        assert "Policy doesn't allow" in said, path
    for path in ("os-security-groups", "os-floating-ips", "os-tenant-networks"):
        sim.get(f"{NOVA}/{path}", token=people["reader"])
    # Of what is there by name or number, nothing but what everyone may see is told.
    server = sim.post(SERVERS, {"server": {"name": "hidden", "imageRef": blank[0], "flavorRef": "42", "networks": "none"}},
                      version="2.37", token=people["member"])["server"]["id"]
    for path in ("", "/ips", "/metadata", "/os-interface", "/os-instance-actions", "/os-security-groups", "/migrations",
                 "/os-volume_attachments", "/os-server-password"):
        refused(sim, "GET", f"{SERVERS}/{server}{path}", 404, token=people["painter"], version="2.23")
    for path in ("os-hypervisors", "os-services", "os-aggregates", "os-migrations", "os-availability-zone/detail", "servers/detail"):
        refused(sim, "GET", f"{NOVA}/{path}", 403, token=people["painter"])
    assert sim.request("DELETE", f"{SERVERS}/{server}", token=people["painter"]).status_code == 404
    assert sim.request("DELETE", f"{SERVERS}/{server}", token=people["reader"]).status_code == 403
    assert sim.request("DELETE", f"{SERVERS}/{server}", token=people["member"]).status_code == 204


def test_who_may_not_learns_nothing_of_what_there_is(sim, people):
    admin = sim.get("/identity/v3/projects?name=admin")["projects"][0]["id"]
    for token in (people["member"], people["reader"]):
        for project in (admin, NOTHING, "no-uuid"):
            for path in (f"os-quota-sets/{project}", f"os-quota-sets/{project}/detail", f"limits?tenant_id={project}"):
                refused(sim, "GET", f"{NOVA}/{path}", 403, token=token)
            refused(sim, "PUT", f"{NOVA}/os-quota-sets/{project}", 403, {"quota_set": {"cores": 1}}, token=token)
            refused(sim, "DELETE", f"{NOVA}/os-quota-sets/{project}", 403, token=token)
            for flavor in ("42", "nothing"):
                body = {"addTenantAccess": {"tenant": project}}
                refused(sim, "POST", f"{NOVA}/flavors/{flavor}/action", 403, body, token=token)
                refused(sim, "GET", f"{NOVA}/flavors/{flavor}/os-flavor-access", 403, token=token)
    for path in (f"os-quota-sets/{NOTHING}", f"os-quota-sets/{NOTHING}/defaults", f"limits?tenant_id={NOTHING}"):
        refused(sim, "GET", f"{NOVA}/{path}", 400)


def test_limits_of_one_user_are_not_those_of_all(sim, people):
    path = f"{NOVA}/os-quota-sets/{people['project']}"
    user = people["member_id"]
    before = sim.get(path)["quota_set"]["cores"]
    set_cores = lambda cores: {"quota_set": {"cores": cores}}
    refused(sim, "PUT", f"{path}?user_id={user}", 400, set_cores(before + 1))
    refused(sim, "PUT", f"{path}?user_id={NOTHING}", 400, set_cores(0))
    assert sim.request("PUT", f"{path}?user_id={user}", json=set_cores(0)).json()["quota_set"]["cores"] == 0
    assert sim.get(f"{path}?user_id={user}")["quota_set"]["cores"] == 0
    assert sim.get(path)["quota_set"]["cores"] == before
    image, network = sim.upload("for-a-user", data=b"\0" * 512, disk_format="raw"), "none"
    body = {"server": {"name": "one-too-many", "imageRef": image, "flavorRef": "42", "networks": network}}
    sim.request("PATCH", f"/image/v2/images/{image}", json=[{"op": "replace", "path": "/visibility", "value": "public"}],
                headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})
    assert "Quota exceeded for cores" in refused(sim, "POST", SERVERS, 403, body, token=people["member"], version="2.37")
    assert sim.request("DELETE", f"{path}?user_id={user}").status_code == 202
    assert sim.get(f"{path}?user_id={user}")["quota_set"]["cores"] == before
    assert sim.get(f"{path}/detail?user_id={user}")["quota_set"]["instances"]["in_use"] == 0


def test_a_disk_without_bounds_is_for_operators_and_counts(sim, blank, people):
    flavor = {"name": "boundless", "ram": 64, "vcpus": 1, "disk": 0, "id": "boundless"}
    sim.post(f"{NOVA}/flavors", {"flavor": flavor})
    body = {"server": {"name": "huge", "imageRef": blank[0], "flavorRef": "boundless", "networks": "none"}}
    said = refused(sim, "POST", SERVERS, 403, body, version="2.37", token=people["member"])
    assert "zero disk" in said
    # The image says that it needs more than all hosts have together.
    image = sim.upload("boundless", data=b"\0" * 4096, disk_format="raw")
    used = lambda: sum(h["local_gb_used"] for h in sim.get(f"{NOVA}/os-hypervisors/detail")["hypervisors"])
    patch = [{"op": "add", "path": "/min_disk", "value": 3}]
    kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    assert sim.request("PATCH", f"/image/v2/images/{image}", json=patch, headers=kind).status_code == 200
    before = used()
    server = sim.create("large", image, flavor="boundless")
    sim.wait_status(server, "ACTIVE")
    assert used() - before == 3
    assert sim.server(server)["flavor"]["disk"] == 0
    sim.delete(server)
    sim.wait_gone(server)
    patch[0]["value"] = 60_000
    assert sim.request("PATCH", f"/image/v2/images/{image}", json=patch, headers=kind).status_code == 200
    server = sim.create("larger", image, flavor="boundless")
    assert "No valid host" in sim.server(server)["fault"]["message"]
    sim.delete(server)
    sim.request("DELETE", f"{NOVA}/flavors/boundless")


# -- names, and what a new server may say

UNSEEN = (" a", "a ", "\u3000a", "a\u00a0", "a\u200bb", "\ufeffa", "a\u202eb", "a\nb", "a\tb", "a\x7fb", "", " ")


def test_names_are_what_is_seen_of_them(sim, blank):
    server = sim.create("plain name", blank[0])
    for name in UNSEEN:
        refused(sim, "PUT", f"{SERVERS}/{server}", 400, {"server": {"name": name}})
        body = {"name": name, "imageRef": blank[0], "flavorRef": "42"}
        refused(sim, "POST", SERVERS, 400, {"server": body})
        refused(sim, "POST", f"{NOVA}/flavors", 400, {"flavor": {"name": name, "ram": 1, "vcpus": 1, "disk": 1}})
        refused(sim, "POST", f"{NOVA}/os-aggregates", 400, {"aggregate": {"name": name}})
        group = {"name": name, "policies": ["affinity"]}
        refused(sim, "POST", f"{NOVA}/os-server-groups", 400, {"server_group": group})
    refused(sim, "PUT", f"{SERVERS}/{server}", 400, {"server": {"description": "two\nlines"}}, version="2.19")
    # The version before microversions takes them, and leaves the blanks away.
    for path, body, noun in (("flavors", {"name": " old ", "ram": 1, "vcpus": 1, "disk": 1}, "flavor"),
                             ("os-aggregates", {"name": " old "}, "aggregate")):
        made = sim.post(f"/compute/v2/{path}", {noun: body})[noun]
        assert made["name"] == "old"
        sim.request("DELETE", f"{NOVA}/{path}/{made['id']}")
    renamed = sim.request("PUT", f"/compute/v2/servers/{server}", json={"server": {"name": " old "}})
    assert renamed.json()["server"]["name"] == "old"
    refused(sim, "PUT", f"/compute/v2/servers/{server}", 400, {"server": {"name": " "}})
    for name in ("é", "a b", "日本"):
        answer = sim.request("PUT", f"{SERVERS}/{server}", json={"server": {"name": name}})
        assert answer.status_code == 200 and answer.json()["server"]["name"] == name
    sim.delete(server)


def test_host_names_have_domains_from_their_version_on(sim, blank):
    body = lambda name: {"server": {"name": "named", "imageRef": blank[0], "flavorRef": "42", "networks": "none", "hostname": name}}
    refused(sim, "POST", SERVERS, 400, body("web"), version="2.89")
    for name in ("web.example.org", "w", "-web", "web-", "we_b", "x" * 64):
        refused(sim, "POST", SERVERS, 400, body(name), version="2.93")
    for name in ("web example", "x" * 256, "", "é"):
        refused(sim, "POST", SERVERS, 400, body(name), version="2.94")
    server = sim.post(SERVERS, body("web.example.org"), version="2.94")["server"]["id"]
    shown = lambda: sim.get(f"{SERVERS}/{server}", version="2.94")["server"]["OS-EXT-SRV-ATTR:hostname"]
    assert shown() == "web.example.org"
    update = {"server": {"hostname": "db.example.org"}}
    refused(sim, "PUT", f"{SERVERS}/{server}", 400, update, version="2.93")
    assert sim.request("PUT", f"{SERVERS}/{server}", json=update, version="2.94").status_code == 200
    assert shown() == "db.example.org"
    several = body("web")
    several["server"]["min_count"] = 2
    assert "single hostname" in refused(sim, "POST", SERVERS, 400, several, version="2.90")
    sim.delete(server)


def test_servers_that_belong_together_are_placed_together_or_not_at_all(sim, blank):
    group = sim.post(f"{NOVA}/os-server-groups", {"server_group": {"name": "apart", "policies": ["anti-affinity"]}})
    group = group["server_group"]["id"]
    body = {"server": {"name": "together", "imageRef": blank[0], "flavorRef": "42", "networks": [{"uuid": blank[1]}],
                       "min_count": 21, "max_count": 21}, "os:scheduler_hints": {"group": group}}
    sim.request("PUT", f"{NOVA}/os-quota-sets/{sim.get('/identity/v3/projects?name=admin')['projects'][0]['id']}",
                json={"quota_set": {"server_group_members": 30, "instances": -1, "cores": -1, "ram": -1}})
    sim.post(SERVERS, body, version="2.37")
    made = sim.get(f"{SERVERS}/detail?name=together", version="2.79")["servers"]
    assert len(made) == 21 and {s["status"] for s in made} == {"ERROR"}
    assert {s["OS-EXT-SRV-ATTR:host"] for s in made} == {None}
    faults = [s["fault"]["message"] for s in made]
    assert sum("20 found a host, so none was placed" in fault for fault in faults) == 20, faults
    for server in made:
        sim.delete(server["id"])
    wait_until("they are gone", lambda: not sim.get(f"{SERVERS}?name=together")["servers"])
    body["server"].update(min_count=20, max_count=20)
    sim.post(SERVERS, body, version="2.37")
    wait_until("all run", lambda: len(sim.get(f"{SERVERS}?name=together&status=ACTIVE")["servers"]) == 20)
    for server in sim.get(f"{SERVERS}?name=together")["servers"]:
        sim.delete(server["id"])


def test_a_new_server_is_answered_with_the_groups_asked_for(sim, blank):
    sim.post("/network/v2.0/security-groups", {"security_group": {"name": "painted"}})
    base = {"name": "grouped", "imageRef": blank[0], "flavorRef": "42", "networks": [{"uuid": blank[1]}]}
    for asked, wanted in (({}, [{"name": "default"}]), ({"security_groups": [{"name": "painted"}]}, [{"name": "painted"}])):
        made = sim.post(SERVERS, {"server": {**base, **asked}})["server"]
        assert made["security_groups"] == wanted
        sim.delete(made["id"])


@pytest.mark.parametrize("more", [
    {"networks": []}, {"networks": [{"uuid": "NET", "colour": 1}]}, {"networks": [{"uuid": "net"}]}, {"networks": [{"port": "p"}]},
    {"networks": [{}]}, {"security_groups": [{"name": "default", "colour": 1}]}, {"security_groups": None},
    {"block_device_mapping_v2": [{"source_type": "image", "uuid": "IMAGE", "boot_index": 0, "colour": 1}]},
    {"block_device_mapping_v2": [{"source_type": "image", "uuid": "IMAGE", "boot_index": 0, "volume_type": "x"}]},
    {"networks": [{"uuid": "NET", "tag": "nic"}]}, {"metadata": {"a": 1}}, {"imageRef": "image"}, {"key_name": " a"}, {"availability_zone": ""},
])
def test_what_a_new_server_says_inside_is_known(sim, blank, more):
    fill = lambda value: ({k: fill(v) for k, v in value.items()} if isinstance(value, dict) else
                          [fill(v) for v in value] if isinstance(value, list) else
                          {"NET": blank[1], "IMAGE": blank[0]}.get(value, value) if isinstance(value, str) else value)
    body = {"server": {"name": "inside", "imageRef": blank[0], "flavorRef": "42", **fill(more)}}
    refused(sim, "POST", SERVERS, 400, body)
    refused(sim, "POST", SERVERS, 400, {**body, "colour": 1}, version="2.42")
    assert sim.get(f"{SERVERS}?name=inside")["servers"] == []


def test_bodies_hold_what_their_schemas_know(sim, blank, people):
    server = sim.create("bodies", blank[0], network=blank[1])
    sim.wait_status(server, "ACTIVE")
    group = {"name": "g", "policies": ["affinity"]}
    host = sim.get(f"{NOVA}/os-services?binary=nova-compute", version="2.53")["services"][0]
    cases = [
        ("PUT", f"servers/{server}", {"server": {"name": "a"}, "x": 1}), ("POST", f"servers/{server}/metadata", {"metadata": {}, "x": 1}),
        ("PUT", f"servers/{server}/metadata", {"metadata": {}, "x": 1}), ("PUT", f"servers/{server}/metadata/a", {"meta": {"a": "b"}, "x": 1}),
        ("PUT", f"servers/{server}/tags", {"tags": [], "x": 1}), ("POST", f"servers/{server}/os-interface", {"interfaceAttachment": {}, "x": 1}),
        ("POST", f"servers/{server}/os-interface", {"interfaceAttachment": {"net_id": "net"}}),
        ("POST", f"servers/{server}/os-interface", {"interfaceAttachment": {"port_id": "port"}}),
        ("POST", "flavors", {"flavor": {"name": "a", "ram": 1, "vcpus": 1, "disk": 1}, "x": 1}),
        ("POST", "flavors/42/os-extra_specs", {"extra_specs": {}, "x": 1}), ("POST", "os-server-groups", {"server_group": group, "x": 1}),
        ("POST", "os-aggregates", {"aggregate": {"name": "a"}, "x": 1}), ("PUT", f"os-services/{host['id']}", {"status": "enabled", "x": 1}),
        ("PUT", f"os-quota-sets/{people['project']}", {"quota_set": {}, "x": 1}),
    ]
    for method, path, body in cases:
        refused(sim, method, f"{NOVA}/{path}", 400, body, version="2.55")
    refused(sim, "PUT", f"{NOVA}/os-services/enable", 400, {"host": host["host"], "x": 1})
    both = {"removeFloatingIp": {"address": "192.0.2.1", "fixed_address": "10.20.0.9"}}
    assert "fixed_address" in refused(sim, "POST", f"{SERVERS}/{server}/action", 400, both, version="2.43")
    sim.delete(server)


# -- extra specs

def test_extra_specs_are_held_to_novas_catalogue_from_its_version_on(sim):
    path = f"{NOVA}/flavors/84/os-extra_specs"
    wrong = {"hw:cpu_policy": "bogus", "hw:numa_nodes": "x", "trait:CUSTOM_X": "maybe", "resources:VCPU": "x",
             "quota:cpu_shares": "-1", "hw_rng:allowed": "perhaps", "hw:nosuch": "1", "quota:nosuch": "1"}
    for name, value in wrong.items():
        said = refused(sim, "POST", path, 400, {"extra_specs": {name: value}}, version="2.86")
        assert "Validation failed" in said
        refused(sim, "PUT", f"{path}/{name}", 400, {name: value}, version="2.86")
    assert sim.get(path)["extra_specs"] == {}
    right = {"hw:cpu_policy": "dedicated", "trait:CUSTOM_X": "forbidden", "ours:colour": "red", "colour": "red"}
    for body, version in ((right, "2.86"), ({"hw:cpu_policy": "bogus"}, "2.85")):
        assert sim.post(path, {"extra_specs": body}, version=version)["extra_specs"] == body
        for name in body:
            assert sim.request("DELETE", f"{path}/{name}").status_code == 200
