"""Hosts with real guests are booted by plans: guests sleep or move, the host proves itself, and processes are killed."""

import json
import os
import signal

import pytest

from cloud import wait_until
from lab import Watch, guest_lab, guests, in_order

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

HOME, OTHERS = "host-1", ("host-2", "host-3")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with guest_lab(tmp_path_factory.mktemp("reboot") / "data") as lab:
        yield lab


@pytest.fixture()
def servers(lab):
    """Two servers that count, and one that is stopped, all on one host."""
    for other in OTHERS:
        lab.lenticular("host", "cordon", other)
    servers = {name: lab.counting(name) for name in ("one", "two", "still")}
    assert {lab.host_of(server) for server in servers.values()} == {HOME}
    lab.act(servers["still"], "os-stop")
    lab.wait_status(servers["still"], "SHUTOFF")
    for other in OTHERS:
        lab.lenticular("host", "uncordon", other)
    yield servers
    for server in servers.values():
        lab.delete(server)
        lab.wait_gone(server)


def plan(lab, name):
    return lab.get(f"/operator/v1/plans/{name}")


def reboot(lab, *more):
    """Starts a plan that boots the host, and gives its name."""
    return json.loads(lab.lenticular("host", "reboot", HOME, "--json", *more))["name"]


def wait_stage(lab, name, *stages):
    return wait_until(f"the host is {stages}", lambda: plan(lab, name)["host"]["stage"] in stages, every_s=0.05,
                      deadline_s=120)


def boots(lab, server):
    return lab.console(server).count("lenticular-guest: boot")


def in_next_boot(lab, facts):
    """The host is measured so after its next boot."""
    (lab.data / "hosts" / HOME / "facts-next.json").write_text(json.dumps(facts))


def test_guests_sleep_while_their_host_boots_and_processes_are_killed(lab, servers):
    watch = Watch()
    watch.start()
    seen = {name: lab.counts(servers[name])[-1] for name in ("one", "two")}
    before = lab.show_host(HOME)
    in_next_boot(lab, {"versions": {"kernel": "99.1-1"}})
    preview = json.loads(lab.lenticular("host", "reboot", HOME, "--guests", "suspend", "--plan", "--json"))
    assert [(step["name"], step["state"]) for step in preview["steps"]] == [("one", "suspends"), ("two", "suspends")]
    name = reboot(lab, "--guests", "suspend", "--reason", "a new kernel")
    assert lab.show_host(HOME)["state"] == "draining"
    wait_until("a guest is suspended", lambda: plan(lab, name)["under_way"], every_s=0.02)
    lab.kill(HOME)
    lab.restart()
    wait_until("the first guest sleeps", lambda: any(s["state"] == "suspended" for s in plan(lab, name)["steps"]), every_s=0.05)
    lab.kill("control-plane")
    lab.restart()
    wait_stage(lab, name, "booting", "proving itself", "waking guests")
    lab.kill("control-plane")
    lab.restart()
    wait_until("the host has booted", lambda: lab.show_host(HOME)["boot_id"] != before["boot_id"], deadline_s=60)
    lab.kill("control-plane")
    lab.kill(HOME)
    lab.restart()
    lab.lenticular("plan", "show", name, "--wait")
    done = plan(lab, name)
    assert (done["phase"], done["woken"], done["moved"], done["host"]["stage"]) == ("done", 2, 0, "done")
    assert done["host"]["before"] != done["host"]["after"] and "kernel 99.1-1" in done["host"]["after"]
    after = lab.show_host(HOME)
    assert (after["state"], after["versions"]["kernel"]) == ("up", "99.1-1")
    for name_of in seen:
        assert lab.wait_counting(servers[name_of]) > seen[name_of]
        assert in_order(lab.counts(servers[name_of])) and boots(lab, servers[name_of]) == 1, "it was not started anew"
        assert lab.host_of(servers[name_of]) == HOME
    assert lab.server(servers["still"])["status"] == "SHUTOFF"
    watch.end()
    journal = lab.get(f"/operator/v1/servers/{servers['one']}/journal")
    assert f"reconcile plan {name}" in [line["why"] for line in journal], journal


