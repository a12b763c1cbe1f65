"""Hosts that are not ready: an operator denies a kernel, sees the hosts that it closes, and opens one again. On simulated
hosts, whose versions files change."""

import errno
import ipaddress
import json
import signal
import subprocess

import pytest

from cloud import Cloud, wait_until
from test_roles import Apart

GOOD, BAD = "3.13.0-46.77", "3.13.0-24.46"
RANGE = ">=3.13.0-24 <3.13.0-46"
RULE = ["rule", "add", "deny", "kernel", RANGE, "--name", "bad-kernel", "--reason", "guests lose time",
        "--link", "https://bugs.example/1413540"]
RULES = "/operator/v1/rules"


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path / "data", hosts=4)
    for number in range(1, 5):
        says(cloud, f"sim-{number:04}", GOOD)
    yield cloud.start().wait_for_hosts()
    cloud.down()


def says(cloud, host, kernel):
    """Lets a host have this kernel at its next look."""
    file = cloud.data / "facts" / f"{host}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"versions": {"kernel": kernel}}))


def boots(cloud, host, kernel):
    says(cloud, host, kernel)
    cloud.lenticular("host", "check", host, "--wait")
    shown = json.loads(cloud.lenticular("host", "show", host, "--json"))
    assert shown["versions"]["kernel"] == kernel


def admitted(cloud, host, kernel):
    """Lets a host run an older kernel than its siblings, as an operator who does not know better."""
    boots(cloud, host, kernel)
    cloud.lenticular("host", "admit", host, "--reason", "its disks need it")


def services(cloud):
    all_ = cloud.get("/compute/v2.1/os-services?binary=nova-compute")["services"]
    return {s["host"]: (s["status"], s["disabled_reason"]) for s in all_}


def furnish(cloud):
    image = cloud.upload("blank", data=b"\0" * (1 << 20), disk_format="raw")
    network = cloud.network()
    return image, network


def hosts_of(cloud, image, network, count):
    made = [cloud.create(f"s{n}", image, network=network) for n in range(count)]
    for server in made:
        cloud.wait_status(server, "ACTIVE")
    return {cloud.server(server)["OS-EXT-SRV-ATTR:host"] for server in made}


def test_a_denied_kernel_closes_its_hosts_until_they_have_another(cloud):
    image, network = furnish(cloud)
    admitted(cloud, "sim-0002", BAD)
    stays = cloud.create("stays", image, network=network, host="sim-0002")
    cloud.wait_status(stays, "ACTIVE")

    # A look changes nothing.
    said = cloud.lenticular(*RULE, "--dry-run")
    assert "would close 1 host. 1 server runs there, and runs on." in said and "sim-0002" in said, said
    assert services(cloud)["sim-0002"] == ("enabled", None)

    said = cloud.lenticular(*RULE)
    assert "closes 1 host." in said, said
    why = f"not ready: kernel {BAD} is denied by rule bad-kernel: guests lose time"
    assert services(cloud) == {"sim-0002": ("disabled", why), **{f"sim-000{n}": ("enabled", None) for n in (1, 3, 4)}}
    assert why in cloud.openstack("compute", "service", "list", "--long")
    hypervisors = cloud.get("/compute/v2.1/os-hypervisors/detail", version="2.53")["hypervisors"]
    closed = [h["service"]["disabled_reason"] for h in hypervisors if h["status"] == "disabled"]
    assert closed == [why]
    status = cloud.lenticular("status")
    assert "3 of 4 hosts take servers." in status and "rule bad-kernel" in status and "sim-0002" in status, status

    # Every entrance is shut, and what runs there runs on.
    assert "sim-0002" not in hosts_of(cloud, image, network, 6)
    assert cloud.server(stays)["status"] == "ACTIVE"
    other = cloud.create("other", image, network=network)
    cloud.wait_status(other, "ACTIVE")
    for action, args in [("migrate", {"host": "sim-0002"}), ("os-migrateLive", {"host": "sim-0002", "block_migration": "auto"})]:
        answer = cloud.request("POST", f"/compute/v2.1/servers/{other}/action", json={action: args}, version="latest")
        assert answer.status_code in (400, 409) and "not ready" in answer.text, answer.text
    # That an operator wants it enabled overrules no evidence.
    cloud.openstack("compute", "service", "set", "--enable", "sim-0002", "nova-compute")
    assert services(cloud)["sim-0002"] == ("disabled", why)

    # The host boots a good kernel, and takes servers.
    boots(cloud, "sim-0002", GOOD)
    assert services(cloud)["sim-0002"] == ("enabled", None)
    placed = cloud.create("again", image, network=network, host="sim-0002")
    cloud.wait_status(placed, "ACTIVE")

    # A host that boots the bad kernel again is closed with no word from anybody, and no admission helps.
    admitted(cloud, "sim-0004", BAD)
    assert services(cloud)["sim-0004"] == ("disabled", why)
    cloud.lenticular("rule", "remove", "bad-kernel")
    assert {status for status, _ in services(cloud).values()} == {"enabled"}


