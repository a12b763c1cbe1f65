"""A PostgreSQL primary with a synchronous standby, alone in a folder, on Unix sockets."""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

from cloud import wait_until

PRIMARY, STANDBY = 5432, 5433


def binaries():
    """The folder of the newest PostgreSQL's programs."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "PostgreSQL is missing: install the package 'postgresql'"
    return found[-1].parent


class Pair:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="lenticular-pg-"))
        # PostgreSQL refuses to run as root.
        self.prefix = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.dir, user.pw_uid, user.pw_gid)
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def run(self, program, *args):
        command = [*self.prefix, binaries() / program, *args]
        done = subprocess.run(command, cwd="/", text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert done.returncode == 0, f"{program} failed: {done.stdout}"
        return done.stdout.strip()

    def start(self):
        self.run("initdb", "-D", self.dir / "primary", "--no-sync", "--auth=trust", "--username=postgres")
        self.up("primary", PRIMARY)
        self.run("pg_basebackup", "-D", self.dir / "standby", "-R", "-X", "stream", "--checkpoint=fast", "--no-sync",
                 "-d", f"host={self.dir} port={PRIMARY} user=postgres application_name=standby")
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (standby)'")
        self.sql("SELECT pg_reload_conf()")
        return self.standby_up()

    def up(self, name, port):
        options = f"-c listen_addresses= -c unix_socket_directories={self.dir} -c port={port} -c fsync=off"
        self.run("pg_ctl", "-D", self.dir / name, "start", "--wait", "--silent", "--log", self.dir / f"{name}.log",
                 "--options", options)

    def standby_up(self):
        self.up("standby", STANDBY)
        wait_until("the standby is synchronous",
                   lambda: self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1")
        return self

    def standby_down(self):
        self.stop("standby")

    def stop(self, name):
        self.run("pg_ctl", "-D", self.dir / name, "stop", "--wait", "--silent", "--mode=immediate")

    def sql(self, statement):
        return self.run("psql", "-qtA", "-h", self.dir, "-p", str(PRIMARY), "-U", "postgres", "-c", statement)

    def config(self):
        return f"host={self.dir} port={PRIMARY} user=postgres dbname=postgres"

    def cancel_wait(self):
        """Cancels the commit that waits for the standby, as soon as there is one."""
        cancel = ("SELECT count(*) FROM (SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                  "WHERE wait_event = 'SyncRep') AS cancelled")
        wait_until("a commit waits for the standby", lambda: self.sql(cancel) != "0")

    def down(self):
        for name in ("standby", "primary"):
            if (self.dir / name / "postmaster.pid").exists():
                self.stop(name)
        shutil.rmtree(self.dir)
