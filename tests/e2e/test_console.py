"""Consoles: a guest's screen and serial line through the control plane."""

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from cloud import Cloud, wait_until
from console import Screen, Serial, open_socket, socket_url, url

READY = "lenticular-guest: ready"


@pytest.fixture(scope="module")
def server(sim, blank):
    image, network = blank
    server = sim.create("looked-at", image, network=network)
    sim.wait_status(server, "ACTIVE")
    yield server
    sim.delete(server)


def refusal(page):
    """How a console is refused: a status, or the closing code and the reason; `None` if it shows something."""
    try:
        with connect(socket_url(page), subprotocols=["binary"]) as socket:
            socket.recv(timeout=30)
            return None, ""
    except InvalidStatus as refused:
        assert refused.response.headers["Connection"] == "close" and not refused.response.body
        # The page asks for the reason without a WebSocket.
        answer = requests.get(socket_url(page).replace("ws://", "http://"), timeout=10)
        assert answer.status_code == refused.response.status_code
        return answer.status_code, answer.json()["error"]["message"]
    except ConnectionClosed as closed:
        return closed.rcvd.code, closed.rcvd.reason


def test_the_stock_client_shows_urls_and_they_open(sim, server):
    shown = sim.openstack_json("console", "url", "show", server)
    assert (shown["protocol"], shown["type"]) == ("vnc", "novnc")
    page = requests.get(shown["url"], timeout=10)
    assert page.status_code == 200 and "noVNC" in page.text and "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "no-referrer"
    for file in ["vnc.js", "vnc.css", "novnc.js", "LICENSE"]:
        assert requests.get(f"{sim.url}/console/{file}", timeout=10).status_code == 200
    assert requests.get(f"{sim.url}/console/nothing", timeout=10).status_code == 404
    assert Screen(shown["url"]).name == "simulated guest"
    serial = sim.openstack_json("console", "url", "show", "--serial", server)
    assert serial["url"].startswith("ws://")
    line = Serial(serial["url"])
    line.until(f"simulated guest {server}\r\n")
    line.type("who is there")
    line.until("who is there")


def test_types_have_their_versions_and_what_is_not_there_is_refused(sim, server):
    path = f"/compute/v2.1/servers/{server}"
    ask = lambda protocol, kind, version: sim.request("POST", f"{path}/remote-consoles", version=version, json={
        "remote_console": {"protocol": protocol, "type": kind}}).status_code
    assert ask("vnc", "novnc", "2.5") == 404
    assert ask("vnc", "novnc", "2.6") == 200
    for protocol, kind in [("spice", "spice-html5"), ("rdp", "rdp-html5"), ("vnc", "xvpvnc"), ("mks", "webmks"), ("vnc", "serial")]:
        assert ask(protocol, kind, "2.8") == 400, kind
    act = lambda action, kind, version: sim.request("POST", f"{path}/action", version=version, json={action: {"type": kind}})
    assert act("os-getVNCConsole", "novnc", "2.6").status_code == 404
    old = act("os-getVNCConsole", "novnc", "2.1").json()["console"]
    assert old["type"] == "novnc" and Screen(old["url"])
    old = act("os-getSerialConsole", "serial", "2.1").json()["console"]
    Serial(old["url"]).until("simulated guest")
    for action, kind in [("os-getSPICEConsole", "spice-html5"), ("os-getRDPConsole", "rdp-html5"), ("os-getVNCConsole", "serial")]:
        assert act(action, kind, "2.1").status_code == 400
    missing = "00000000-0000-4000-8000-000000000000"
    body = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    assert sim.request("POST", f"/compute/v2.1/servers/{missing}/remote-consoles", version="2.6", json=body).status_code == 404


def test_a_server_that_does_not_run_has_no_console(sim, blank):
    image, network = blank
    server = sim.create("still", image, network=network)
    sim.wait_status(server, "ACTIVE")
    page = url(sim, server, "serial", "serial")
    sim.act(server, "os-stop")
    sim.wait_status(server, "SHUTOFF")
    body = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    answer = sim.request("POST", f"/compute/v2.1/servers/{server}/remote-consoles", version="2.6", json=body)
    assert answer.status_code == 409 and "Start or resume the server" in answer.text
    assert refusal(page)[0] == 1013, "the page tries again"
    sim.act(server, "os-start")
    sim.wait_status(server, "ACTIVE")
    Serial(page).until("simulated guest")
    sim.delete(server)
    sim.wait_gone(server)
    assert refusal(page)[0] == 401


def test_a_token_is_good_for_its_server_its_user_and_its_time(sim, server, tmp_path):
    page = url(sim, server, "serial", "serial")
    assert refusal(page.replace("token=", "token=x"))[0] == 401
    assert refusal(page.split("?")[0])[0] == 401
    # Another cloud has other keys.
    other = Cloud(tmp_path / "data", hosts=1, settings="[console]\ntoken_life_s = 1\n")
    try:
        other.start().wait_for_hosts()
        assert refusal(page.replace(sim.url.split(":")[-1], str(other.port)))[0] == 401
        image, network = other.upload("blank", data=b"\0" * 4096, disk_format="raw"), other.network()
        theirs = other.create("brief", image, network=network)
        other.wait_status(theirs, "ACTIVE")
        brief = url(other, theirs, "serial", "serial")
        wait_until("the token is over", lambda: "its URL is over" in refusal(brief)[1], every_s=0.2)
    finally:
        other.down()
    # A token dies with the token of the client who asked for it.
    own = sim.login()
    page = url(sim, server, "serial", "serial", token=own)
    Serial(page).until("simulated guest")
    assert sim.request("DELETE", "/identity/v3/auth/tokens", headers={"X-Subject-Token": own}).status_code == 204
    assert refusal(page)[0] == 401


