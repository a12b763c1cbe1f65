// Shows a server's screen. The page's URL has the path of the WebSocket, with its token.
import RFB from "./novnc.js";

const AGAIN_MS = 2000;
/// The WebSocket's closing code when the token is refused: another try would be refused too.
const REFUSED = 1008;

const [name, state, keys, screen] = ["name", "state", "keys", "screen"].map((id) => document.getElementById(id));
const path = new URLSearchParams(location.search).get("path") ?? "";
const token = new URLSearchParams(path.split("?")[1]).get("token") ?? "";

function connect() {
    const url = new URL("connect", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.search = new URLSearchParams({ token });
    const socket = new WebSocket(url, ["binary"]);
    const rfb = new RFB(screen, socket, { shared: true });
    rfb.scaleViewport = true;
    rfb.addEventListener("connect", () => {
        state.textContent = "Connected";
        keys.disabled = false;
        rfb.focus();
    });
    rfb.addEventListener("desktopname", (event) => {
        name.textContent = document.title = event.detail.name;
    });
    keys.onclick = () => {
        rfb.sendCtrlAltDel();
        rfb.focus();
    };
    socket.addEventListener("close", (event) => {
        keys.disabled = true;
        state.textContent = event.reason || "The connection was lost.";
        if (event.code !== REFUSED) {
            state.textContent += " Connecting again…";
            setTimeout(connect, AGAIN_MS);
        }
    });
}

connect();
