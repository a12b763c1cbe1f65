//! Guests' consoles in a browser: the pages, and the WebSocket that carries a console's bytes.
//!
//! ```text
//!  browser ──WebSocket──▶ control plane ◀──TLS, joined by the agent──── host ──▶ QEMU's socket
//! ```
//!
//! - A client asks for a console's URL (`compute::console`). The URL has a sealed token: console, server, and what the
//!   client's own token says.
//! - The browser opens the WebSocket with this token. A question goes to the agent of the server's host.
//! - The agent opens the console and joins it to the connection that the question names. The bytes pass through unread.
//! - Either side may end the connection. The page then begins another as long as its token is valid, so a console is back
//!   after a move or a restart of its server.

pub mod connection;
pub mod host;
mod page;
mod socket;
pub mod token;

use crate::{
    app::App,
    routes::{Routes, get},
};

/// The path of the page that shows a screen.
pub const VNC_PAGE: &str = "/console/vnc.html";
/// The path of the WebSocket.
pub const SOCKET: &str = "/console/connect";

/// The routes.
pub fn routes() -> Routes<App> {
    Routes::new().route(SOCKET, get(socket::connect)).route("/console/{file}", get(page::show))
}