def test_an_override_is_shown_and_ends(cloud):
    image, network = furnish(cloud)
    admitted(cloud, "sim-0001", BAD)
    cloud.lenticular(*RULE)
    said = cloud.lenticular("host", "override", "sim-0001", "rule bad-kernel", "--reason", "it has the GPU", "--hours", "2")
    assert "overruled until" in said and "it has the GPU" in said, said
    assert services(cloud)["sim-0001"] == ("enabled", None)
    server = cloud.create("gpu", image, network=network, host="sim-0001")
    cloud.wait_status(server, "ACTIVE")
    status = json.loads(cloud.lenticular("status", "--json"))
    assert [(o["host"], o["line"], o["by"]) for o in status["overrides"]] == [("sim-0001", "rule bad-kernel", "admin")]
    # It was given for the kernel that the host had.
    admitted(cloud, "sim-0001", "3.13.0-30.1")
    assert services(cloud)["sim-0001"][0] == "disabled"
    overrule = ["host", "override", "sim-0001", "rule bad-kernel"]
    cloud.lenticular(*overrule, "--reason", "it has the GPU")
    cloud.lenticular("rule", "remove", "bad-kernel")
    cloud.lenticular(*RULE)
    assert services(cloud)["sim-0001"][0] == "disabled", "another rule of that name is not overruled"
    cloud.lenticular(*overrule, "--reason", "it has the GPU")
    cloud.lenticular("host", "override", "sim-0001", "rule bad-kernel", "--end")
    assert services(cloud)["sim-0001"][0] == "disabled"
    for args, why in [(["--hours", "25"], "24 h"), (["--hours=-1"], "24 h")]:
        code, said = cloud.lenticular("host", "override", "sim-0001", "rule bad-kernel", "--reason", "x", *args, ok=False)
        assert code == 1 and why in said, said


