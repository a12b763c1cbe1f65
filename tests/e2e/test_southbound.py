"""Who reaches OVN's southbound database: hosts with their certificates, each with the rights of its own chassis."""

import os
import signal
import socket
import ssl
import subprocess
import tomllib

import pytest

from cloud import wait_until
from lab import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("southbound") / "data", hosts=2)
    try:
        lab.start("--network", "ovn")
        lab.southbound = tomllib.loads((lab.data / "server.toml").read_text())["ovn"]["southbound_listen"]
        own = [f"--db=unix:{lab.data}/ovn/sb.sock"]
        chassis = lambda: sorted(sbctl(own, "--bare", "--columns=name", "list", "Chassis").stdout.split())
        wait_until("both hosts have told it of themselves", lambda: chassis() == ["host-1", "host-2"])
        yield lab
    finally:
        lab.down()


def sbctl(where, *words):
    return subprocess.run(["ovn-sbctl", "--timeout=5", "--no-leader-only", *where, *words], capture_output=True, text=True, timeout=20)


def as_host(lab, name, db=None):
    own = lab.data / "hosts" / name / "identity"
    return [f"--db={db or 'ssl:' + lab.southbound}", "-p", own / "host.pem", "-c", own / "host.pem", "-C", own / "ca.pem"]


def test_a_host_sees_all_and_changes_nothing_of_others(lab):
    one = as_host(lab, "host-1")
    assert sbctl(one, "--bare", "--columns=name", "list", "Chassis").returncode == 0
    denied = [
        ["destroy", "Chassis", "host-2"],
        ["set", "Chassis", "host-2", "hostname=mine"],
        ["create", "Logical_Flow", "pipeline=ingress", "table_id=1", "priority=1", "match=x", "actions=y"],
        ["set-connection", "ptcp:16642"],
        ["chassis-add", "host-3", "geneve", "10.0.0.1"],
    ]
    for words in denied:
        done = sbctl(one, *words)
        assert done.returncode != 0 and "permission error" in done.stderr, (words, done)


def test_nobody_else_is_let_in(lab):
    host, port = lab.southbound.split(":")
    assert sbctl([f"--db=tcp:{lab.southbound}"], "show").returncode != 0, "in the clear"
    ours = lab.data / "hosts/host-1/identity"
    ask = b'{"method": "list_dbs", "params": [], "id": 0}'

    def answers(context):
        try:
            with socket.create_connection((host, int(port)), timeout=5) as plain, context.wrap_socket(plain) as stream:
                stream.sendall(ask)
                return b"OVN_Southbound" in stream.recv(1000)
        except OSError:
            return False

    def context(certificate=None):
        made = ssl.create_default_context(cafile=ours / "ca.pem")
        made.check_hostname = False
        if certificate:
            made.load_cert_chain(certificate)
        return made

    assert answers(context(ours / "host.pem")), "a host"
    assert not answers(context()), "one without a certificate"
    # What the database shows itself by opens nothing.
    assert not answers(context(lab.data / "ovn/southbound.pem")), "a server"


def test_a_new_certificate_is_shown_without_a_restart_of_the_database(lab):
    pid = (lab.data / "ovn/ovsdb-relay.pid").read_text()
    host, port = lab.southbound.split(":")
    shown = lambda: ssl.get_server_certificate((host, int(port)), timeout=5)
    before = shown()
    # It has a new one made whenever it starts.
    lab.kill("control-plane")
    lab.restart()
    wait_until("the new one is shown", lambda: shown() != before)
    assert (lab.data / "ovn/ovsdb-relay.pid").read_text() == pid
    assert sbctl(as_host(lab, "host-1"), "show").returncode == 0


def test_no_host_keeps_the_translator_from_its_work(lab):
    """The lock by which ovn-northd knows that it may work is not to be had where hosts are let in."""
    host, port = lab.southbound.split(":")
    ours = lab.data / "hosts/host-1/identity"
    context = ssl.create_default_context(cafile=ours / "ca.pem")
    context.check_hostname = False
    context.load_cert_chain(ours / "host.pem")
    with socket.create_connection((host, int(port)), timeout=5) as plain, context.wrap_socket(plain) as stream:
        stream.sendall(b'{"method": "steal", "params": ["ovn_northd"], "id": 1}')
        assert b'"result"' in stream.recv(1000)
        network = lab.post("/network/v2.0/networks", {"network": {"name": "after"}})["network"]["id"]
        own = [f"--db=unix:{lab.data}/ovn/sb.sock"]
        wait_until("the network is translated", lambda: network in sbctl(own, "list", "Datapath_Binding").stdout, deadline_s=60)


