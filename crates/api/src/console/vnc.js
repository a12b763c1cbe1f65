// Shows a server's screen. The page's URL has the path of the WebSocket, with its token.
import RFB from "./novnc.js";

const AGAIN_MS = 2000;
/// The status of a refused token, and the WebSocket's closing code when a token's rights end.
const [REFUSED, ENDED] = [401, 1008];

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
    socket.addEventListener("close", async (event) => {
        keys.disabled = true;
        let [why, over] = [event.reason || "The connection was lost.", event.code === ENDED];
        if (!event.reason) {
            // A refused WebSocket tells a script nothing; the same request without one has the reason.
            url.protocol = location.protocol;
            const answer = await fetch(url).catch(() => null);
            over = answer?.status === REFUSED;
            why = over ? (await answer.json()).error.message : why;
        }
        state.textContent = over ? why : `${why} Connecting again…`;
        if (!over) setTimeout(connect, AGAIN_MS);
    });
}

connect();