def test_a_rule_that_closes_much_or_means_nothing_is_refused(cloud):
    for host in ("sim-0001", "sim-0002"):
        admitted(cloud, host, BAD)
    code, said = cloud.lenticular(*RULE, ok=False)
    assert code == 1 and "2 of the 4 hosts of zone nova" in said and "--yes-close" in said, said
    assert cloud.get(RULES) == []
    cloud.lenticular(*RULE, "--yes-close")
    assert [r["hosts"] for r in cloud.get(RULES)] == [["sim-0001", "sim-0002"]]

    rule = {"effect": "deny", "subject": "kernel", "range": "<2", "reason": "why"}
    for change, words in [({"effect": "forbid"}, "deny or require"), ({"subject": "kernle"}, "They report: kernel"),
                          ({"range": ">2 <1"}, "no version is in it"), ({"range": "\x1b[31m"}, "no range"), ({"range": ">= 5"}, "no space"), ({"range": "=>5"}, "wrong sign"),
                          ({"range": "* <1"}, "every version"), ({"reason": "a\u202eb"}, "control characters"),
                          ({"effect": "require", "subject": "check:network", "range": ">5"}, "no versions"),
                          ({"reason": ""}, "reason"), ({"link": "javascript:1"}, "link"), ({"zone": "x"}, "no zone x"),
                          ({"aggregate": "x"}, "no aggregate x"), ({"zone": "nova", "aggregate": "x"}, "not about both"),
                          ({"name": "a b"}, "name"), ({"name": "-x"}, "begins with"), ({"draft": True, "dry_run": True}, "leave dry_run out"), ({"colour": "red"}, "colour"), ({"subject": "check:x"}, "required")]:
        answer = cloud.request("POST", RULES, json={**rule, **change})
        assert answer.status_code == 400 and words in answer.text, (change, answer.text)
    assert cloud.request("POST", f"{RULES}/none/remove", json={}).status_code == 404
    assert len(cloud.get(RULES)) == 1

    # A reader of the system sees; only an admin of the cloud writes.
    project = cloud.post("/identity/v3/projects", {"project": {"name": "tenant"}})["project"]["id"]
    user = cloud.post("/identity/v3/users", {"user": {"name": "tenant", "password": "s3cret"}})["user"]["id"]
    member = next(r["id"] for r in cloud.get("/identity/v3/roles")["roles"] if r["name"] == "member")
    assert cloud.request("PUT", f"/identity/v3/projects/{project}/users/{user}/roles/{member}").status_code == 204
    token = cloud.login("tenant", "s3cret", "tenant")
    # Who holds the role operator on the system has hosts prove themselves, and overrules nothing.
    operator = cloud.post("/identity/v3/roles", {"role": {"name": "operator"}})["role"]["id"]
    assert cloud.request("PUT", f"/identity/v3/system/users/{user}/roles/{operator}").status_code == 204
    identity = {"methods": ["password"], "password": {"user": {"name": "tenant", "domain": {"id": "default"}, "password": "s3cret"}}}
    answer = cloud.request("POST", "/identity/v3/auth/tokens", token="",
                           json={"auth": {"identity": identity, "scope": {"system": {"all": True}}}})
    system = answer.headers["X-Subject-Token"]
    for method, path, body, status in [("GET", RULES, None, 200), ("GET", "/operator/v1/status", None, 200),
                                       ("POST", "/operator/v1/hosts/sim-0001/check", {}, 202),
                                       ("POST", "/operator/v1/hosts/sim-0001/canary", {}, 202),
                                       ("POST", RULES, rule, 403),
                                       ("POST", "/operator/v1/hosts/sim-0001/admit", {"reason": "x"}, 403),
                                       ("POST", "/operator/v1/hosts/sim-0001/override", {"line": "rule bad-kernel"}, 403)]:
        assert cloud.request(method, path, token=system, json=body).status_code == status, (method, path)
    for method, path, body in [("GET", RULES, None), ("POST", RULES, rule), ("GET", "/operator/v1/status", None),
                               ("POST", f"{RULES}/bad-kernel/remove", {}),
                               ("POST", "/operator/v1/hosts/sim-0001/override", {"line": "rule bad-kernel"})]:
        assert cloud.request(method, path, token=token, json=body).status_code == 403, path


def test_what_a_host_says_wrongly_is_unknown_and_costs_nothing_else(cloud):
    image, network = furnish(cloud)
    cloud.lenticular("rule", "add", "deny", "kernel", "<2", "--name", "old", "--reason", "too old")
    file = cloud.data / "facts/sim-0002.json"
    for text in ['{"versions": {"kernel": "%s"}}' % ("6" * 5000), '{"versions": {"kernel": ""}}', '{"versions"',
                 json.dumps({"versions": {"kernel": "6.0\x1b]0;pwn\x07"}}), '{"versions": {"kernel": 6}}']:
        file.write_text(text)
        cloud.lenticular("host", "check", "sim-0002", "--wait")
        status, why = services(cloud)["sim-0002"]
        assert status == "disabled" and "does not say its version of kernel" in why, (text, why)
        assert cloud.get("/operator/v1/hosts/sim-0002")["heard_at"]
    says(cloud, "sim-0002", GOOD)
    cloud.lenticular("host", "check", "sim-0002", "--wait")
    assert services(cloud)["sim-0002"] == ("enabled", None)


