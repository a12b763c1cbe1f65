"""Logging in while others flood: bounded, fair, logged, counted; and connections that nobody may hold. On simulated hosts."""

import concurrent.futures
import os
import resource
import select
import socket
import threading

import pytest
import requests

from cloud import Cloud, wait_until

TOKENS = "/identity/v3/auth/tokens"


def auth(user, password):
    return {"auth": {"identity": {"methods": ["password"], "password": {
        "user": {"name": user, "domain": {"id": "default"}, "password": password}}}}}


def attempt(cloud, user, password):
    return requests.post(f"{cloud.url}{TOKENS}", json=auth(user, password), timeout=60).status_code


def count(cloud, result):
    text = requests.get(f"{cloud.url}/metrics", timeout=10).text
    found = [line for line in text.splitlines() if line.startswith(f'lenticular_logins_total{{result="{result}"}}')]
    return float(found[0].split()[-1]) if found else 0


def test_wrong_log_ins_delay_nobody_else_and_are_seen(sim):
    wrong, mark = count(sim, "wrong"), len(sim.log())
    stop, statuses = threading.Event(), []

    def flood(n):
        while not stop.is_set():
            statuses.append(attempt(sim, f"nobody-{n}\u001b[2J", "guess"))

    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        for n in range(200):
            pool.submit(flood, n)
        wait_until("the flood is judged", lambda: 401 in statuses)
        right = [attempt(sim, "admin", sim.password()) for _ in range(3)]
        served = len(statuses)
        stop.set()
    assert right == [201] * 3
    # Those who guess for nobody are one asker: between two right log-ins each of them had at most a turn.
    assert statuses.count(401) > 0 and set(statuses) <= {401, 429}
    assert served > 0 and count(sim, "wrong") - wrong == statuses.count(401)
    log = sim.log()[mark:]
    assert "a log-in was refused" in log and "nobody-" in log and "127.0.0.1" in log
    assert "\u001b" not in log


def test_who_guesses_a_users_password_does_not_keep_that_user_out(sim):
    stop, statuses = threading.Event(), []

    def guess():
        while not stop.is_set():
            statuses.append(attempt(sim, "admin", "guess"))

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        for _ in range(24):
            pool.submit(guess)
        wait_until("guesses are judged", lambda: len(statuses) > 24)
        right = [attempt(sim, "admin", sim.password()) for _ in range(5)]
        stop.set()
    assert right == [201] * 5
    assert set(statuses) == {401}


def test_an_account_is_locked_if_that_is_set(tmp_path):
    cloud = Cloud(tmp_path / "data", hosts=1, settings="""
        [security_compliance]
        lockout_failure_attempts = 3
        lockout_duration = 3
        [metrics]
        require_token = true
    """)
    try:
        cloud.start().wait_for_hosts()
        cloud.post("/identity/v3/users", {"user": {"name": "vera", "password": "s3cret"}})
        assert attempt(cloud, "vera", "s3cret") == 201
        assert [attempt(cloud, "vera", "wrong") for _ in range(3)] == [401] * 3
        assert attempt(cloud, "vera", "s3cret") == 401
        assert attempt(cloud, "admin", cloud.password()) == 201
        wait_until("the lock ends", lambda: attempt(cloud, "vera", "s3cret") == 201)
        # The right to change one's password is no way around it, and an administrator unlocks.
        vera = cloud.get("/identity/v3/users?name=vera")["users"][0]["id"]
        token = requests.post(f"{cloud.url}{TOKENS}", json=auth("vera", "s3cret"), timeout=60).headers["X-Subject-Token"]
        change = lambda old: cloud.request("POST", f"/identity/v3/users/{vera}/password", token=token, json={
            "user": {"original_password": old, "password": "s3cret2"}}).status_code
        assert [change("wrong") for _ in range(3)] == [401] * 3
        assert change("s3cret") == 401 and attempt(cloud, "vera", "s3cret") == 401
        unlocked = cloud.request("PATCH", f"/identity/v3/users/{vera}", json={"user": {"enabled": True}})
        assert unlocked.status_code == 200
        assert change("s3cret") == 204 and attempt(cloud, "vera", "s3cret2") == 201
        assert '"why":"locked"' in cloud.log()
        # An application credential is an account by itself.
        token = cloud.login("admin", cloud.password())
        admin = cloud.get("/identity/v3/users?name=admin")["users"][0]["id"]
        made = cloud.post(f"/identity/v3/users/{admin}/application_credentials",
                          {"application_credential": {"name": "ci"}}, token=token)["application_credential"]

        def by_credential(secret):
            proof = {"methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": secret}}
            return requests.post(f"{cloud.url}{TOKENS}", json={"auth": {"identity": proof}}, timeout=60).status_code

        assert [by_credential("wrong") for _ in range(3)] == [401] * 3
        assert by_credential(made["secret"]) == 401 and attempt(cloud, "admin", cloud.password()) == 201
        wait_until("the lock ends", lambda: by_credential(made["secret"]) == 201)
        # What is counted is an operator's to read, as was set.
        assert requests.get(f"{cloud.url}/metrics", timeout=10).status_code == 401
        assert "lenticular_logins_total" in cloud.request("GET", "/metrics").text
    finally:
        cloud.down()


