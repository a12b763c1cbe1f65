"""Images: whose an id is, what an upload may take, and what a list answers. On simulated hosts."""

import stat
import subprocess
import threading

import pytest

from cloud import Cloud, wait_until

IMAGES = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


def new(cloud, name="i", **more):
    body = {"name": name, "disk_format": "raw", "container_format": "bare", **more}
    return cloud.post(IMAGES, body)["id"]


def send(cloud, image, data):
    return cloud.request("PUT", f"{IMAGES}/{image}/file", data=data, headers=OCTETS)


def test_the_id_of_a_deleted_image_is_never_given_again(sim):
    image = new(sim, visibility="public")
    again = {"id": image, "name": "again"}
    assert sim.request("POST", IMAGES, json=again).status_code == 409
    assert sim.request("DELETE", f"{IMAGES}/{image}").status_code == 204
    answer = sim.request("POST", IMAGES, json=again)
    assert answer.status_code == 409 and image in answer.text
    assert sim.request("GET", f"{IMAGES}/{image}").status_code == 404
    # One that was never used can be chosen.
    chosen = image[:-4] + ("0000" if image[-4:] != "0000" else "1111")
    assert sim.post(IMAGES, {"id": chosen, "name": "chosen"})["id"] == chosen


def test_bytes_of_an_image_that_is_gone_touch_no_other(sim):
    image, go_on = new(sim), threading.Event()

    def held():
        yield b"a" * 4096
        go_on.wait(60)
        yield b"b" * 4096

    answers = []
    sender = threading.Thread(target=lambda: answers.append(send(sim, image, held())))
    sender.start()
    wait_until("bytes arrive", lambda: sim.get(f"{IMAGES}/{image}")["status"] == "saving")
    assert sim.request("DELETE", f"{IMAGES}/{image}").status_code == 204
    other = new(sim, "other")
    assert send(sim, other, b"other").status_code == 204
    go_on.set()
    sender.join(60)
    assert answers[0].status_code in (404, 409), answers[0].text
    assert sim.request("GET", f"{IMAGES}/{other}/file").content == b"other"
    # Nothing is left of it, and what is there is its owner's alone.
    files = sorted((sim.data / "images").iterdir())
    wait_until("its bytes are gone", lambda: not [f for f in (sim.data / "images").iterdir() if f.suffix == ".part"])
    assert stat.S_IMODE((sim.data / "images").stat().st_mode) == 0o700
    # The test made the directory as anybody would; the cloud has shut it.
    assert stat.S_IMODE(sim.data.stat().st_mode) & 0o066 == 0
    assert files and all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in files if f.is_file())
    assert sim.request("DELETE", f"{IMAGES}/{other}").status_code == 204
    count = len(files)
    wait_until("the bytes of a deleted image go", lambda: len(list((sim.data / "images").iterdir())) < count)