def test_openstacks_views_agree_and_an_aggregate_with_rules_stays(cloud):
    boots(cloud, "sim-0002", BAD)
    provider = next(h["id"] for h in cloud.get("/operator/v1/hosts") if h["name"] == "sim-0002")
    traits = lambda: cloud.get(f"/placement/resource_providers/{provider}/traits", headers={"OpenStack-API-Version": "placement 1.6"})
    assert "COMPUTE_STATUS_DISABLED" in traits()["traits"]
    for hypervisor in cloud.get("/compute/v2.1/os-hypervisors/detail")["hypervisors"]:
        ipaddress.ip_address(hypervisor["host_ip"])
    zones = cloud.get("/compute/v2.1/os-availability-zone/detail")["availabilityZoneInfo"]
    active = {name: on["nova-compute"]["active"] for zone in zones for name, on in (zone["hosts"] or {}).items() if "nova-compute" in on}
    assert active == {"sim-0001": True, "sim-0002": False, "sim-0003": True, "sim-0004": True}

    aggregate = cloud.post("/compute/v2.1/os-aggregates", {"aggregate": {"name": "gpu"}})["aggregate"]["id"]
    cloud.lenticular("rule", "add", "deny", "kernel", "<2", "--name", "old", "--reason", "old", "--aggregate", "gpu")
    answer = cloud.request("DELETE", f"/compute/v2.1/os-aggregates/{aggregate}")
    assert answer.status_code == 409 and "lenticular rule remove old" in answer.text, answer.text
    # What kept a host from its admission is over at once.
    cloud.lenticular("rule", "remove", "old")
    for host in ("sim-0001", "sim-0003", "sim-0004"):
        admitted(cloud, host, BAD)
    wait_until("sim-0002 is like the others", lambda: services(cloud)["sim-0002"] == ("enabled", None))


def test_rules_hold_over_a_kill(cloud):
    admitted(cloud, "sim-0003", BAD)
    cloud.lenticular(*RULE)
    cloud.kill()
    cloud.start().wait_for_hosts()
    wait_until("sim-0003 is closed", lambda: services(cloud)["sim-0003"][0] == "disabled")
    assert [r["name"] for r in cloud.get(RULES)] == ["bad-kernel"]


def test_a_host_with_an_older_kernel_than_its_siblings_waits_for_an_operator(cloud):
    image, network = furnish(cloud)
    boots(cloud, "sim-0003", BAD)
    why = (f"not ready: kernel {BAD} is older than what 3 of the 3 admitted hosts of zone nova run, such as {GOOD}")
    assert services(cloud)["sim-0003"] == ("disabled", why)
    assert "sim-0003" not in hosts_of(cloud, image, network, 6)
    shown = json.loads(cloud.lenticular("host", "show", "sim-0003", "--json"))
    assert shown["admitted"] is None and [line["name"] for line in shown["readiness"]] == ["sibling kernel"]
    # The three others have proved themselves by themselves.
    assert json.loads(cloud.lenticular("host", "show", "sim-0001", "--json"))["admitted"]

    cloud.lenticular("host", "admit", "sim-0003", "--reason", "its disks need it")
    assert services(cloud)["sim-0003"] == ("enabled", None)
    placed = cloud.create("placed", image, network=network, host="sim-0003")
    cloud.wait_status(placed, "ACTIVE")
    assert "by admin: its disks need it" in cloud.lenticular("host", "show", "sim-0003")

    # Another change voids the admission, and the kernel of the others is one.
    boots(cloud, "sim-0003", "3.13.0-30.1")
    assert services(cloud)["sim-0003"][0] == "disabled"
    boots(cloud, "sim-0003", GOOD)
    assert services(cloud)["sim-0003"] == ("enabled", None)

    cloud.lenticular("host", "cordon", "sim-0003", "--reason", "new memory")
    assert services(cloud)["sim-0003"] == ("disabled", "new memory")
    cloud.lenticular("host", "uncordon", "sim-0003")
    assert services(cloud)["sim-0003"] == ("enabled", None)


