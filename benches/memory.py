"""Measures the memory of a cloud: idle, after a load, and at rest again; with --guests, an agent with real guests.

    .venv/bin/python benches/memory.py                  a cloud with 2 simulated hosts
    .venv/bin/python benches/memory.py --guests 50      this machine as a host, with 50 real guests

It uses the release build unless LENTICULAR_BINARY names another one. The memory is PSS, and what is resident.
"""

import argparse
import concurrent.futures
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))

from cloud import GUEST_IMAGE, Cloud, wait_until  # noqa: E402

LOGINS = 400
SERVERS = 1_000
# How long an idle cloud rests before it is measured, and a loaded one before it is measured again.
IDLE_S = 15
REST_S = 30


def memory(pid):
    """PSS, what is resident and what is neither a file's nor shared, in MiB."""
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, amount = line.split(":")
        fields[name] = int(amount.split()[0]) / 1024
    return fields["Pss"], fields["Rss"], fields["Pss_Anon"]


def cpu_s(pid):
    """The CPU time that a process took until now."""
    user, system = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def tell(when, pid):
    pss, resident, anonymous = memory(pid)
    print(f"{when:44} PSS {pss:6.1f} MiB   resident {resident:6.1f} MiB   anonymous {anonymous:6.1f} MiB", flush=True)
    return pss


def simulated(scratch):
    cloud = Cloud(pathlib.Path(scratch) / "data", hosts=2)
    try:
        cloud.start().wait_for_hosts()
        image = cloud.upload("small", data=b"\0" * 1024, disk_format="raw")
        cloud.post("/compute/v2.1/flavors", {"flavor": {"id": "tiny", "name": "tiny", "vcpus": 1, "ram": 1, "disk": 0}})
        network = cloud.network("measured")
        unlimited = {"instances": -1, "cores": -1, "ram": -1}
        project = cloud.get("/identity/v3/auth/projects")["projects"][0]["id"]
        cloud.request("PUT", f"/compute/v2.1/os-quota-sets/{project}", json={"quota_set": unlimited})
        cloud.request("PUT", f"/network/v2.0/quotas/{project}", json={"quota": {"port": -1}})
        pid = cloud.process.pid
        time.sleep(IDLE_S)
        idle = tell("idle, 2 simulated hosts", pid)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in pool.map(lambda _: cloud.login(), range(LOGINS)):
                pass
            tell(f"at the end of {LOGINS} log-ins", pid)
            create = lambda n: cloud.create(f"server-{n}", image, flavor="tiny", network=network)
            servers = list(pool.map(create, range(SERVERS)))
        tell(f"at the end of {SERVERS} creates", pid)
        settled = lambda: not cloud.get("/compute/v2.1/servers?status=BUILD&limit=1&all_tenants=1")["servers"]
        wait_until("no server is being built", settled)
        time.sleep(REST_S)
        rest = tell(f"{REST_S} s later, with {len(servers)} servers", pid)
        print(f"{'more than before the load':44} {rest - idle:10.1f} MiB")
    finally:
        cloud.down()


def guests(scratch, count):
    cloud = Cloud(pathlib.Path(scratch) / "data")
    try:
        cloud.start().wait_for_hosts()
        pid = cloud.process.pid
        time.sleep(IDLE_S)
        tell("idle, this machine as a host", pid)
        image = cloud.upload("guest", path=GUEST_IMAGE)
        cloud.post("/compute/v2.1/flavors", {"flavor": {"id": "tiny", "name": "tiny", "vcpus": 1, "ram": 64, "disk": 1}})
        network = cloud.network("measured")
        servers = [cloud.create(f"guest-{n}", image, flavor="tiny", network=network) for n in range(count)]
        for server in servers:
            cloud.wait_status(server, "ACTIVE")
        time.sleep(REST_S)
        before, began = cpu_s(pid), time.monotonic()
        time.sleep(REST_S)
        share = (cpu_s(pid) - before) / (time.monotonic() - began)
        tell(f"with {count} guests", pid)
        print(f"{'CPU of control plane and agent in one process':44} {share * 100:10.2f} % of a core")
    finally:
        cloud.down()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guests", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        guests(scratch, asked.guests) if asked.guests else simulated(scratch)


if __name__ == "__main__":
    main()
