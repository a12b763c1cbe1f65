//! The choice between several servers: the cluster's leader, searched again after each loss.

use super::{
    remote::Remote,
    replica::{Columns, Event, Replica},
    session::{Notice, OvsdbError, Session},
    value::Datum,
};
use serde_json::{Value, json};
use std::time::Duration;

/// The database that names the leader.
const SERVER: &str = "_Server";
const SERVER_COLUMNS: Columns = &[("Database", &["name", "model", "connected", "leader"])];
/// The least upper bound of the random wait before a reconnection.
const WAIT_MS_MIN: u64 = 200;
const WAIT_MS_MAX: u64 = 8_000;

/// A source of random numbers, which the caller supplies.
pub type Random = Box<dyn FnMut() -> u64 + Send>;

/// Connects to a database, again and again.
pub struct Connector {
    remotes: Vec<Remote>,
    database: &'static str,
    columns: Columns,
    random: Random,
    failures: u32,
    next: usize,
}

/// A connection to the leader, and a copy of the database's tables.
pub struct Connected {
    /// The connection.
    pub session: Session,
    /// The copy.
    pub replica: Replica,
    database: &'static str,
    server: Replica,
    remote: String,
}

impl Connector {
    /// A connector for a database at any of these servers.
    pub fn new(remotes: Vec<Remote>, database: &'static str, columns: Columns, random: Random) -> Self {
        Self { remotes, database, columns, random, failures: 0, next: 0 }
    }

    /// Tries the next server.
    ///
    /// # Errors
    /// The server does not answer, or is not the leader. Call [`Connector::wait`] before the next try.
    pub async fn connect(&mut self) -> Result<Connected, OvsdbError> {
        let remote = self.remotes.get(self.next % self.remotes.len().max(1)).cloned();
        let remote = remote.ok_or_else(|| OvsdbError::Nonsense("no database server is named".to_owned()))?;
        match Connected::open(&remote, self.database, self.columns).await {
            Ok(connected) => {
                self.failures = 0;
                Ok(connected)
            }
            Err(error) => {
                self.next = self.next.wrapping_add(1);
                Err(error)
            }
        }
    }

    /// Waits before the next try: not at all while some servers are untried, then a random time that grows.
    pub async fn wait(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let count = u32::try_from(self.remotes.len()).unwrap_or(u32::MAX);
        if !self.failures.is_multiple_of(count.max(1)) {
            return;
        }
        let most = (WAIT_MS_MIN << (self.failures / count.max(1)).min(6)).min(WAIT_MS_MAX);
        let spread = (self.random)() % (most / 2 + 1);
        tokio::time::sleep(Duration::from_millis(most / 2 + spread)).await;
    }
}

impl Connected {
    async fn open(remote: &Remote, database: &'static str, columns: Columns) -> Result<Self, OvsdbError> {
        let mut session = Session::connect(remote).await?;
        let server = match session.call("get_schema", json!([SERVER])).await {
            Ok(schema) => follow(&mut session, SERVER, SERVER_COLUMNS, &schema).await?.0,
            // A server from before clusters existed.
            Err(OvsdbError::Refused { .. }) => Replica::default(),
            Err(error) => return Err(error),
        };
        let mut connected =
            Self { session, replica: Replica::default(), database, server, remote: remote.to_string() };
        connected.check_leader()?;
        let schema = connected.session.call("get_schema", json!([database])).await?;
        (connected.replica, _) = follow(&mut connected.session, database, columns, &schema).await?;
        Ok(connected)
    }

    /// The server's address.
    pub fn remote(&self) -> &str {
        &self.remote
    }

    fn check_leader(&self) -> Result<(), OvsdbError> {
        for (row, _) in self.server.rows("Database") {
            let cell = |column| self.server.cell("Database", row, column);
            let is = |column| cell(column).and_then(Datum::truth) == Some(true);
            let ours = cell("name").and_then(Datum::text) == Some(self.database);
            let clustered = cell("model").and_then(Datum::text) == Some("clustered");
            if ours && clustered && !(is("leader") && is("connected")) {
                return Err(OvsdbError::NotLeader(self.remote.clone()));
            }
        }
        Ok(())
    }

    /// Waits for news of the server and applies it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The connection is lost, or the server is no longer the leader.
    pub async fn changed(&mut self, events: &mut Vec<Event>) -> Result<(), OvsdbError> {
        let notice = self.session.notice().await?;
        self.take(&notice, events)?;
        self.take_in(events)
    }

    /// Applies the news that the server has sent already.
    ///
    /// # Errors
    /// See [`Connected::changed`].
    pub fn take_in(&mut self, events: &mut Vec<Event>) -> Result<(), OvsdbError> {
        while let Some(notice) = self.session.told() {
            self.take(&notice, events)?;
        }
        Ok(())
    }

    fn take(&mut self, notice: &Notice, events: &mut Vec<Event>) -> Result<(), OvsdbError> {
        let (id, updates) = (&notice.params[0], &notice.params[1]);
        match (notice.method.as_str(), id.as_str()) {
            ("update2", Some(SERVER)) => {
                self.server.apply(updates, &mut Vec::new())?;
                self.check_leader()
            }
            ("update2", _) => Ok(self.replica.apply(updates, events)?),
            ("monitor_canceled", _) => Err(OvsdbError::Closed),
            _ => Ok(()),
        }
    }
}

async fn follow(
    session: &mut Session,
    database: &'static str,
    columns: Columns,
    schema: &Value,
) -> Result<(Replica, Vec<Event>), OvsdbError> {
    let mut replica = Replica::new(columns, schema);
    let rows = session.call("monitor_cond", json!([database, database, replica.requests()])).await?;
    let mut events = Vec::new();
    replica.apply(&rows, &mut events)?;
    Ok((replica, events))
}