def test_dark_hosts_are_closed_unless_the_network_between_all_is_the_cause(cloud):
    def finds(host, unreached=(), **checks):
        file = cloud.data / "facts" / f"{host}.json"
        file.write_text(json.dumps({"versions": {"kernel": GOOD}, "checks": checks, "unreached": unreached}))
        cloud.lenticular("host", "check", host, "--wait")
        assert json.loads(cloud.lenticular("host", "show", host, "--json"))["versions"]["kernel"] == GOOD

    finds("sim-0002", tunnels="none of the hosts that it asks answers: sim-0001")
    assert services(cloud)["sim-0002"] == ("enabled", None), "the others may be the cause"
    finds("sim-0001", unreached=["sim-0002"])
    dark = ("disabled", "not ready: it is dark (none of the hosts that it asks answers: sim-0001)")
    assert services(cloud)["sim-0002"] == dark
    code, said = cloud.lenticular("host", "override", "sim-0002", "dark", "--reason", "now", ok=False)
    assert code == 1 and "Nobody can overrule that a host is dark" in said, said
    # A second one makes it an event of the network. A host whose own switch is silent is dark all the same.
    finds("sim-0003", tunnels="none of the hosts that it asks answers: sim-0004")
    assert {status for status, _ in services(cloud).values()} == {"enabled"}
    assert "2 of 4 hosts of zone nova reach no other host" in cloud.lenticular("status")
    finds("sim-0003", tunnels="none of the hosts that it asks answers: sim-0004", bridge="br-int does not answer")
    assert services(cloud)["sim-0002"] == dark
    assert services(cloud)["sim-0003"] == ("disabled", "not ready: it is dark (br-int does not answer)")
    for host in ("sim-0001", "sim-0002", "sim-0003"):
        finds(host)
    assert {status for status, _ in services(cloud).values()} == {"enabled"}
    assert json.loads(cloud.lenticular("status", "--json"))["events"] == []


def test_a_rule_asks_hosts_to_prove_themselves_by_a_canary(cloud):
    def finds(host, **checks):
        file = cloud.data / "facts" / f"{host}.json"
        file.write_text(json.dumps({"versions": {"kernel": GOOD}, "checks": checks}))

    assert "passed" in cloud.lenticular("host", "canary", "sim-0001", "--wait")
    finds("sim-0002", canary="step 'resume' failed: the guest began anew")
    code, said = cloud.lenticular("host", "canary", "sim-0002", "--wait", ok=False)
    assert code == 2 and "Host sim-0002 has not passed: step 'resume' failed" in said, said
    code, said = cloud.lenticular("rule", "add", "require", "check:canary", "--reason", "see the runbook", ok=False)
    assert code == 1 and "closes too much" in said, said
    assert cloud.get(RULES) == []
    cloud.lenticular("rule", "add", "require", "check:canary", "--reason", "see the runbook", "--yes-close")

    # The others prove themselves with no word from anybody.
    open_ = lambda: sorted(host for host, (status, _) in services(cloud).items() if status == "enabled")
    wait_until("three hosts have passed", lambda: open_() == ["sim-0001", "sim-0003", "sim-0004"])
    closed = "not ready: the check canary did not pass, which is required by rule require-canary: see the runbook"
    assert services(cloud)["sim-0002"] == ("disabled", f"{closed} (step 'resume' failed: the guest began anew)")
    finds("sim-0002")
    cloud.lenticular("host", "canary", "sim-0002", "--wait")
    assert "sim-0002" in open_()
    # Another kernel voids the proof, and the host proves itself again.
    before = json.loads(cloud.lenticular("host", "show", "sim-0003", "--json"))["canaries_ended"]
    boots(cloud, "sim-0003", "3.13.0-46.78")
    again = lambda: json.loads(cloud.lenticular("host", "show", "sim-0003", "--json"))["canaries_ended"] > before
    wait_until("sim-0003 has run another", again)
    wait_until("sim-0003 takes servers", lambda: "sim-0003" in open_())

    lists = cloud.request("POST", "/operator/v1/hosts/none/canary", json={})
    assert lists.status_code == 404


