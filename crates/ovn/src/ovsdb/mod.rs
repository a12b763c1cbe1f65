//! A client of the Open vSwitch database protocol (RFC 7047, and what ovsdb-server(7) adds to it).
//!
//! ```text
//! remote, tls ── where a server listens   session ── one connection: calls, echoes, updates
//! connect ── which of several to talk to  replica ── a copy of the tables asked for, kept by the server's updates
//! value, operation ── what rows hold, and what a transaction does to them
//! ```

pub mod connect;
pub mod frame;
pub mod operation;
pub mod remote;
pub mod replica;
pub mod session;
pub mod tls;
pub mod value;

pub use connect::{Connected, Connector};
pub use operation::{Condition, Operation};
pub use remote::Remote;
pub use replica::{Columns, Event, Replica};
pub use session::{OvsdbError, Session};
pub use tls::Tls;
pub use value::{Atom, Datum};
