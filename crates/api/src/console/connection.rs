//! Connections of consoles: where a browser's WebSocket waits for the agent's end.

use lenticular_model::{
    HostId, Lock, ProjectId, ServerId,
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

/// The connections that a server may have at once.
const OF_SERVER_MAX: usize = 16;
/// The connections that a project may have at once.
const OF_PROJECT_MAX: usize = 64;
/// The connections that the control plane carries at once. Their connections are never closed for others, so they are few beside
/// the places of a listener.
const ALL_MAX: usize = 240;

/// A console's bytes, in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The agent's end of a connection.
pub type Stream = Box<dyn Duplex>;

/// All connections.
#[derive(Default)]
pub struct ConsoleConnections {
    /// How many connections each server has, and its project.
    open: Lock<BTreeMap<ServerId, (ProjectId, usize)>>,
    waiting: Lock<HashMap<String, Waiting>>,
}

struct Waiting {
    host: HostId,
    arrival: oneshot::Sender<Stream>,
}

/// A server's connection; dropping it ends it.
pub struct ConsoleConnection {
    server: ServerId,
    all: Arc<ConsoleConnections>,
    /// The secret name that the agent joins the connection by.
    pub name: String,
    /// The agent's end, when it arrives.
    pub arrival: oneshot::Receiver<Stream>,
}

impl ConsoleConnections {
    /// Begins a connection with a console of a server on this host.
    ///
    /// # Errors
    /// There are too many connections, or the system gives no randomness.
    pub fn begin(
        self: &Arc<Self>,
        project: ProjectId,
        server: ServerId,
        host: HostId,
    ) -> Result<ConsoleConnection> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(Error::internal)?;
        let name = hex(&bytes);
        let mut open = self.open.lock();
        let own = open.get(&server).map_or(0, |(_, count)| *count);
        if own >= OF_SERVER_MAX {
            return Err(Error::unavailable(format!(
                "The server has {OF_SERVER_MAX} open consoles. Close one, and try again."
            )));
        }
        let of_project =
            open.values().filter(|(of, _)| *of == project).map(|(_, count)| count).sum::<usize>();
        if of_project >= OF_PROJECT_MAX {
            return Err(Error::unavailable(format!(
                "The project has {OF_PROJECT_MAX} open consoles. Close one, and try again."
            )));
        }
        if open.values().map(|(_, count)| count).sum::<usize>() >= ALL_MAX {
            return Err(Error::unavailable(
                "The cloud has no room for another console now. Try again later.",
            ));
        }
        open.insert(server, (project, own + 1));
        let (arrival, arrived) = oneshot::channel();
        self.waiting.lock().insert(name.clone(), Waiting { host, arrival });
        Ok(ConsoleConnection { server, all: self.clone(), name, arrival: arrived })
    }

    /// Takes the place where a connection waits for this host's agent.
    ///
    /// # Errors
    /// No connection of this name waits for this host.
    pub fn take(&self, host: HostId, name: &str) -> Result<oneshot::Sender<Stream>> {
        let mut waiting = self.waiting.lock();
        match waiting.remove(name) {
            Some(found) if found.host == host => Ok(found.arrival),
            Some(other) => {
                waiting.insert(name.to_owned(), other);
                Err(Error::not_found("Console connection", name))
            }
            None => Err(Error::not_found("Console connection", name)),
        }
    }
}

impl Drop for ConsoleConnection {
    fn drop(&mut self) {
        self.all.waiting.lock().remove(&self.name);
        let mut open = self.all.open.lock();
        if let Some((_, own)) = open.get_mut(&self.server) {
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
    async fn only_the_servers_host_joins_a_connection_and_only_once() {
        let all = Arc::new(ConsoleConnections::default());
        let (server, host) = (ServerId::from_random([1; 16]), HostId::from_random([2; 16]));
        let project = ProjectId::from_random([7; 16]);
        let connection = all.begin(project, server, host).unwrap();
        assert!(all.take(HostId::from_random([3; 16]), &connection.name).is_err());
        let place = all.take(host, &connection.name).unwrap();
        assert!(place.send(Box::new(tokio::io::duplex(1).0)).is_ok());
        assert!(all.take(host, &connection.name).is_err());
        drop(connection);
        assert!(all.open.lock().is_empty() && all.waiting.lock().is_empty());
    }

    #[test]
    fn a_server_has_a_limited_number_of_connections() {
        let all = Arc::new(ConsoleConnections::default());
        let (server, host) = (ServerId::from_random([1; 16]), HostId::from_random([2; 16]));
        let project = ProjectId::from_random([7; 16]);
        let held: Vec<ConsoleConnection> =
            (0..OF_SERVER_MAX).map(|_| all.begin(project, server, host).unwrap()).collect();
        assert!(all.begin(project, server, host).is_err());
        assert!(all.begin(project, ServerId::from_random([9; 16]), host).is_ok());
        let others = (0..OF_PROJECT_MAX)
            .map_while(|n| all.begin(project, ServerId::from_random([100 + n as u8; 16]), host).ok());
        let others: Vec<ConsoleConnection> = others.collect();
        assert_eq!(held.len() + others.len(), OF_PROJECT_MAX);
        assert!(all.begin(ProjectId::from_random([8; 16]), ServerId::from_random([9; 16]), host).is_ok());
        drop(held);
        assert!(all.begin(project, server, host).is_ok());
    }
}