def test_a_plugin_of_the_hosts_configuration_counts_if_a_rule_requires_it(tmp_path):
    c = Apart(tmp_path / "data")
    level, plugin = tmp_path / "level", tmp_path / "check_level"
    plugin.write_text(f"#!/bin/sh\nread code <{level}\necho \"LEVEL $code | perf=1\"\nexit $code\n")
    plugin.chmod(0o755)
    level.write_text("0\n")
    try:
        made = c.start().enrol("rack-1")
        joins = f'join = "{made["join"]}"\ntoken = "{made["token"]}"\nstate = "{c.data}/agent"\nname = "rack-1"\n'
        for checks, why in [("[checks.disk]\ncommand = ['x']", "'disk'"), ("[checks.x]\ncommand = []", "needs a command"),
                            ("[checks.x]\ncommand = ['x']\nevery_s = 1", "every_s of 5"), ("[checks.x]\nrun = 'x'", "run"),
                            ("[checks.clock]\ncommand = ['x']", "'clock'"), ("[repository]\nwarn_days = 3", "snapshot_file"),
                            ("[repository]\nsnapshot_file = '/x'\nwarn_days = 0", "1 to 3650"), ("[repository]\nurl = 'x'", "url")]:
            c.agent_config.write_text(joins + checks)
            assert why in c.agent_once("--config", c.agent_config)
        c.agent_config.write_text(f"{joins}[checks.level]\ncommand = ['{plugin}']\nevery_s = 5\n")
        c.agent = c.run("agent", "--config", c.agent_config)
        c.wait_for_hosts()
        show = lambda: json.loads(c.lenticular("host", "show", "rack-1", "--json"))
        checks = lambda: {name: trouble for name, trouble, _ in show()["checks"]}
        wait_until("its checks are made", lambda: {"disk", "reboot", "level"} <= checks().keys())
        assert checks()["level"] is None
        versions = show()["versions"]
        assert versions["kernel"] and versions["qemu"].count(".") == 2, versions

        c.lenticular("rule", "add", "require", "check:level", "--name", "levels", "--reason", "see the runbook")
        assert show()["state"] == "up"
        level.write_text("1\n")
        wait_until("it warns", lambda: checks()["level"] == "warning: LEVEL 1")
        assert show()["state"] == "up"
        level.write_text("2\n")
        wait_until("it failed", lambda: checks()["level"] == "LEVEL 2")
        closed = "the check level did not pass, which is required by rule levels: see the runbook (LEVEL 2)"
        assert (show()["state"], show()["reason"]) == ("not ready", closed)
        # The last result holds while the agent comes back.
        c.agent.send_signal(signal.SIGTERM)
        c.agent.wait(timeout=30)
        c.agent = c.run("agent", "--config", c.agent_config)
        wait_until("the agent is back", lambda: show()["state"] in ("not ready", "silent"))
        assert show()["reason"] == closed
        level.write_text("3\n")
        wait_until("nobody knows", lambda: checks()["level"] == "unknown: LEVEL 3")
        assert show()["state"] == "not ready"
        # What was repaired counts as soon as its operator orders a check.
        level.write_text("0\n")
        c.lenticular("host", "check", "rack-1", "--wait")
        assert show()["state"] == "up"
    finally:
        c.down()


