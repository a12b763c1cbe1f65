"""The store goes back to a backup: nothing is harmed, and who does not say so is noticed. On one host with real guests."""

import json
import shutil
import signal

from cloud import GUEST_IMAGE, guest_processes, wait_until
from test_roles import Apart


def test_a_store_from_a_backup_harms_nobody(tmp_path):
    c = Apart(tmp_path / "data")
    backup = tmp_path / "backup.db"

    def stop():
        c.process.send_signal(signal.SIGTERM)
        c.process.wait(timeout=30)

    try:
        c.start().start_agent().wait_for_hosts()
        image = c.upload("guest", path=GUEST_IMAGE)
        old = c.create("old", image)
        c.wait_status(old, "ACTIVE")
        stop()
        shutil.copy(c.data / "store.db", backup)
        c.start().wait_for_hosts()
        new = c.create("new", image)
        c.wait_status(new, "ACTIVE")
        before = guest_processes(c.data)
        assert len(before) == 2

        # Put back without a word: the host knows better, and gets no orders.
        stop()
        for file in c.data.glob("store.db*"):
            file.unlink()
        shutil.copy(backup, c.data / "store.db")
        c.process = c.run("server", "--config", c.server_config)
        said = wait_until("it is noticed", lambda: "store restored" in c.log() and c.log())
        assert "a backup was put in its place" in said
        assert guest_processes(c.data) == before
        assert c.request("GET", "/healthz").status_code == 503

        # Said: what the backup knows is confirmed by its host, and what it does not know is found and left alone.
        stop()
        assert "begins a new life" in c.lenticular("store", "restored")
        c.start().wait_for_hosts()
        wait_until("the old one is confirmed", lambda: c.server(old)["status"] == "ACTIVE")
        show = lambda: json.loads(c.lenticular("host", "show", "rack-1", "--json"))
        found = wait_until("the new one is found", lambda: show()["left_behind"])
        assert [(of, "no record explains it" in fate) for _, of, fate in found] == [(new, True)]
        assert guest_processes(c.data) == before
        c.act(old, "reboot", {"type": "HARD"})
        c.wait_status(old, "ACTIVE")

        # The operator gives it up.
        c.lenticular("host", "give-up", found[0][0])
        wait_until("it is removed", lambda: not show()["left_behind"] and len(guest_processes(c.data)) == 1)
    finally:
        c.down()
