"""A commit of unknown outcome: the process opens its store again, leads again, and goes on."""

import signal
import subprocess
import threading

import pytest
import requests

from cloud import Cloud, wait_until
from postgres import Pair


@pytest.fixture
def pair():
    made = Pair()
    try:
        yield made.start()
    finally:
        made.down()


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path / "data", hosts=3)
    yield made
    made.down()


def health(cloud):
    answer = requests.get(f"{cloud.url}/healthz", timeout=5)
    return answer.status_code, answer.text


def names(cloud):
    return sorted(server["name"] for server in cloud.get("/compute/v2.1/servers")["servers"])


def create(cloud, image, name):
    body = {"server": {"name": name, "imageRef": image, "flavorRef": "42", "networks": "none"}}
    return cloud.request("POST", "/compute/v2.1/servers", json=body, version="2.79")


def in_doubt(pair, cloud, image, name):
    """Creates a server while the standby is away, and cancels the wait of its commit. Returns the answer."""
    answers = []
    asking = threading.Thread(target=lambda: answers.append(create(cloud, image, name)))
    asking.start()
    pair.cancel_wait()
    asking.join()
    return answers[0]


def test_a_cancelled_wait_for_a_standby_is_no_success_and_ends_no_process(pair, cloud):
    cloud.store = pair.config()
    cloud.start().wait_for_hosts()
    process = cloud.process.pid
    image = cloud.upload("blank", data=b"\0" * 4096, disk_format="raw")
    for number in range(3):
        cloud.wait_status(cloud.create(f"known-{number}", image), "ACTIVE")
    pair.standby_down()
    answer = in_doubt(pair, cloud, image, "doubtful")
    assert answer.status_code == 503, answer.text
    assert "Whether the change was saved is unknown" in answer.text
    # Without its standby the store cannot be led. Reads go on, and changes are refused as not made.
    status, why = health(cloud)
    assert status == 503 and "canceling wait for synchronous replication" in why, why
    refused = create(cloud, image, "refused")
    assert refused.status_code == 503 and "The change was not made" in refused.text
    assert names(cloud) == ["known-0", "known-1", "known-2"]
    pair.standby_up()
    wait_until("the cloud leads again", lambda: health(cloud)[0] == 200)
    assert names(cloud) == ["doubtful", "known-0", "known-1", "known-2"], "the primary had written the commit"
    cloud.wait_for_hosts()
    cloud.wait_status(cloud.create("after", image), "ACTIVE")
    assert cloud.process.poll() is None and cloud.process.pid == process
    assert "lenticular_store_reopenings_total 1" in requests.get(f"{cloud.url}/metrics", timeout=5).text
    # A process that opens its store again can be stopped.
    pair.standby_down()
    assert in_doubt(pair, cloud, image, "last").status_code == 503
    cloud.stop()
    pair.standby_up()
    cloud.start()
    assert set(names(cloud)) >= {"after", "doubtful", "known-0", "known-1", "known-2"}


def test_a_failed_write_of_the_sqlite_log_ends_no_process(cloud):
    # A write beyond the limit fails with an error, in place of a signal that ends the process.
    cloud.preexec = lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    cloud.start().wait_for_hosts()
    image = cloud.upload("blank", data=b"\0" * 4096, disk_format="raw")
    known = [cloud.create(f"known-{number}", image) for number in range(3)]
    [cloud.wait_status(server, "ACTIVE") for server in known]
    limit = lambda size: subprocess.run(
        ["prlimit", f"--pid={cloud.process.pid}", f"--fsize={size}:unlimited"], check=True)
    limit((cloud.data / "store.db-wal").stat().st_size)
    answer = create(cloud, image, "doubtful")
    assert answer.status_code == 503, answer.text
    assert "Whether the change was saved is unknown" in answer.text
    limit("unlimited")
    wait_until("the cloud leads again", lambda: health(cloud)[0] == 200)
    cloud.wait_for_hosts()
    cloud.wait_status(cloud.create("after", image), "ACTIVE")
    assert set(names(cloud)) >= {"after", "known-0", "known-1", "known-2"}
    assert cloud.process.poll() is None
    cloud.stop()
