//! A client of the Open vSwitch database protocol (RFC 7047, and the extensions of ovsdb-server(7)).
//!
//! ```text
//! remote, tls ── a server's address        session ── one connection: calls, echoes, updates
//! connect ── the choice of the server      replica ── a copy of the requested tables, updated by the server
//! value, operation ── the values of rows, and the operations of transactions
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