def test_a_full_disk_stops_uploads_and_nothing_else(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", disk], check=True)
    cloud = Cloud(disk / "data", hosts=1)
    try:
        cloud.start().wait_for_hosts()
        image = new(cloud)
        answer = send(cloud, image, (b"x" * (1 << 20) for _ in range(200)))
        assert answer.status_code == 413 and "store is full" in answer.text, answer.text
        assert cloud.get(f"{IMAGES}/{image}")["status"] == "queued"
        # The store on the same disk can be written, and a smaller image fits.
        assert cloud.request("GET", "/healthz").status_code == 200
        assert send(cloud, image, b"small").status_code == 204
        free = int(subprocess.run(["df", "--output=avail", "-B1", disk], capture_output=True, text=True).stdout.split()[1])
        assert free > 8 << 20

        # Somebody else fills the disk: the upload that fails then does not stay in `saving`.
        image, go_on = new(cloud, "second"), threading.Event()
        answers = []

        def held():
            yield b"a" * 4096
            go_on.wait(60)
            yield b"b" * 4096

        sender = threading.Thread(target=lambda: answers.append(send(cloud, image, held())))
        sender.start()
        wait_until("bytes arrive", lambda: cloud.get(f"{IMAGES}/{image}")["status"] == "saving")
        # Without a buffer: what does not fit would be written once more at the end.
        with open(disk / "ballast", "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"\0" * 65536)
            except OSError:
                pass
        go_on.set()
        sender.join(60)
        assert answers[0].status_code >= 400
        (disk / "ballast").unlink(missing_ok=True)
        wait_until("the image waits for bytes again", lambda: cloud.get(f"{IMAGES}/{image}")["status"] == "queued")
        assert send(cloud, image, b"now").status_code == 204
    finally:
        cloud.down()
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_projects_have_limits_under_glances_names(tmp_path):
    cloud = Cloud(tmp_path / "data", hosts=1, settings="""
        [images]
        image_size_total = 2
        image_count_total = 3
        image_count_uploading = 1
    """)
    try:
        cloud.start().wait_for_hosts()
        first, second = new(cloud, "first"), new(cloud, "second")
        assert send(cloud, first, b"x" * (3 << 20)).status_code == 413
        assert cloud.get(f"{IMAGES}/{first}")["status"] == "queued"
        assert send(cloud, first, b"x" * (1 << 20)).status_code == 204
        go_on, answers = threading.Event(), []

        def held():
            yield b"a" * 4096
            go_on.wait(60)

        sender = threading.Thread(target=lambda: answers.append(send(cloud, second, held())))
        sender.start()
        wait_until("bytes arrive", lambda: cloud.get(f"{IMAGES}/{second}")["status"] == "saving")
        third = new(cloud, "third")
        answer = send(cloud, third, b"x")
        assert answer.status_code == 413 and "image_count_uploading" in answer.text
        go_on.set()
        sender.join(60)
        assert answers[0].status_code == 204
        answer = cloud.request("POST", IMAGES, json={"name": "fourth"})
        assert answer.status_code == 413 and "image_count_total" in answer.text
        assert send(cloud, third, b"x" * (1 << 20)).status_code == 413
        assert cloud.get("/image/v2/info/usage")["usage"] == {
            "image_size_total": {"limit": 2, "usage": 1}, "image_stage_total": {"limit": -1, "usage": 0},
            "image_count_total": {"limit": 3, "usage": 3}, "image_count_uploading": {"limit": 1, "usage": 0}}
    finally:
        cloud.down()


@pytest.mark.parametrize("query, status", [
    ("changes-since=2026-01-01T00:00:00Z", 400), ("sort=name:asc&sort_key=size", 400), ("sort=name&sort_dir=asc", 400),
    ("name=like:x", 400), ("status=nosuch", 400), ("member_status=nosuch", 400), ("visibility=nosuch", 400),
    ("created_at=since:2026-01-01T00:00:00Z", 400), ("size_min=x", 400), ("protected=perhaps", 400), ("limit=-1", 400),
    ("member_status=all", 200), ("name=in:a,b", 200), ("created_at=gte:2020-01-01T00:00:00Z", 200), ("colour=red", 200),
])
def test_filters_of_images_are_judged(sim, query, status):
    answer = sim.request("GET", f"{IMAGES}?{query}")
    assert answer.status_code == status, answer.text


def test_times_select_images(sim):
    image = new(sim, "timed")
    at = sim.get(f"{IMAGES}/{image}")["created_at"]
    found = lambda query: [i["id"] for i in sim.get(f"{IMAGES}?name=timed&{query}")["images"]]
    for query, there in [(f"created_at=eq:{at}", True), (f"created_at={at}", True), (f"created_at=gt:{at}", False),
                         (f"created_at=lte:{at}", True), (f"updated_at=neq:{at}", False),
                         ("created_at=lt:2020-01-01T00:00:00Z", False)]:
        assert found(query) == ([image] if there else []), query


def test_images_are_patched_in_their_own_media_type(sim):
    image, change = new(sim), '[{"op": "replace", "path": "/name", "value": "patched"}]'
    for kind in ("application/json", "text/plain", "application/json-patch+json"):
        answer = sim.request("PATCH", f"{IMAGES}/{image}", data=change, headers={"Content-Type": kind})
        assert answer.status_code == 415, f"{kind}: {answer.text}"
    assert sim.request("PATCH", f"{IMAGES}/{image}", data=change, headers=PATCH).status_code == 200
    assert sim.get(f"{IMAGES}/{image}")["name"] == "patched"
