//! The agent's link to the control plane: over HTTP, or within one process.

use crate::peer::Stream;
use bytes::Bytes;
use lenticular_model::{HostId, ImageId, ServerId};
use lenticular_wire::agent::{Answer, Orders, OrdersQuery, Registration, Report, Welcome};
use std::{future::Future, path::Path, pin::Pin};

/// A call's future answer.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, LinkError>> + Send + 'a>>;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The control plane did not answer, or not in time.
    #[error("the control plane at {at} does not answer: {why}")]
    Unreachable {
        /// The address.
        at: String,
        /// The error.
        why: String,
    },
    /// The control plane does not know this host, or not any more: it must register.
    #[error("the control plane does not know this host")]
    Unknown,
    /// The control plane refused.
    #[error("the control plane refused with status {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its message.
        body: String,
    },
    /// The answer cannot be understood.
    #[error("the control plane's answer cannot be read: {0}")]
    Nonsense(String),
}

/// The bytes of an image, piece by piece.
pub trait Chunks: Send {
    /// The next piece; `None` after the last. An error ends the stream, and makes the earlier pieces worthless.
    fn next(&mut self) -> Call<'_, Option<Bytes>>;
}

/// The control plane. Every call has its own deadline and may be repeated; dropping the call cancels it.
pub trait Link: Send + Sync + 'static {
    /// Registers the host.
    fn register<'a>(&'a self, registration: &'a Registration) -> Call<'a, Welcome>;

    /// Waits up to `query.wait_ms` for orders after `query.after`. [`LinkError::Unknown`] asks for a new registration.
    fn orders(&self, host: HostId, query: OrdersQuery) -> Call<'_, Orders>;

    /// Sends a report; it is durable when the call returns.
    fn report<'a>(&'a self, host: HostId, report: &'a Report) -> Call<'a, ()>;

    /// Answers a question that came with orders.
    fn answer<'a>(&'a self, host: HostId, answer: &'a Answer) -> Call<'a, ()>;

    /// Opens the connection that carries a console to its client. A question has named it.
    fn join_console<'a>(&'a self, host: HostId, connection: &'a str) -> Call<'a, Stream>;

    /// An image's bytes.
    fn image(&self, image: ImageId) -> Call<'_, Box<dyn Chunks>>;

    /// Sends a server's disk, a whole file, to the image store under the name of an attempt to shelve the server.
    /// The image is durable when the call returns.
    fn upload<'a>(&'a self, server: ServerId, upload: &'a str, disk: &'a Path) -> Call<'a, ()>;

    /// Passes on the password that a guest has posted; the password is durable when the call returns.
    fn password<'a>(&'a self, server: ServerId, password: &'a str) -> Call<'a, ()>;

    /// A server's user data, if it has any.
    fn user_data(&self, server: ServerId) -> Call<'_, Option<Vec<u8>>>;

    /// The files that a server's owner wants in its guest, as the control plane keeps them (JSON).
    fn files(&self, server: ServerId) -> Call<'_, Option<Vec<u8>>> {
        let _ = server;
        Box::pin(async { Ok(None) })
    }
}
