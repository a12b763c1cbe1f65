"""Guests that fall silent together: their host is dark, and an owner that shuts off its own guests is none of it."""

import os
import subprocess

import pytest

from cloud import wait_until
from net import Tenant, ovn_lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")


def set_taps(lab, guests, state):
    for guest in guests:
        tap = f"tap{guest.port['id'][:11]}"
        subprocess.run(["ip", "-n", f"{lab.mark()}-host-1", "link", "set", tap, state], check=True)


def test_guests_that_fall_silent_together_make_their_host_dark(tmp_path, key):
    with ovn_lab(tmp_path / "data", key) as lab:
        log = lab.data / "host-1.log"
        told = lambda guest, answers: f'"server":"{guest.id}","answers":{"true" if answers else "false"}' in log.read_text()
        red, blue = Tenant(lab, "red"), Tenant(lab, "blue")
        three = [red.server(name, host="host-1") for name in ("one", "two", "three")]
        guests = [*three, blue.server("one", host="host-1")]
        # Each answers at its tap, on networks with the same range.
        three[0].float().ready().wait_ssh()
        wait_until("all of them answer", lambda: all(told(guest, True) for guest in guests), deadline_s=180)
        assert lab.checks("host-1")["guests"][0] is None

        # Their taps are cut. The host's own port still answers.
        set_taps(lab, guests, "down")
        wait_until("host-1 is dark", lambda: lab.show_host("host-1")["state"] == "not ready", deadline_s=30)
        why = "it is dark (4 guests of the 4 that used to answer fell silent together)"
        assert lab.show_host("host-1")["reason"] == why
        assert {lab.show_host(host)["state"] for host in ("host-2", "host-3")} == {"up"}
        assert lab.checks("host-1")["bridge"][0] is None
        code, said = lab.lenticular("host", "override", "host-1", "dark", "--reason", "x", ok=False)
        assert code == 1 and "Nobody can overrule" in said, said
        # Its guests ran on all the while.
        set_taps(lab, guests, "up")
        wait_until("host-1 is well", lambda: lab.show_host("host-1")["state"] == "up", deadline_s=150)
        assert {lab.server(guest.id)["status"] for guest in guests} == {"ACTIVE"}

        # An owner shuts off all of its guests at once.
        before = log.read_text().count('"answers":false')
        assert before == 4, "each was told once"
        set_taps(lab, three, "down")
        wait_until("three guests of one owner are silent", lambda: log.read_text().count('"answers":false') == before + 3, deadline_s=30)
        assert lab.show_host("host-1")["state"] == "up"
        assert lab.checks("host-1")["guests"][0] is None