@pytest.fixture
def narrow(tmp_path):
    """A cloud that may have as few files as a process has by default, and cannot have more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cloud = Cloud(tmp_path / "data", hosts=1)
    cloud.preexec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    try:
        yield cloud.start().wait_for_hosts()
    finally:
        cloud.down()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def held(cloud, count, first):
    """Connections that begin a request and say no more."""
    made = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", cloud.port), timeout=30)
        s.sendall(first)
        made.append(s)
    return made


HALF_LOGIN = (f"POST {TOKENS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
              '{"auth":').encode()


def still_open(connections):
    """How many of them the server has not ended."""
    poll = select.poll()
    for s in connections:
        poll.register(s, select.POLLIN | select.POLLHUP)
    ended = {fd for fd, _ in poll.poll(0)}
    return sum(s.fileno() not in ended for s in connections)


@pytest.mark.parametrize("first", [b"", b"GET /healthz HT", HALF_LOGIN], ids=["nothing", "half a head", "half a body"])
def test_connections_that_say_no_more_keep_nobody_out(narrow, first):
    connections = held(narrow, 950, first)
    assert requests.get(f"{narrow.url}/healthz", timeout=60).status_code == 200
    # It was answered while others still say no more, and not because they were given up at last.
    assert still_open(connections) >= 20
    for _ in range(10):
        assert requests.get(f"{narrow.url}/healthz", timeout=60).status_code == 200
    narrow._token = narrow.login()
    narrow.get("/compute/v2.1/servers")
    assert narrow.get("/compute/v2.1/os-services")["services"][0]["state"] == "up"
    for s in connections:
        s.close()


def memory_kb(cloud):
    status = open(f"/proc/{cloud.process.pid}/status").read()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def test_downloads_that_are_never_read_pin_nothing(narrow):
    image = narrow.upload("big", data=b"\0" * (64 << 20), disk_format="raw")
    token, before = narrow.token(), memory_kb(narrow)
    get = f"GET /image/v2/images/{image}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n".encode()
    connections = held(narrow, 300, get)

    def answers():
        # A crowd from one address keeps its own next ones out, until its oldest makes room.
        try:
            return requests.get(f"{narrow.url}/healthz", timeout=30).status_code == 200
        except requests.ConnectionError:
            return False

    wait_until("it answers", answers)
    grown = memory_kb(narrow) - before
    assert grown < 100_000, f"{grown} KiB"
    for s in connections:
        s.close()
    narrow.post("/identity/v3/projects", {"project": {"name": "written"}})
    wait_until("the files are given back", lambda: len(list_files(narrow)) < 150)


def list_files(cloud):
    return os.listdir(f"/proc/{cloud.process.pid}/fd")