def test_strangers_and_readers_get_no_console(sim, server):
    project = sim.post("/identity/v3/projects", {"project": {"name": "beside-consoles"}})["project"]["id"]
    tokens = {}
    for name, role, where in [("console-stranger", "member", project), ("console-onlooker", "reader", None)]:
        user = sim.post("/identity/v3/users", {"user": {"name": name, "password": "s3cret-pass"}})["user"]["id"]
        where = where or sim.get("/identity/v3/projects?name=admin")["projects"][0]["id"]
        role = sim.get(f"/identity/v3/roles?name={role}")["roles"][0]["id"]
        assert sim.request("PUT", f"/identity/v3/projects/{where}/users/{user}/roles/{role}").status_code == 204
        tokens[name] = sim.login(name, "s3cret-pass", "beside-consoles" if name == "console-stranger" else "admin")
    body = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    ask = lambda token: sim.request("POST", f"/compute/v2.1/servers/{server}/remote-consoles", version="2.6", json=body,
                                    token=token).status_code
    assert (ask(tokens["console-stranger"]), ask(tokens["console-onlooker"])) == (404, 403)
    page = url(sim, server, "vnc", "novnc")
    token = page.split("token%3D")[1].split("&")[0]
    details = sim.get(f"/compute/v2.1/os-console-auth-tokens/{token}", version="2.31")["console"]
    assert details["instance_uuid"] == server and details["host"].startswith("sim-")
    look = lambda token, by: sim.request("GET", f"/compute/v2.1/os-console-auth-tokens/{token}", version="2.31", token=by)
    assert look(token, tokens["console-stranger"]).status_code == 403
    assert look("x" + token, None).status_code == 404


def test_pages_of_other_sites_open_no_console(sim, server):
    page = url(sim, server, "serial", "serial")
    with pytest.raises(InvalidStatus) as refused:
        open_socket(page, origin="https://evil.example")
    assert refused.value.response.status_code == 403
    Serial(page, origin=sim.url).until("simulated guest")
    # Not a WebSocket.
    assert requests.get(page.replace("ws://", "http://"), timeout=10).status_code == 400


def test_a_server_has_a_limited_number_of_consoles(sim, blank):
    image, network = blank
    server = sim.create("crowded", image, network=network)
    sim.wait_status(server, "ACTIVE")
    page = url(sim, server, "vnc", "novnc")
    screens = [Screen(page) for _ in range(16)]
    code, why = refusal(page)
    assert code == 1013 and "16 open consoles" in why
    screens.pop().close()
    wait_until("there is room", lambda: refusal(page)[0] is None)
    sim.delete(server)


def test_a_person_logs_in_on_the_serial_line_and_on_the_screen(real):
    server = real.create("typed", real.image, network=real.net)
    real.wait_status(server, "ACTIVE")
    real.wait_console(server, READY)
    page = url(real, server, "serial", "serial")
    line = Serial(page)
    line.answer("\n", "login:")
    line.type("lenticular\n")
    line.until("Password:")
    line.type("lenticular\n")
    line.until("$")
    line.type("echo $((6*7))-on-the-line\n")
    line.until("42-on-the-line")
    # Who opens the line again takes it over: the earlier session may be a browser's that is gone.
    second = Serial(page)
    with pytest.raises(ConnectionClosed):
        line.until("nothing more comes here")
    second.type("echo $((7*7))-again\n")
    second.until("49-again")

    screen = Screen(url(real, server, "vnc", "novnc"))
    assert (screen.width, screen.height) == (720, 400), "a text screen"
    wait_until("the screen shows something", lambda: len(set(screen.picture())) > 1)
    def typed():
        screen.type("\nlenticular\n")
        second.answer("ps | grep -q '[l]ogin -- l' && echo asks-$((1+1))\n", "asks-2")
        screen.type("lenticular\necho $((8*8))-on-the-screen >/dev/ttyS0\n")
        return "64-on-the-screen" in real.console(server)
    # A log-in drops what was typed before it asks.
    wait_until("what was typed has an effect", typed, every_s=2)

    # A control plane that is killed takes its sessions along, and nothing of the guest.
    real.kill()
    with pytest.raises(ConnectionClosed):
        second.until("nothing more comes here")
    real.start().wait_for_hosts()
    third = Serial(url(real, server, "serial", "serial"))
    third.type("echo $((9*9))-after\n")
    third.until("81-after")
    real.delete(server)
    real.wait_gone(server)
    with pytest.raises(ConnectionClosed):
        third.until("nothing more comes here")
