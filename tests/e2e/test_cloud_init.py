"""Real Debian with real cloud-init, which has nothing but the network to learn from what it is."""

import os
import subprocess

import pytest

from cloud import ROOT, wait_until
from net import OvnLab, Tenant

IMAGE = ROOT / "guest/out/debian.qcow2"

pytestmark = pytest.mark.skipif(not os.environ.get("LENTICULAR_NIGHTLY"), reason="only the nightly run has the image")

CONFIG = """#cloud-config
write_files:
  - path: /etc/from-user-data
    content: it was here
runcmd:
  - [sh, -c, "echo user-data ran on $(hostname) > /dev/ttyS0"]
"""


def test_cloud_init_configures_itself_from_the_metadata_service(tmp_path, key):
    lab = OvnLab(tmp_path / "lab", hosts=1)
    try:
        lab.start(key)
        lab.image = lab.upload("debian", path=IMAGE)
        flavor = lab.post("/compute/v2.1/flavors", {"flavor": {"name": "debian", "ram": 512, "vcpus": 1, "disk": 3}})
        tenant = Tenant(lab, "red")
        guest = tenant.server("debian-1", flavor=flavor["flavor"]["id"], script=CONFIG).float()
        done = lambda: "finished at" in lab.console(guest.id)
        wait_until("cloud-init has finished", done, deadline_s=400, every_s=2)
        console = lab.console(guest.id)
        assert "DataSourceOpenStack" in console and "user-data ran on debian-1" in console, console[-3000:]
        ssh = ["ssh", "-i", key[0], "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
               "LogLevel=ERROR", f"debian@{guest.floating}"]
        said = subprocess.run([*ssh, "hostname; cat /etc/from-user-data; ip -4 -br address show eth0; cloud-init query ds.meta_data.uuid"],
                              capture_output=True, text=True, timeout=60)
        assert said.returncode == 0, said.stderr
        assert "debian-1" in said.stdout and "it was here" in said.stdout and guest.address in said.stdout
    finally:
        lab.down()
