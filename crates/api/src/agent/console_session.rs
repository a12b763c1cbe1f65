//! Sessions of consoles: where a browser's connection waits for the agent's.

use lenticular_model::{
    HostId, Lock, ServerId,
    error::{Error, Result},
};
use lenticular_wire::hex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};

/// The sessions that a server may have at once.
const OF_SERVER_MAX: usize = 16;
/// The sessions that the control plane carries at once.
const ALL_MAX: usize = 1_024;

/// A console's bytes, in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The agent's end of a session.
pub type Stream = Box<dyn Duplex>;

/// All sessions.
#[derive(Default)]
pub struct Sessions {
    /// How many sessions each server has.
    open: Lock<BTreeMap<ServerId, usize>>,
    waiting: Lock<HashMap<String, Waiting>>,
}

struct Waiting {
    host: HostId,
    arrival: oneshot::Sender<Stream>,
}

/// A server's session; dropping it ends it.
pub struct Session {
    server: ServerId,
    all: Arc<Sessions>,
    /// The secret name that the agent joins the session by.
    pub name: String,
    /// The agent's end, when it arrives.
    pub arrival: oneshot::Receiver<Stream>,
}

impl Sessions {
    /// Begins a session with a console of a server on this host.
    ///
    /// # Errors
    /// There are too many sessions, or the system gives no randomness.
    pub fn begin(self: &Arc<Self>, server: ServerId, host: HostId) -> Result<Session> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(Error::internal)?;
        let name = hex(&bytes);
        let mut open = self.open.lock();
        let own = open.get(&server).copied().unwrap_or_default();
        if own >= OF_SERVER_MAX || open.values().sum::<usize>() >= ALL_MAX {
            return Err(Error::unavailable("Too many consoles are open. Close one, and try again."));
        }
        open.insert(server, own + 1);
        let (arrival, arrived) = oneshot::channel();
        self.waiting.lock().insert(name.clone(), Waiting { host, arrival });
        Ok(Session { server, all: self.clone(), name, arrival: arrived })
    }

    /// Takes the place where a session waits for this host's agent.
    ///
    /// # Errors
    /// No session of this name waits for this host.
    pub fn take(&self, host: HostId, name: &str) -> Result<oneshot::Sender<Stream>> {
        let mut waiting = self.waiting.lock();
        match waiting.remove(name) {
            Some(found) if found.host == host => Ok(found.arrival),
            Some(other) => {
                waiting.insert(name.to_owned(), other);
                Err(Error::not_found("Console session", name))
            }
            None => Err(Error::not_found("Console session", name)),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.all.waiting.lock().remove(&self.name);
        let mut open = self.all.open.lock();
        if let Some(own) = open.get_mut(&self.server) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_servers_host_joins_a_session_and_only_once() {
        let all = Arc::new(Sessions::default());
        let (server, host) = (ServerId::from_random([1; 16]), HostId::from_random([2; 16]));
        let session = all.begin(server, host).unwrap();
        assert!(all.take(HostId::from_random([3; 16]), &session.name).is_err());
        let place = all.take(host, &session.name).unwrap();
        assert!(place.send(Box::new(tokio::io::duplex(1).0)).is_ok());
        assert!(all.take(host, &session.name).is_err());
        drop(session);
        assert!(all.open.lock().is_empty() && all.waiting.lock().is_empty());
    }

    #[test]
    fn a_server_has_a_limited_number_of_sessions() {
        let all = Arc::new(Sessions::default());
        let (server, host) = (ServerId::from_random([1; 16]), HostId::from_random([2; 16]));
        let held: Vec<Session> = (0..OF_SERVER_MAX).map(|_| all.begin(server, host).unwrap()).collect();
        assert!(all.begin(server, host).is_err());
        assert!(all.begin(ServerId::from_random([9; 16]), host).is_ok());
        drop(held);
        assert!(all.begin(server, host).is_ok());
    }
}
