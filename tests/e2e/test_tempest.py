"""OpenStack's own tests (Tempest): those of a first hour with a cloud, and those that once decided who may call a cloud
OpenStack. `tempest.txt` has their names. Every night those of `tempest-nightly.txt`, too. On simulated hosts."""

import configparser
import os
import pathlib
import re
import subprocess

import pytest

from cloud import Cloud

HERE = pathlib.Path(__file__).parent
VENV = HERE.parents[1] / ".cache/tempest/bin"
NIGHTLY = pytest.mark.skipif(not os.environ.get("LENTICULAR_NIGHTLY"), reason="some minutes of tests, for the nightly run")

LOGINS = """
[security_compliance]
lockout_failure_attempts = 2
lockout_duration = 2
unique_last_password_count = 2
"""

STESTR = """
import os, tempest
home = os.path.dirname(tempest.__file__)
print(f"[DEFAULT]\\ntest_path={home}/test_discover\\ntop_dir={os.path.dirname(home)}\\ngroup_regex=([^\\\\.]*\\\\.)*")
"""


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path / "data", hosts=3, settings=LOGINS)
    try:
        yield cloud.start().wait_for_hosts()
    finally:
        cloud.down()


def settings(cloud, folder):
    """What Tempest must know of the cloud."""
    image, other = (cloud.upload(name, data=b"\0" * (1 << 20), disk_format="raw") for name in ("one", "two"))
    outside = cloud.post("/network/v2.0/networks", {"network": {"name": "public", "router:external": True}})["network"]["id"]
    subnet = {"network_id": outside, "cidr": "172.24.4.0/24", "ip_version": 4, "enable_dhcp": False}
    cloud.post("/network/v2.0/subnets", {"subnet": subnet})
    extensions = [e["alias"] for e in cloud.get("/network/v2.0/extensions")["extensions"]]
    yes, no = "true", "false"
    return {
        "DEFAULT": {"log_dir": folder, "log_file": "tempest.log", "use_stderr": no},
        "oslo_concurrency": {"lock_path": folder},
        "auth": {"admin_username": "admin", "admin_project_name": "admin", "admin_password": cloud.password(),
                 "admin_domain_name": "Default", "use_dynamic_credentials": yes, "create_isolated_networks": yes},
        "service_available": {"cinder": no, "swift": no, "horizon": no},
        "identity": {"uri_v3": f"{cloud.url}/identity/v3", "auth_version": "v3", "region": "RegionOne",
                     "user_lockout_failure_attempts": "2", "user_lockout_duration": "2", "user_unique_last_password_count": "2"},
        "identity-feature-enabled": {"security_compliance": yes, "trust": yes, "access_rules": yes},
        "compute": {"image_ref": image, "image_ref_alt": other, "flavor_ref": "42", "flavor_ref_alt": "84",
                    "build_interval": "0", "build_timeout": "60", "min_compute_nodes": "3", "max_microversion": "latest"},
        "compute-feature-enabled": {
            "change_password": yes, "console_output": yes, "resize": yes, "pause": yes, "suspend": yes, "shelve": yes,
            "cold_migration": yes, "live_migration": yes, "block_migration_for_live_migration": yes, "vnc_console": yes,
            "rescue": yes, "stable_rescue": yes, "interface_attach": yes, "snapshot": yes, "personality": yes,
            "config_drive": yes,
            "scheduler_enabled_filters": "ComputeFilter,ServerGroupAffinityFilter,ServerGroupAntiAffinityFilter,"
                                         "SameHostFilter,DifferentHostFilter"},
        "image-feature-enabled": {"import_image": no},
        "network": {"public_network_id": outside, "floating_network_name": "public", "project_networks_reachable": no},
        "network-feature-enabled": {"api_extensions": ",".join(extensions), "ipv6_subnet_attributes": yes},
        "validation": {"run_validation": no},
    }


@pytest.mark.parametrize("listed", ["tempest.txt", pytest.param("tempest-nightly.txt", marks=NIGHTLY)])
def test_openstacks_own_tests_pass(cloud, tmp_path, measured, listed):
    tests = [line for line in (HERE / listed).read_text().splitlines() if not line.startswith("#")]
    etc = tmp_path / "etc"
    etc.mkdir()
    config = configparser.ConfigParser(interpolation=None)
    config.read_dict({section: {name: str(value) for name, value in values.items()}
                      for section, values in settings(cloud, tmp_path).items()})
    with open(etc / "tempest.conf", "w") as file:
        config.write(file)
    (tmp_path / "names").write_text("".join(f"^{re.escape(name)}\\b\n" for name in tests))
    (tmp_path / ".stestr.conf").write_text(subprocess.check_output([VENV / "python", "-c", STESTR], text=True))
    env = {**os.environ, "TEMPEST_CONFIG_DIR": str(etc), "TEMPEST_CONFIG": "tempest.conf", "OS_TEST_TIMEOUT": "120"}
    done = subprocess.run([VENV / "stestr", "run", "--concurrency", "2", "--include-list", "names"], cwd=tmp_path, env=env,
                          capture_output=True, text=True, timeout=1800)
    # Skipped or not found is not passed.
    passed = re.findall(r"^\{\d+\} (\S+) \[.*\] \.\.\. ok$", done.stdout, re.MULTILINE)
    missing = sorted(set(tests) - set(passed))
    assert not missing, "\n".join(missing) + done.stdout[-5000:] + done.stderr[-2000:]
    measured(re.search(r"^Ran: .*$", done.stdout, re.MULTILINE)[0])