def test_guests_leave_a_host_that_boots(lab, servers):
    seen = {name: lab.counts(servers[name])[-1] for name in ("one", "two")}
    before = lab.show_host(HOME)["boot_id"]
    in_next_boot(lab, {"versions": {"kernel": "99.1-1"}})
    lab.lenticular("plan", "show", reboot(lab), "--wait")
    after = lab.show_host(HOME)
    assert (after["state"], after["servers"], after["boot_id"] != before) == ("up", 0, True)
    for name in seen:
        assert lab.wait_counting(servers[name]) > seen[name] and lab.host_of(servers[name]) != HOME
        assert in_order(lab.counts(servers[name])) and boots(lab, servers[name]) == 1
    assert lab.server(servers["still"])["status"] == "SHUTOFF" and lab.host_of(servers["still"]) != HOME


def test_a_host_that_boots_a_denied_kernel_halts_the_plan_and_its_guests_sleep_on(lab, servers):
    seen = {name: lab.counts(servers[name])[-1] for name in ("one", "two")}
    lab.lenticular("rule", "add", "deny", "kernel", "99.2-1", "--name", "bad-kernel", "--reason", "guests lose time")
    in_next_boot(lab, {"versions": {"kernel": "99.2-1"}})
    name = reboot(lab, "--guests", "suspend")
    code, said = lab.lenticular("plan", "show", name, "--wait", ok=False)
    assert code == 2 and "is denied by rule bad-kernel: guests lose time" in " ".join(said.split()), said
    assert [step["state"] for step in plan(lab, name)["steps"]] == ["suspended", "suspended"]
    assert not [server for server, host, _ in guests(lab.data).values() if host == HOME]
    # The operator knows better, and the plan goes on where it was.
    lab.lenticular("rule", "remove", "bad-kernel")
    lab.lenticular("plan", "resume", name)
    lab.lenticular("plan", "show", name, "--wait")
    assert plan(lab, name)["woken"] == 2 and lab.show_host(HOME)["state"] == "up"
    for name_of in seen:
        assert lab.wait_counting(servers[name_of]) > seen[name_of]
        assert in_order(lab.counts(servers[name_of])) and boots(lab, servers[name_of]) == 1


def test_an_action_that_fails_is_shown_and_an_abort_wakes_the_guests(lab, servers):
    config = lab.data / f"{HOME}.toml"
    allowed = config.read_text()
    config.write_text('[actions.reboot]\ncommand = ["sh", "-c", "echo the power supply says no; exit 3"]\n')
    lab.kill(HOME)
    lab.restart()
    before = lab.show_host(HOME)["boot_id"]
    name = reboot(lab, "--guests", "stop")
    code, said = lab.lenticular("plan", "show", name, "--wait", ok=False)
    said = " ".join(said.split())
    assert code == 2 and "'sh' failed (exit status: 3): the power supply says no" in said, said
    assert lab.show_host(HOME)["last_action"] == ["reboot", "'sh' failed (exit status: 3)", "the power supply says no"]
    assert {lab.server(servers[name_of])["status"] for name_of in ("one", "two")} == {"SHUTOFF"}
    lab.lenticular("plan", "abort", name)
    for name_of in ("one", "two"):
        lab.wait_status(servers[name_of], "ACTIVE")
        lab.wait_counting(servers[name_of])
    assert in_order(lab.counts(servers["one"])) and boots(lab, servers["one"]) == 2
    assert lab.server(servers["still"])["status"] == "SHUTOFF"
    shown = lab.show_host(HOME)
    assert (shown["boot_id"], shown["state"]) == (before, "closed")
    lab.lenticular("host", "undrain", HOME)
    config.write_text(allowed)
    lab.kill(HOME)
    lab.restart()
    # A configuration without the action is refused before anything begins.
    config.write_text("")
    lab.kill(HOME)
    lab.restart()
    wait_until("the host allows no action", lambda: not lab.show_host(HOME)["actions"])
    code, said = lab.lenticular("host", "reboot", HOME, ok=False)
    assert code == 1 and "allows no action 'reboot'" in said, said
    config.write_text(allowed)
    lab.kill(HOME)
    lab.restart()
    wait_until("the host allows the action", lambda: lab.show_host(HOME)["actions"] == ["reboot"])


