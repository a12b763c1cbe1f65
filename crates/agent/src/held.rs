//! A process held by a descriptor: what is done to it reaches no other that got its number later.

use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};
use std::{io, os::fd::OwnedFd};
use tokio::io::{unix::AsyncFd, Interest};

/// A process. Whether it is the right one is looked at after it was held.
pub(crate) struct Held(AsyncFd<OwnedFd>);

impl Held {
    /// Holds the process of this number; `None` if there is none.
    pub(crate) fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(raw, PidfdFlags::NONBLOCK) {
            Ok(fd) => register(fd).map(|fd| Some(Self(fd))),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns when the process has ended.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }

    /// Sends it a signal; that it has ended is no error.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.0.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Its successor is `unsafe`, which this workspace forbids, and asks the caller to see to it that the descriptor stays
/// the same and open: an `OwnedFd` that is moved in does.
#[expect(deprecated, reason = "the successor is unsafe, and what it asks for holds by the type")]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