def test_files_that_are_lost_come_back(lab):
    for file in (lab.data / "ovn/southbound.pem", lab.data / "hosts/host-2/identity/host.pem"):
        file.unlink()
    own = lab.data / "ovn/ovsdb-relay.pid"
    os.kill(int(own.read_text()), signal.SIGKILL)
    wait_until("hosts are let in again", lambda: sbctl(as_host(lab, "host-1"), "show").returncode == 0)
    wait_until("the host has its certificate", lambda: sbctl(as_host(lab, "host-2"), "show").returncode == 0)


def test_no_host_passes_for_the_database(lab, tmp_path):
    theirs = lab.data / "hosts/host-2/identity"
    subprocess.run(["ovsdb-tool", "create", tmp_path / "sb.db", "/usr/share/ovn/ovn-sb.ovsschema"], check=True)

    def serve(name, pem):
        with open(tmp_path / f"{name}.log", "w") as log:
            return subprocess.Popen(
                ["ovsdb-server", tmp_path / "sb.db", "--remote=pssl:0:127.0.0.1", "-p", pem, "-c", pem, "-C", theirs / "ca.pem",
                 "--no-chdir", f"--unixctl={tmp_path}/{name}.ctl", "-vconsole:info"], stderr=log)

    def port(name):
        said = (tmp_path / f"{name}.log").read_text().split("listening on port ")
        return said[1].split()[0] if len(said) > 1 else None

    for name, pem, is_believed in (("host", theirs / "host.pem", False), ("database", lab.data / "ovn/southbound.pem", True)):
        server = serve(name, pem)
        try:
            at = wait_until("it listens", lambda: port(name))
            done = sbctl(as_host(lab, "host-1", f"ssl:127.0.0.1:{at}"), "show")
            assert (done.returncode == 0) == is_believed, (name, done)
        finally:
            server.kill()
            server.wait()


def test_a_host_whose_controller_lost_the_database_is_shown_as_such(lab):
    agents = lambda: {a["host"]: a for a in lab.get("/network/v2.0/agents")["agents"]}
    # What tests before this one ended is back.
    wait_until("all is well", lambda: all(agent["alive"] for agent in agents().values()))
    switch = ["ovs-vsctl", f"--db=unix:{lab.data}/hosts/host-2/ovs/db.sock", "set", "Open_vSwitch", "."]
    away = lambda remote: subprocess.run([*switch, f"external_ids:ovn-remote={remote}"], check=True)
    away(f"ssl:{lab.southbound.split(':')[0]}:1")
    wait_until("it is shown", lambda: not agents()["host-2"]["alive"])
    assert "does not reach the southbound database" in agents()["host-2"]["description"]
    assert "does not reach the southbound database" in lab.lenticular("host", "list", "--json")
    assert agents()["host-1"]["alive"]
    # The host itself is there, and does what it can.
    services = lab.get("/compute/v2.1/os-services?binary=nova-compute&host=host-2")["services"]
    assert [service["state"] for service in services] == ["up"]
    away(f"ssl:{lab.southbound}")
    wait_until("it is shown to be well again", lambda: agents()["host-2"]["alive"] and agents()["host-2"]["description"] == "")


def test_a_retired_host_leaves_nothing_behind(lab):
    lab.kill("host-2")
    for daemon in ("ovn-controller", "ovs-vswitchd"):
        os.kill(int((lab.data / f"hosts/host-2/ovs/{daemon}.pid").read_text()), signal.SIGKILL)
    own = [f"--db=unix:{lab.data}/ovn/sb.sock"]
    there = lambda table: sbctl(own, "--bare", "--columns=name", "list", table).stdout.split()
    assert "host-2" in there("Chassis") and "host-2" in there("Chassis_Private")
    lab.lenticular("host", "retire", "host-2")
    wait_until("it is gone", lambda: there("Chassis") == ["host-1"] == there("Chassis_Private"))
    assert len(sbctl(own, "--bare", "--columns=ip", "list", "Encap").stdout.split()) == 1
