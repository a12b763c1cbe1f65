"""Every action of a server in every status: the answers of Nova, or a reason."""

import concurrent.futures

from cloud import wait_until

SERVERS = "/compute/v2.1/servers"

# x: taken, as by Nova; .: refused with 409, as by Nova (its check_instance_state); +: taken here, and refused by Nova.
TABLE = """
                      ACTIVE SHUTOFF PAUSED SUSPENDED RESCUE VERIFY_RESIZE SHELVED_OFFLOADED ERROR
os-start                .       x      .        .        .         .               .            +
os-stop                 x       .      +        +        .         .               .            x
reboot SOFT             x       .      .        .        .         .               .            .
reboot HARD             x       x      x        x        .         .               .            x
pause                   x       .      .        .        .         .               .            .
unpause                 .       .      x        .        .         .               .            .
suspend                 x       .      .        .        .         .               .            .
resume                  .       .      .        x        .         .               .            .
rescue                  x       x      .        .        .         .               .            x
unrescue                .       .      .        .        x         .               .            .
rebuild                 x       x      .        .        .         .               .            x
resize                  x       x      .        .        .         .               .            .
migrate                 x       x      .        .        .         .               .            .
confirmResize           .       .      .        .        .         x               .            .
revertResize            .       .      .        .        .         x               .            .
os-migrateLive          x       .      x        .        .         .               .            .
createImage             x       x      x        x        .         .               .            .
createBackup            x       x      x        x        .         .               .            .
shelve                  x       x      x        x        .         .               .            .
shelveOffload           .       .      .        .        .         .               .            .
unshelve                .       .      .        .        .         .               x            .
changePassword          x       .      .        .        .         .               .            .
trigger_crash_dump      x       .      x        .        x         x               .            x
attach                  x       x      x        .        .         .               .            .
injectNetworkInfo       x       x      x        x        x         x               x            x
metadata                x       x      x        x        +         +               +            +
restore                 .       .      .        .        .         .               .            .
lock                    x       x      x        x        x         x               x            x
unlock                  x       x      x        x        x         x               x            x
os-resetState           x       x      x        x        x         x               x            x
forceDelete             x       x      x        x        x         x               x            x
delete                  x       x      x        x        x         x               x            x
"""
# Why:
# - os-start of ERROR: the status of a server whose guest died; a start is what its owner wants, and the message says so.
# - os-stop of PAUSED and SUSPENDED: the guest is shut down, which Nova leaves to an unpause or resume before.
# - metadata: a record of the cloud alone, which no state of the guest touches.


def cells():
    head, *lines = TABLE.strip().splitlines()
    for line in lines:
        marks = line.split()[-len(head.split()):]
        yield line.split("  ")[0], dict(zip(head.split(), marks))


class Column:
    """A server of one status at a time."""

    def __init__(self, cloud, image, network, status):
        self.cloud, self.image, self.network, self.status, self.server = cloud, image, network, status, None

    def act(self, action, args=None):
        return self.cloud.request("POST", f"{SERVERS}/{self.server}/action", json={action: args}, version="2.79")

    def make(self):
        """A server of this status, unless the last one still is."""
        if self.server is None:
            self.server = self.cloud.create(f"is-{self.status}", self.image, network=self.network)
            self.rests("ACTIVE")
            way = {"SHUTOFF": ("os-stop", None), "PAUSED": ("pause", None), "SUSPENDED": ("suspend", None),
                   "RESCUE": ("rescue", None), "VERIFY_RESIZE": ("resize", {"flavorRef": "84"}),
                   "SHELVED_OFFLOADED": ("shelve", None), "ERROR": ("os-resetState", {"state": "error"})}
            if self.status in way:
                assert self.act(*way[self.status]).status_code in (200, 202)
                self.rests(self.status)

    def rests(self, status):
        def check():
            shown = self.cloud.server(self.server)
            return shown["status"] == status and shown["OS-EXT-STS:task_state"] is None
        wait_until(f"a server is {status}", check, every_s=0.02)

    def try_action(self, action):
        """Whether the action is taken. A refused action changes nothing; after another the server is given up."""
        self.make()
        before = self.cloud.server(self.server)
        path = f"{SERVERS}/{self.server}"
        match action.split():
            case ["delete"]:
                answer = self.cloud.request("DELETE", path)
            case ["attach"]:
                attachment = {"interfaceAttachment": {"net_id": self.network}}
                answer = self.cloud.request("POST", f"{path}/os-interface", json=attachment)
            case ["metadata"]:
                answer = self.cloud.request("POST", f"{path}/metadata", json={"metadata": {"colour": "blue"}})
            case ["reboot", style]:
                answer = self.act("reboot", {"type": style})
            case [name]:
                answer = self.act(name, {
                    "rebuild": {"imageRef": self.image}, "resize": {"flavorRef": "84"}, "createImage": {"name": "copy"},
                    "createBackup": {"name": "b", "backup_type": "daily", "rotation": 1},
                    "os-migrateLive": {"host": None, "block_migration": "auto"}, "changePassword": {"adminPass": "s3cret"},
                    "os-resetState": {"state": "active"},
                }.get(name))
        if answer.status_code == 409:
            after = self.cloud.server(self.server)
            assert (after["status"], after["updated"]) == (before["status"], before["updated"]), action
            return False
        assert answer.status_code in (200, 202, 204), f"{action} of {self.status}: {answer.status_code} {answer.text}"
        self.cloud.delete(self.server)
        self.server = None
        return True


def test_every_action_in_every_status_is_answered_as_by_nova(sim, blank):
    image, network = blank
    table = list(cells())

    def column(status):
        tried = Column(sim, image, network, status)
        return {action: tried.try_action(action) for action, _ in table}

    statuses = list(table[0][1])
    with concurrent.futures.ThreadPoolExecutor(len(statuses)) as pool:
        found = dict(zip(statuses, pool.map(column, statuses)))
    wrong = [f"{action} of {status}: taken {found[status][action]}, the table has {mark}"
             for action, marks in table for status, mark in marks.items()
             if found[status][action] != (mark in "x+")]
    assert not wrong, "\n".join(wrong)
