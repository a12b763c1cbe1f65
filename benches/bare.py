"""A live migration by QMP alone, with nothing around it: what QEMU itself takes, to compare with."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time


class Qemu:
    """One QEMU on an overlay of its own, with its console in a file."""

    def __init__(self, scratch, name, base, memory_mb, incoming=False):
        self.dir = pathlib.Path(scratch) / name
        self.dir.mkdir()
        self.console = self.dir / "console.log"
        disk = self.dir / "root.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", disk, "1G"], check=True)
        args = ["qemu-system-x86_64", "-machine", "pc-q35-7.2,accel=tcg", "-m", str(memory_mb), "-display", "none",
                "-nodefaults", "-blockdev", f"driver=file,filename={disk},node-name=file,cache.direct=off",
                "-blockdev", "driver=qcow2,file=file,node-name=root", "-device", "virtio-blk-pci,drive=root,id=disk",
                "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
                "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off"]
        if incoming:
            args += ["-incoming", "defer", "-S"]
        self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL)
        self.qmp = socket.socket(socket.AF_UNIX)
        for _ in range(200):
            try:
                self.qmp.connect(f"{self.dir}/qmp")
                break
            except OSError:
                time.sleep(0.02)
        self.stream = self.qmp.makefile("r")
        self.events = []
        self.stream.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.stream.readline())
            if "event" in answer:
                self.events.append(answer)
                continue
            assert "error" not in answer, answer
            return answer["return"]

    def wait(self, what):
        """Waits for an event, of which those before are forgotten."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if what(event):
                    return event
            answer = json.loads(self.stream.readline())
            if "event" in answer:
                self.events.append(answer)

    def end(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def migration(status):
    return lambda event: event["event"] == "MIGRATION" and event["data"]["status"] == status


def move(source, target, scratch):
    """Brings the guest over; seconds until it runs at the target, and QEMU's own word for how long it stood, in ms."""
    for qemu in (source, target):
        qemu.ask("migrate-set-capabilities", capabilities=[
            {"capability": "events", "state": True}, {"capability": "pause-before-switchover", "state": True}])
        qemu.ask("migrate-set-parameters", **{"downtime-limit": 300, "max-bandwidth": 10 << 30})
    began = time.monotonic()
    nbd, memory = f"{scratch}/nbd", f"{scratch}/memory"
    target.ask("nbd-server-start", addr={"type": "unix", "data": {"path": nbd}})
    target.ask("block-export-add", id="root", type="nbd", **{"node-name": "root", "writable": True})
    target.ask("migrate-incoming", uri=f"unix:{memory}")
    source.ask("blockdev-add", driver="nbd", export="root", server={"type": "unix", "path": nbd}, **{"node-name": "there"})
    source.ask("blockdev-mirror", device="root", target="there", sync="top", **{"job-id": "mirror", "copy-mode": "write-blocking"})
    source.wait(lambda event: event["event"] == "BLOCK_JOB_READY")
    source.ask("migrate", uri=f"unix:{memory}")
    source.wait(migration("pre-switchover"))
    source.ask("block-job-cancel", device="mirror")
    source.wait(lambda event: event["event"] in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"))
    source.ask("migrate-continue", state="pre-switchover")
    source.wait(migration("completed"))
    target.wait(migration("completed"))
    target.ask("nbd-server-stop")
    target.ask("cont")
    took = time.monotonic() - began
    return took, source.ask("query-migrate")["downtime"]


def measure(base, scratch, memory_mb, talks, silence):
    """A guest moves once: what `move` gives, and how long its console was silent in seconds."""
    source, target = Qemu(scratch, "source", base, memory_mb), Qemu(scratch, "target", base, memory_mb, incoming=True)
    try:
        talks(source)
        watch = silence(source.console, target.console)
        took, downtime_ms = move(source, target, scratch)
        return took, downtime_ms, watch()
    finally:
        source.end()
        target.end()
