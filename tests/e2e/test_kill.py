"""kill -9 of the whole process, again and again, in a storm of creates and deletes."""

import random
import threading
import time

import requests

from cloud import Cloud, wait_until

KILLS = 50
SEED = 20150224


class Storm:
    """Clients that create and delete as fast as they can, and remember what was acknowledged."""

    def __init__(self, cloud, image):
        self.cloud, self.image = cloud, image
        self.created, self.deleted, self.doubtful = set(), set(), set()
        self.lock = threading.Lock()
        self.on = True

    def work(self, seed):
        chance = random.Random(seed)
        session = requests.Session()
        session.headers.update({"X-Auth-Token": self.cloud.token(), "OpenStack-API-Version": "compute 2.79"})
        while self.on:
            try:
                self.step(session, chance)
            except requests.RequestException:
                # The cloud was killed under the request: what it asked for may or may not have come true.
                time.sleep(0.01)

    def step(self, session, chance):
        servers = f"{self.cloud.url}/compute/v2.1/servers"
        with self.lock:
            alive = sorted(self.created - self.deleted - self.doubtful)
        if alive and (len(alive) > 60 or chance.random() < 0.45):
            server = chance.choice(alive)
            with self.lock:
                self.doubtful.add(server)
            if session.delete(f"{servers}/{server}", timeout=30).status_code == 204:
                with self.lock:
                    self.deleted.add(server)
        else:
            body = {"server": {"name": "storm", "imageRef": self.image, "flavorRef": "42", "networks": "none"}}
            answer = session.post(servers, json=body, timeout=30)
            if answer.status_code == 202:
                with self.lock:
                    self.created.add(answer.json()["server"]["id"])


def test_fifty_kills_lose_nothing_and_leave_nothing_stuck(tmp_path):
    cloud = Cloud(tmp_path / "data", hosts=5)
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    try:
        cloud.start().wait_for_hosts()
        image = cloud.upload("blank", data=b"\0" * 4096, disk_format="raw")
        unlimited = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
        project = cloud.get("/identity/v3/auth/projects")["projects"][0]["id"]
        assert cloud.request("PUT", f"/compute/v2.1/os-quota-sets/{project}", json=unlimited).status_code == 200
        storm = Storm(cloud, image)
        threads = [threading.Thread(target=storm.work, args=(SEED + i,)) for i in range(4)]
        [t.start() for t in threads]
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.02, 0.4))
            cloud.kill()
            cloud.start()
        storm.on = False
        [t.join() for t in threads]
        judge(cloud, storm)
    finally:
        cloud.down()


def judge(cloud, storm):
    cloud.wait_for_hosts()
    assert len(storm.created) > 200, f"the storm was no storm: {len(storm.created)} creates"

    def settled():
        servers = cloud.get("/compute/v2.1/servers/detail?limit=1000", version="2.79")["servers"]
        busy = [s for s in servers if s["OS-EXT-STS:task_state"] or s["status"] == "BUILD"]
        return servers if not busy else None

    servers = wait_until("nothing is under way", settled)
    assert len(servers) < 1000
    there = {s["id"]: s["status"] for s in servers}
    lost = storm.created - storm.doubtful - set(there)
    assert not lost, f"acknowledged servers are gone: {sorted(lost)[:5]}"
    back = storm.deleted & set(there)
    assert not back, f"servers whose deletion was acknowledged are back: {sorted(back)[:5]}"
    assert set(there.values()) <= {"ACTIVE"}, {s["id"]: s.get("fault") for s in servers if s["status"] != "ACTIVE"}
    # What the hosts hold is what the servers take: nothing is doubled and nothing is orphaned.
    used = sum(h["running_vms"] for h in cloud.get("/compute/v2.1/os-hypervisors/detail")["hypervisors"])
    assert used == len(there)
    for server in there:
        cloud.delete(server)
    wait_until("all servers are gone", lambda: not cloud.get("/compute/v2.1/servers")["servers"])
