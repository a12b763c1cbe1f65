"""The machine's clock jumps ahead and is set back: nobody is locked out. On simulated hosts."""

import pathlib

import pytest

from cloud import Cloud

FAKETIME = next(iter(sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


@pytest.fixture
def cloud(tmp_path):
    """A cloud whose machine has the clock that a file says."""
    assert FAKETIME, "libfaketime is missing: run tools/install clock"
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    cloud = Cloud(tmp_path / "data", hosts=1, env={
        "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    cloud.clock = clock
    try:
        yield cloud.start().wait_for_hosts()
    finally:
        cloud.down()


def new_user_works(cloud, name):
    roles = {r["name"]: r["id"] for r in cloud.get("/identity/v3/roles")["roles"]}
    project = cloud.get("/identity/v3/projects?name=admin")["projects"][0]["id"]
    user = cloud.post("/identity/v3/users", {"user": {"name": name, "password": "s3cret"}})["user"]["id"]
    path = f"/identity/v3/projects/{project}/users/{user}/roles/{roles['member']}"
    assert cloud.request("PUT", path).status_code == 204
    token = cloud.login(name, "s3cret")
    cloud.get("/compute/v2.1/servers", token=token)
    about = cloud.request("GET", "/identity/v3/auth/tokens", token=token, headers={"X-Subject-Token": token})
    return about.json()["token"]["issued_at"]


def test_a_clock_that_jumps_ahead_and_back_locks_nobody_out(cloud):
    first = new_user_works(cloud, "before")
    cloud.clock.write_text("+2d\n")
    cloud._token = cloud.login()
    ahead = new_user_works(cloud, "ahead")
    assert ahead[:10] > first[:10], "the clock did not jump"
    cloud.clock.write_text("+0\n")
    back = new_user_works(cloud, "back")
    assert back >= ahead, "the cloud's time went back"
    # The store remembers how far time had come.
    cloud.stop()
    cloud.start().wait_for_hosts()
    cloud._token = cloud.login()
    assert new_user_works(cloud, "after") >= back