def test_a_host_runs_its_own_actions_and_is_what_was_expected(lab, servers):
    config, facts = lab.data / f"{HOME}.toml", lab.data / "hosts" / HOME / "facts.json"
    allowed = config.read_text()
    upgrade = f"""echo "to $LENTICULAR_EXPECT"; sed -i 's/99.[0-9]-1/99.9-1/' {facts}"""
    facts.write_text(json.dumps({"boot_id": lab.show_host(HOME)["boot_id"], "versions": {"kernel": "99.3-1"}}))
    config.write_text(f"{allowed}\n[actions.upgrade]\ncommand = {json.dumps(['sh', '-c', upgrade])}\n")
    lab.kill(HOME)
    lab.restart()
    wait_until("the host allows the action", lambda: "upgrade" in lab.show_host(HOME)["actions"])
    seen = {name: lab.counts(servers[name])[-1] for name in ("one", "two")}
    name = json.loads(lab.lenticular("host", "run", HOME, "upgrade", "--expect", "kernel=99.9-1", "--json"))["name"]
    lab.lenticular("plan", "show", name, "--wait")
    shown = lab.show_host(HOME)
    assert (shown["state"], shown["versions"]["kernel"]) == ("up", "99.9-1")
    assert shown["last_action"] == ["upgrade", "ended well", "to kernel=99.9-1"]
    for name_of in seen:
        assert lab.wait_counting(servers[name_of]) > seen[name_of] and boots(lab, servers[name_of]) == 1
    code, said = lab.lenticular("host", "run", HOME, "upgrade", "--expect", "kernel=99.9-1", ok=False)
    assert code == 1 and "has kernel 99.9-1 already" in said, said
    # It says that all is well, and changed nothing.
    name = json.loads(lab.lenticular("host", "run", HOME, "upgrade", "--expect", "kernel=99.10-1", "--json"))["name"]
    code, said = lab.lenticular("plan", "show", name, "--wait", ok=False)
    assert code == 2 and "kernel of host host-1 is 99.9-1; 99.10-1 was expected" in " ".join(said.split()), said
    lab.lenticular("host", "undrain", HOME)
    config.write_text(allowed)
    lab.kill(HOME)
    lab.restart()
    wait_until("the host allows one action", lambda: lab.show_host(HOME)["actions"] == ["reboot"])


def test_guests_that_died_are_recovered(lab, servers):
    lab.openstack("--os-compute-api-version", "2.26", "server", "set", "--tag", "lenticular:start-order=7", "two")
    for pid, (_, host, _) in guests(lab.data).items():
        if host == HOME:
            os.kill(pid, signal.SIGKILL)
    for name in ("one", "two"):
        lab.wait_status(servers[name], "ERROR")
    preview = json.loads(lab.lenticular("host", "recover", HOME, "--plan", "--json"))
    assert [(step["name"], step["state"]) for step in preview["steps"]] == [("two", "starts"), ("one", "starts")]
    name = json.loads(lab.lenticular("host", "recover", HOME, "--json"))["name"]
    lab.lenticular("plan", "show", name, "--wait")
    assert (plan(lab, name)["phase"], plan(lab, name)["woken"]) == ("done", 2)
    for name_of in ("one", "two"):
        lab.wait_counting(servers[name_of])
        assert in_order(lab.counts(servers[name_of])) and boots(lab, servers[name_of]) == 2
    assert lab.server(servers["still"])["status"] == "SHUTOFF"
    code, said = lab.lenticular("host", "recover", HOME, ok=False)
    assert code == 1 and "there is nothing to start" in said, said
