// Shows a server's screen. The query's `path` is noVNC's convention. This page takes only the token from it, so a URL cannot
// lead the page elsewhere.
import RFB from "./novnc.js";

const AGAIN_MS = 2000;
/// The status of a refused token.
const REFUSED = 401;
/// The WebSocket's closing code when its user's rights end.
const ENDED = 1008;

const [name, state, ctrlAltDel, screen] = ["name", "state", "ctrl-alt-del", "screen"].map((id) =>
    document.getElementById(id),
);
const query = new URLSearchParams(location.search);
const path = query.get("path") ?? "";
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
        ctrlAltDel.disabled = false;
        rfb.focus();
    });
    ctrlAltDel.onclick = () => {
        rfb.sendCtrlAltDel();
        rfb.focus();
    };
    socket.addEventListener("close", async (event) => {
        ctrlAltDel.disabled = true;
        let why = event.reason || "The connection was lost.";
        let over = event.code === ENDED;
        if (!event.reason) {
            // A refused WebSocket tells a script nothing; the same request without one has the reason.
            url.protocol = location.protocol;
            const answer = await fetch(url).catch(() => null);
            over = answer?.status === REFUSED;
            const body = over ? await answer.json().catch(() => null) : null;
            why = body?.error?.message ?? why;
        }
        state.textContent = over ? why : `${why} Connecting again…`;
        if (!over) setTimeout(connect, AGAIN_MS);
    });
}

name.textContent = document.title = query.get("title") || "Console";
connect();
