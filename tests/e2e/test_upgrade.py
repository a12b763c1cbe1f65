"""What 0.1.0 left behind: a store that it wrote is brought over, and a host whose agent is as old is understood."""

import json
import pathlib
import shutil
import sqlite3

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud import Cloud, wait_until
from test_roles import Apart

FORMER = pathlib.Path(__file__).parent / "fixtures/store-0.1.0"


def test_a_store_that_0_1_0_wrote_is_brought_over(tmp_path):
    data = tmp_path / "data"
    alone = Apart(data)
    for name in ("admin-password", "token-keys"):
        shutil.copy(FORMER / name, data / name)
        (data / name).chmod(0o600)
    store = sqlite3.connect(data / "store.db")
    store.executescript((FORMER / "store.sql").read_text())
    store.close()
    ids = json.loads((FORMER / "ids.json").read_text())
    # Its hosts are silent: everything is as it was, and the disks that were left behind have kept their names.
    try:
        alone.start()
        left = json.loads(alone.lenticular("server", "disk", "list", ids["moved"], "--json"))
        assert [(disk["id"], disk["generation"]) for disk in left] == [("229cb929-4b2a-45d5-b15e-a017e6e5f93b", 1)]
        assert alone.get(f"/operator/v1/servers/{ids['moved']}/where")["disk_generation"] == 2
        for name in ("active", "stopped", "moved", "resized", "shelved"):
            assert alone.server(ids[name])["updated"].startswith("2026-11-30T05"), "the upgrade is no change of a server"
        alone.stop()
    finally:
        alone.down()
    c = Cloud(data, hosts=3)
    try:
        c.start().wait_for_hosts()
        for name, status in (("active", "ACTIVE"), ("stopped", "SHUTOFF"), ("moved", "ACTIVE"), ("resized", "VERIFY_RESIZE"),
                             ("shelved", "SHELVED_OFFLOADED")):
            c.wait_status(ids[name], status)
        # Everything goes on: a way back, a restart, a move, a deletion.
        c.act(ids["resized"], "revertResize")
        c.act(ids["stopped"], "os-start")
        c.act(ids["active"], "os-migrateLive", {"host": None, "block_migration": True, "disk_over_commit": False})
        c.delete(ids["moved"])
        for name in ("resized", "stopped", "active"):
            c.wait_status(ids[name], "ACTIVE")
        c.wait_gone(ids["moved"])
        kinds = dict(sqlite3.connect(f"file:{data}/store.db?mode=ro", uri=True).execute(
            "SELECT kind, count(*) FROM records WHERE kind LIKE 'disk%' GROUP BY kind"))
        assert set(kinds) == {"disk"}
        c.stop()
        c.start().wait_for_hosts()
        assert c.server(ids["shelved"])["status"] == "SHELVED_OFFLOADED"
    finally:
        c.down()


