"""Clouds that tests share: one of simulated hosts, and one of real guests on this machine; what tests have measured, which
is printed at the end of the run; and what the clouds of a test that failed have logged."""

import subprocess

import pytest

from cloud import BINARY, GUEST_IMAGE, Cloud
from lab import Lab


def pytest_configure(config):
    if not BINARY.exists():
        raise pytest.UsageError(f"{BINARY} is missing: run cargo build --release -p lenticular, or name another in LENTICULAR_BINARY")


# The files whose tests take longest, longest first. When two files run at once, a long one that begins last runs alone.
LONGEST = ["test_ovn", "test_lab", "test_drill", "test_canary", "test_southbound", "test_silent", "test_dark", "test_real_guest", "test_ovn_ports", "test_ovn_guard",
           "test_guest_user", "test_migrate", "test_shelve"]


def pytest_collection_modifyitems(items):
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


@pytest.fixture
def measured(record_property):
    """Keeps a line for the end of the run."""
    return lambda line: record_property("measured", line)


def pytest_terminal_summary(terminalreporter):
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        lines = [line for name, line in getattr(report, "user_properties", []) if name == "measured"]
        if lines and report.when == "call":
            terminalreporter.section(f"measured: {report.nodeid}")
            terminalreporter.write_line("\n".join(lines))


LOG_BYTES = 12_000


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed:
        clouds = {id(value): value for value in item.funcargs.values() if isinstance(value, Cloud)}
        for log in [log for cloud in clouds.values() for log in cloud.logs() if log.exists()]:
            report.sections.append((f"the end of {log}", log.read_text(errors="replace")[-LOG_BYTES:]))
    return report


@pytest.fixture(scope="session")
def sim(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("sim") / "data", hosts=20)
    try:
        yield cloud.start().wait_for_hosts()
    finally:
        cloud.down()


@pytest.fixture(scope="session")
def blank(sim):
    """An image of nothing, and a network, in the simulated cloud."""
    return sim.upload("blank", data=b"\0" * 4096, disk_format="raw"), sim.network()


@pytest.fixture(scope="session")
def key(tmp_path_factory):
    """The path of a private ssh key, and its public half."""
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path, (path.parent / "id.pub").read_text().strip()


@pytest.fixture(scope="session")
def real(tmp_path_factory, key):
    """A cloud that boots real guests with QEMU on this machine."""
    assert GUEST_IMAGE.exists(), f"{GUEST_IMAGE} is missing: run guest/build"
    cloud = Cloud(tmp_path_factory.mktemp("real") / "data")
    try:
        cloud.start().wait_for_hosts()
        cloud.image = cloud.upload("guest", path=GUEST_IMAGE)
        cloud.net = cloud.network("net", "10.30.0.0/24")
        cloud.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "key", "public_key": key[1]}})
        yield cloud
    finally:
        cloud.down()


@pytest.fixture
def probed_lab(tmp_path):
    """Three hosts on OVN that have asked each other whether they answer."""
    lab = Lab(tmp_path / "data")
    try:
        yield lab.start_probed()
    finally:
        lab.down()