def test_a_host_says_its_packages_its_snapshot_and_its_configuration(tmp_path):
    c = Apart(tmp_path / "data")
    snapshot = tmp_path / "snapshot"
    snapshot.write_text("20200101T000000Z\n")
    try:
        made = c.start().enrol("rack-1")
        settings = (f'join = "{made["join"]}"\ntoken = "{made["token"]}"\nstate = "{c.data}/agent"\nname = "rack-1"\n'
                    f'[repository]\nsnapshot_file = "{snapshot}"\n')
        c.agent_config.write_text(settings)
        c.agent = c.run("agent", "--config", c.agent_config)
        c.wait_for_hosts()
        show = lambda: json.loads(c.lenticular("host", "show", "rack-1", "--json"))
        checks = lambda: {name: trouble for name, trouble, _ in show()["checks"]}
        # Its packages, as the distribution's own program says them.
        ask = lambda *args: subprocess.run(["dpkg-query", "-W", *args], capture_output=True, text=True, check=True).stdout
        installed = [line for line in ask("-f", "${db:Status-Status}\n").splitlines() if line == "installed"]
        first = show()
        assert first["packages"]["installed"] == len(installed), first["packages"]
        assert first["versions"]["libc"] == ask("-f", "${Version}", "libc6"), first["versions"]
        # The repository's snapshot.
        assert first["versions"]["snapshot"] == "20200101T000000Z"
        wait_until("its age is told", lambda: "days old" in (checks().get("repository") or ""))
        assert show()["state"] == "up", "a warning closes no host"
        c.lenticular("rule", "add", "require", "snapshot", ">=20250101", "--reason", "CVE-2025-1", "--yes-close")
        assert "snapshot 20200101T000000Z is not '>=20250101'" in show()["reason"], show()["reason"]
        snapshot.write_text("20260901T000000Z\n")
        c.lenticular("host", "check", "rack-1", "--wait")
        assert show()["state"] == "up"
        # The clock, once the control plane has answered a few times.
        wait_until("the clocks are compared", lambda: checks().get("clock", "") is None, deadline_s=90)

        # A package: the host says its version because a draft asks, and until then nothing is closed.
        ours = ask("-f", "${Version}", "coreutils")
        rule = ("rule", "add", "deny", "package:coreutils", f"<={ours}", "--name", "coreutils", "--reason", "CVE-2025-2")
        code, said = c.lenticular(*rule, ok=False)
        assert code == 1 and "--draft" in said and c.get(RULES)[0]["subject"] == "snapshot", said
        assert "closes nothing" in c.lenticular(*rule, "--draft")
        wait_until("the host says it", lambda: show()["versions"].get("package:coreutils") == ours)
        listed = json.loads(c.lenticular("rule", "list", "--json"))
        assert [(r["draft"], r["hosts"], r["unknown"]) for r in listed if r["name"] == "coreutils"] == [(True, ["rack-1"], [])]
        assert show()["state"] == "up"
        code, said = c.lenticular("rule", "enforce", "coreutils", ok=False)
        assert code == 1 and "1 of the 1 hosts of zone nova" in said, said
        c.lenticular("rule", "enforce", "coreutils", "--yes-close")
        assert show()["reason"] == f"package:coreutils {ours} is denied by rule coreutils: CVE-2025-2", show()["reason"]
        c.lenticular("rule", "remove", "coreutils")
        wait_until("nobody asks any more", lambda: "package:coreutils" not in show()["versions"])

        # Labels are the operator's. Another configuration of the agent is a change of the host.
        c.lenticular("host", "label", "rack-1", "rack=r1", "power=p1")
        c.lenticular("host", "label", "rack-1", "power=")
        assert show()["labels"] == {"rack": "r1"}
        code, said = c.lenticular("host", "label", "rack-1", "a b=c", ok=False)
        assert code == 1 and "is no label" in said, said
        c.lenticular("rule", "add", "require", "check:disk", "--name", "disks", "--reason", "x")
        c.agent.send_signal(signal.SIGTERM)
        c.agent.wait(timeout=30)
        c.agent_config.write_text(settings + "warn_days = 7\n")
        c.agent = c.run("agent", "--config", c.agent_config)
        wait_until("it has another configuration",
                   lambda: show()["versions"]["configuration"] != first["versions"]["configuration"])
        wait_until("it proved itself again", lambda: (show()["admitted"] or "") > first["admitted"] and show()["state"] == "up")
        assert show()["labels"] == {"rack": "r1"}
    finally:
        c.down()


def test_a_full_disk_is_told_though_the_agent_can_save_nothing(tmp_path):
    """The control plane's store is on another disk than the host's guests."""
    c = Apart(tmp_path / "data")
    state = c.data / "agent"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", state], check=True)
    try:
        c.start().start_agent().wait_for_hosts()
        show = lambda: json.loads(c.lenticular("host", "show", "rack-1", "--json"))
        found = lambda: {name: trouble for name, trouble, _ in show()["checks"]}.get("disk", "not made")
        wait_until("its disk is checked", lambda: found() is None)
        c.lenticular("rule", "add", "require", "check:disk", "--reason", "guests write there")
        fill = state / "fill"
        try:
            fill.write_bytes(b"x" * (64 << 20))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        # The order cannot be saved, and so not carried out. The regular check is made, and told.
        c.lenticular("host", "check", "rack-1")
        wait_until("the disk is full", lambda: "No space left" in (found() or ""), deadline_s=120, every_s=1)
        assert show()["state"] == "not ready" and "No space left" in show()["reason"]
        fill.unlink()
        c.lenticular("host", "check", "rack-1", "--wait")
        assert show()["state"] == "up"
    finally:
        c.down()
        subprocess.run(["umount", "-l", state], check=True)