class FormerHost:
    """A host whose agent speaks version 2."""

    def __init__(self, cloud, home, name):
        self.cloud, self.name = cloud, name
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        pem = lambda thing: thing.public_bytes(serialization.Encoding.PEM).decode()
        asked = {"version": 2, "host_name": name, "token": cloud.enrol(name)["token"], "request": pem(request)}
        self.ca = cloud.data / "ca.crt"
        answer = requests.post(f"{cloud.agent_url}/agent/v1/enrol", json=asked, verify=self.ca, timeout=60)
        assert answer.status_code in (200, 201), answer.text
        home.mkdir()
        (home / "cert").write_text(answer.json()["certificate"])
        (home / "key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        self.cert = (home / "cert", home / "key")
        self.guests, self.number = {}, 0

    def call(self, method, path, **more):
        return requests.request(method, f"{self.cloud.agent_url}/agent/v1/{path}", cert=self.cert, verify=self.ca, timeout=60,
                                **more)

    def hello(self, version=2, incarnation=None):
        hello = {
            "version": version, "host_name": self.name, "boot_id": "boot-1", "address": "192.0.2.7",
            "peer_address": "192.0.2.7:9172", "zone": "nova", "capacity": {"vcpus": 8, "memory_mb": 16384, "disk_gb": 200},
            "hypervisor": {"driver": "qemu", "acceleration": "kvm", "version": 7002022, "arch": "x86_64",
                           "cpu_model": "EPYC", "trouble": None, "wiring": {"driver": "user"}},
            "incarnation": incarnation, "applied_upto": 0, "inventory": list(self.guests.values())}
        return self.call("POST", "hello", json=hello)

    def join(self):
        first = self.hello().json()
        self.welcome = self.hello(incarnation=first["incarnation"]).json()
        self.number = 0
        return self

    def orders(self):
        query = {"session": self.welcome["session"], "incarnation": self.welcome["incarnation"], "after": 0}
        answer = self.call("GET", f"hosts/{self.welcome['host_id']}/orders", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["orders"]

    def report(self, server, generation, boot, sight):
        self.number += 1
        seen = {"server_id": server, "generation": generation, "boot": boot, "sight": sight}
        self.guests[server] = seen
        report = {"session": self.welcome["session"], "number": self.number, "incarnation": self.welcome["incarnation"],
                  "observations": [seen]}
        answer = self.call("POST", f"hosts/{self.welcome['host_id']}/observations", json=report)
        assert answer.status_code == 204, answer.text


def test_an_agent_of_version_2_is_understood(tmp_path):
    c = Apart(tmp_path / "data")
    try:
        c.start()
        host = FormerHost(c, tmp_path / "home", "rack-old").join()
        image = c.upload("blank", data=b"\0" * 4096, disk_format="raw")
        server = c.create("plain", image)
        orders = wait_until("the host has an order", host.orders)
        assert [order["order"] for order in orders] == ["own"]
        # As before: one disk, which is said by its image, and no word that such an agent does not know.
        assert orders[0]["guest"]["base"]["image_id"] == image and "disks" not in orders[0]["guest"]
        assert orders[0]["disk_made"] is False and orders[0]["generation"] == 1
        host.report(server, 1, 1, {"is": "running", "ssh_forward": None})
        c.wait_status(server, "ACTIVE")
        c.act(server, "os-stop")
        host.report(server, 1, 1, {"is": "stopped", "why": "ordered"})
        c.wait_status(server, "SHUTOFF")

        # What it cannot do is refused with words, and its guests are left alone.
        code, said = c.lenticular("host", "check", "rack-old", ok=False)
        assert code != 0 and "too old to check its host" in said
        body = {"flavor": {"name": "wide", "ram": 128, "vcpus": 1, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 1, "swap": 64}}
        flavor = c.post("/compute/v2.1/flavors", body)["flavor"]["id"]
        wide = c.create("wide", image, flavor=flavor)
        wait_until("there is no host for it", lambda: c.server(wide)["status"] == "ERROR")
        assert "too old for the server" in c.lenticular("server", "explain", wide)
        assert [order["server_id"] for order in host.orders()] == [server]
        for version in (1, 4, 99):
            refused = host.hello(version)
            assert refused.status_code == 400 and f"version {version} of the agent protocol" in refused.text, refused.text
        assert host.orders(), "its session goes on"

        # What a host says of itself is bounded: a text is cut, and more than that is refused and changes nothing.
        shown = lambda: json.loads(c.lenticular("host", "show", "rack-old", "--json"))
        assert (shown()["kernel"], shown()["protocol"]) == ("", 2)
        report = {"session": host.welcome["session"], "number": 90, "incarnation": host.welcome["incarnation"], "guests": []}
        say = lambda **more: host.call("POST", f"hosts/{host.welcome['host_id']}/observations", json={**report, **more})
        # Just beyond the bound: the server reads so little more, and the answer always arrives.
        assert say(host={"kernel": "k" * (4 << 20)}).status_code == 413
        assert shown()["kernel"] == ""
        checks = [{"check": f"check-{n}"} for n in range(300)]
        refused = say(evidence=checks)
        assert refused.status_code == 400 and "at most 256 checks" in refused.text, refused.text
        refused = say(host={"capacity": {"vcpus": 1 << 40, "memory_mb": 1, "disk_gb": 1}})
        assert refused.status_code == 400 and "No machine has" in refused.text, refused.text
        assert shown()["kernel"] == ""
        assert say(host={"kernel": "k" * 3_000_000}).status_code == 204
        assert shown()["kernel"] == "k" * 4_096
    finally:
        c.down()
