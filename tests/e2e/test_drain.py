"""A host with real guests is drained while the control plane and agents are killed, and its owners' wishes hold."""

import json
import os

import pytest

from cloud import wait_until
from lab import Watch, guest_lab, in_order

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

MAINTENANCE = "lenticular:maintenance"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with guest_lab(tmp_path_factory.mktemp("drain") / "data") as lab:
        yield lab


def plan(lab, name):
    return lab.get(f"/operator/v1/plans/{name}")


def steps(lab, name):
    return {step["name"]: step for step in plan(lab, name)["steps"]}


def test_a_host_is_drained_under_its_guests_while_processes_are_killed(lab):
    for other in ("host-2", "host-3"):
        lab.lenticular("host", "cordon", other)
    names = ["one", "two", "still", "stays"]
    servers = {name: lab.counting(name) for name in names}
    assert {lab.host_of(server) for server in servers.values()} == {"host-1"}
    lab.act(servers["still"], "os-stop")
    lab.wait_status(servers["still"], "SHUTOFF")
    lab.openstack("server", "set", "--property", f"{MAINTENANCE}=none", "stays")
    for other in ("host-2", "host-3"):
        lab.lenticular("host", "uncordon", other)
    # What would become of each server is said before anything begins.
    preview = {s["name"]: s for s in json.loads(lab.lenticular("host", "drain", "host-1", "--plan", "--json"))["steps"]}
    assert [(preview[name]["state"], preview[name]["mode"]) for name in names] == [
        ("moves", "live"), ("moves", "live"), ("moves", "cold"), ("waits", None)]
    watch = Watch()
    watch.start()
    seen = {name: lab.counts(servers[name])[-1] for name in ("one", "two", "stays")}
    name = json.loads(lab.lenticular("host", "drain", "host-1", "--reason", "a new kernel", "--json"))["name"]
    shown = lab.show_host("host-1")
    assert (shown["state"], shown["reason"]) == ("draining", f"being drained by plan {name}")
    # The plan goes on where it was when a process dies.
    for victim in ("control-plane", "host-1", "control-plane"):
        begun = plan(lab, name)
        wait_until("a move is under way, or another one is over",
                   lambda: plan(lab, name)["under_way"] or plan(lab, name)["moved"] > begun["moved"], every_s=0.02)
        lab.kill(victim)
        lab.restart()
    wait_until("all have moved that may", lambda: plan(lab, name)["moved"] == 3, deadline_s=240)
    waiting = steps(lab, name)["stays"]
    assert waiting["state"] == "waiting" and f"{MAINTENANCE}=none" in waiting["why"]
    assert plan(lab, name)["phase"] == "running" and lab.host_of(servers["stays"]) == "host-1"
    for name_of in ("one", "two", "stays"):
        assert lab.wait_counting(servers[name_of]) > seen[name_of]
        assert in_order(lab.counts(servers[name_of]))
        assert lab.console(servers[name_of]).count("lenticular-guest: boot") == 1, "it was not started anew"
    assert lab.server(servers["still"])["status"] == "SHUTOFF" and lab.host_of(servers["still"]) != "host-1"
    # Nothing comes to the host. The owner of the last server permits its move.
    refused = lab.request("POST", f"/compute/v2.1/servers/{servers['one']}/action", version="2.96",
                          json={"os-migrateLive": {"host": "host-1", "block_migration": "auto"}})
    assert refused.status_code == 400 and "is being drained" in refused.text, refused.text
    lab.openstack("server", "set", "--property", f"{MAINTENANCE}=live", "stays")
    lab.lenticular("plan", "show", name, "--wait")
    done = plan(lab, name)
    assert (done["phase"], done["moved"]) == ("done", 4)
    assert done["pace"]["shortest_gap_s"] >= 2 and done["pace"]["most_under_way"] <= 2
    print(f"pace: {done['pace']}")
    watch.end()
    assert lab.show_host("host-1")["servers"] == 0
    journal = lab.get(f"/operator/v1/servers/{servers['stays']}/journal")
    assert f"reconcile plan {name}" in [line["why"] for line in journal], journal
    lab.lenticular("host", "undrain", "host-1")
    assert lab.show_host("host-1")["state"] == "up" and lab.show_host("host-1")["servers"] == 0
    for server in servers.values():
        lab.delete(server)
        lab.wait_gone(server)


def test_the_command_line_says_how_a_plan_ended(lab):
    code, said = lab.lenticular("host", "drain", "nowhere", ok=False)
    assert code == 1 and "nowhere" in said
    # The last host that takes servers is drained only on its operator's word.
    server = lab.counting("lonely")
    home = lab.host_of(server)
    others = [name for name in ("host-1", "host-2", "host-3") if name != home]
    for other in others:
        lab.lenticular("host", "cordon", other, "--reason", "its fans are loud")
    code, said = lab.lenticular("host", "drain", home, ok=False)
    assert code == 1 and "1 of 1 servers find no host" in said and "its fans are loud" in said, said
    name = json.loads(lab.lenticular("host", "drain", home, "--anyway", "--json"))["name"]
    held = wait_until("it says what it waits for", lambda: steps(lab, name)["lonely"]["why"])
    assert "its fans are loud" in held and steps(lab, name)["lonely"]["next_try"]
    lab.lenticular("plan", "pause", name, "--reason", "no room")
    code, said = lab.lenticular("plan", "show", name, "--wait", ok=False)
    assert code == 3 and "is paused: no room" in said, said
    assert f"Plan {name} is paused: no room" in " ".join(lab.lenticular("status").split())
    lab.lenticular("plan", "abort", name)
    code, said = lab.lenticular("plan", "show", name, "--wait", ok=False)
    assert code == 2 and "is aborted" in said, said
    assert lab.host_of(server) == home and lab.wait_counting(server)
    lab.lenticular("host", "undrain", home)
    for other in others:
        lab.lenticular("host", "uncordon", other)
    lab.delete(server)
    lab.wait_gone(server)
