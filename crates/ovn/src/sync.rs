//! Keeps the northbound database equal to State: everything when a connection begins, and then every change, by any
//! writer.
//!
//! ```text
//! commits ──▶ dirty keys ──┐                      ┌──▶ transactions, each on condition that the epoch is ours
//!                          ├──▶ pending ──rows──▶ diff
//! the database's updates ──┘                      └──▶ which ports are up
//! ```
//!
//! While the database is unreachable, commits continue and their keys wait. After the reconnection everything is
//! compared once.

use crate::{
    northbound::{
        Actual, Key, RowId, Table, all_keys,
        diff::{Wanted, diff, remove_strange},
        dirty::dirty,
        rows_of,
        schema::{COLUMNS, UP},
    },
    ovsdb::{
        Atom, Condition, Connected, Connector, Datum, Event, Operation, OvsdbError, Remote, connect::Random,
    },
};
use lenticular_model::{Incarnation, Kind, PortId, State};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    time::Instant,
};

const DATABASE: &str = "OVN_Northbound";
const GLOBAL: &str = "NB_Global";
const EPOCH: &str = "lenticular:epoch";
const CLOUD: &str = "lenticular:cloud";
/// The most keys of one transaction.
const BATCH_MAX: usize = 300;
/// The delay before a retry of keys that the database refused or whose referenced rows are missing.
const RETRY_AFTER: Duration = Duration::from_secs(3);

/// A commit: its changes, and the State after it.
#[derive(Clone)]
pub struct Update {
    /// The State after it.
    pub state: Arc<State>,
    /// The records that it changed.
    pub changes: Vec<(Kind, String)>,
}

/// The northbound database and its owner.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The addresses of the database: one server, or the members of a cluster.
    pub remotes: Vec<Remote>,
    /// The leader's epoch. A leader with an older epoch can no longer write.
    pub epoch: u64,
    /// The incarnation of the store that the epoch belongs to.
    pub cloud: Incarnation,
}

/// The progress of the synchronization.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether there is a connection.
    pub connected: bool,
    /// The last commit that was written, except for refused keys.
    pub written: u64,
    /// Keys that could not be written and are tried again.
    pub refused: usize,
}

/// Receives the ports that OVN has plugged or not; all of them again after each reconnection.
pub type PortSink = Box<dyn FnMut(Vec<(PortId, bool)>) + Send>;

/// Another leader has taken the database over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superseded;

/// Works until the commits end, or another leader takes over.
///
/// # Errors
/// Another leader took over: this leader must not write any more.
pub async fn run(
    settings: Settings,
    state: Arc<State>,
    commits: UnboundedReceiver<Update>,
    ports: PortSink,
    status: watch::Sender<Status>,
    random: Random,
) -> Result<(), Superseded> {
    let connector = Connector::new(settings.remotes.clone(), DATABASE, COLUMNS, random);
    let sync = Sync {
        settings,
        state,
        commits,
        ports,
        status,
        raised: false,
        pending: BTreeSet::new(),
        singly: BTreeSet::new(),
        later: BTreeMap::new(),
        up: BTreeMap::new(),
        ended: false,
    };
    sync.run(connector).await
}

struct Sync {
    settings: Settings,
    /// The State that `pending` is written from.
    state: Arc<State>,
    commits: UnboundedReceiver<Update>,
    ports: PortSink,
    status: watch::Sender<Status>,
    /// Whether this leader has claimed the database. Then only a lost mark, not another leader's mark, is a reason
    /// to claim it.
    raised: bool,
    pending: BTreeSet<Key>,
    /// Keys of a refused transaction. One of them caused the refusal, so each is tried alone.
    singly: BTreeSet<Key>,
    /// Keys that were refused alone, and the time of each retry.
    later: BTreeMap<Key, Instant>,
    up: BTreeMap<PortId, bool>,
    ended: bool,
}

/// Why work on a connection ended.
enum End {
    /// The commits have ended.
    Done,
    /// Another leader has the database.
    Superseded,
    /// The connection is lost.
    Lost(OvsdbError),
}

impl From<OvsdbError> for End {
    fn from(error: OvsdbError) -> Self {
        Self::Lost(error)
    }
}

impl Sync {
    async fn run(mut self, mut connector: Connector) -> Result<(), Superseded> {
        let mut quiet = false;
        loop {
            let Some(connected) = self.connect(&mut connector, &mut quiet).await else { return Ok(()) };
            tracing::info!(at = connected.remote(), "connected to the northbound database");
            quiet = false;
            let end = self.work(connected).await;
            self.status.send_modify(|status| status.connected = false);
            match end {
                End::Done => return Ok(()),
                End::Superseded => {
                    tracing::error!(
                        "another leader has taken the northbound database over; nothing more is written"
                    );
                    return Err(Superseded);
                }
                End::Lost(error) => {
                    tracing::warn!(%error, "the northbound database is lost; the network goes on")
                }
            }
            connector.wait().await;
        }
    }

    /// Connects, and accepts commits meanwhile; `None` once the commits have ended.
    async fn connect(&mut self, connector: &mut Connector, quiet: &mut bool) -> Option<Connected> {
        let connecting = async {
            loop {
                match connector.connect().await {
                    Ok(connected) => return connected,
                    Err(error) if !*quiet => {
                        tracing::warn!(%error, "no northbound database; it is tried again");
                        *quiet = true;
                    }
                    Err(_) => {}
                }
                connector.wait().await;
            }
        };
        let mut connecting = std::pin::pin!(connecting);
        loop {
            tokio::select! {
                connected = &mut connecting => return Some(connected),
                commit = self.commits.recv(), if !self.ended => self.take(commit),
            }
            if self.ended {
                return None;
            }
        }
    }

    fn take(&mut self, commit: Option<Update>) {
        let Some(commit) = commit else {
            self.ended = true;
            return;
        };
        for (kind, id) in &commit.changes {
            dirty(&self.state, &commit.state, *kind, id, &mut self.pending);
        }
        self.state = commit.state;
    }

    async fn work(&mut self, mut connected: Connected) -> End {
        match self.follow(&mut connected).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn follow(&mut self, connected: &mut Connected) -> Result<std::convert::Infallible, End> {
        self.claim(connected).await?;
        let mut actual = Actual::new(&connected.replica);
        self.begin(connected, &mut actual).await?;
        let mut events = Vec::new();
        loop {
            while let Ok(commit) = self.commits.try_recv() {
                self.take(Some(commit));
            }
            self.write(connected, &mut actual).await?;
            if self.pending.is_empty() && self.singly.is_empty() {
                let (written, refused) = (self.state.seq, self.later.len());
                self.status.send_modify(|s| *s = Status { connected: true, written, refused });
            } else {
                continue;
            }
            let retry_at = self.later.values().min().copied();
            tokio::select! {
                commit = self.commits.recv() => {
                    self.take(commit);
                    if self.ended {
                        return Err(End::Done);
                    }
                }
                changed = connected.changed(&mut events) => {
                    changed?;
                    self.seen(connected, &mut actual, &mut events);
                    if self.is_others(connected) {
                        return Err(End::Superseded);
                    }
                }
                () = until(retry_at) => {
                    let due = std::mem::take(&mut self.later);
                    self.singly.extend(due.into_keys());
                }
            }
        }
    }

    /// Marks everything for comparison: the keys of our rows, and all keys of State.
    async fn begin(&mut self, connected: &mut Connected, actual: &mut Actual) -> Result<(), End> {
        let (keys, strange) = actual.keys();
        let operations = remove_strange(&strange, actual, &connected.replica);
        if !operations.is_empty() {
            tracing::warn!(rows = strange.len(), "rows of ours that nothing explains are removed");
            self.transact(connected, actual, operations).await?;
        }
        self.pending.extend(keys);
        self.pending.extend(all_keys(&self.state));
        self.up.clear();
        let rows = connected.replica.rows(Table::LogicalSwitchPort.name()).map(|(row, _)| row);
        let all: BTreeSet<_> = rows.collect();
        self.tell_ports(connected, actual, all);
        Ok(())
    }

    /// Writes the next part of the pending keys.
    async fn write(&mut self, connected: &mut Connected, actual: &mut Actual) -> Result<(), End> {
        let mut batch = BTreeSet::new();
        while let Some(key) = (batch.len() < BATCH_MAX).then(|| self.pending.pop_first()).flatten() {
            batch.insert(key);
        }
        if batch.is_empty() {
            batch.extend(self.singly.pop_first());
        }
        if batch.is_empty() {
            return Ok(());
        }
        let wanted: Wanted = batch.iter().map(|key| (*key, rows_of(&self.state, *key))).collect();
        let changes = diff(&wanted, actual, &connected.replica);
        for key in changes.incomplete {
            self.later.entry(key).or_insert_with(|| Instant::now() + RETRY_AFTER);
        }
        if changes.operations.is_empty() {
            return Ok(());
        }
        match self.transact(connected, actual, changes.operations).await {
            Ok(()) => {}
            Err(End::Lost(error)) if error.is_refusal() && batch.len() > 1 => {
                tracing::warn!(%error, keys = batch.len(), "the northbound database refused; they are tried one by one");
                self.singly.extend(batch);
            }
            Err(End::Lost(error)) if error.is_refusal() => {
                let key = batch.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, key, "the northbound database refused; it is tried again");
                let at = Instant::now() + RETRY_AFTER;
                self.later.extend(batch.into_iter().map(|key| (key, at)));
            }
            Err(end) => {
                self.pending.extend(batch);
                return Err(end);
            }
        }
        Ok(())
    }

    /// Runs a transaction, if this leader still has the database, and applies its changes to the copy.
    async fn transact(
        &mut self,
        connected: &mut Connected,
        actual: &mut Actual,
        operations: Vec<Operation>,
    ) -> Result<(), End> {
        let mut all =
            vec![Operation::Require { table: GLOBAL, of: Condition::Includes("external_ids", self.mark()) }];
        all.extend(operations);
        let done = connected.session.transact(DATABASE, &all).await;
        let mut events = Vec::new();
        connected.take_in(&mut events)?;
        self.seen(connected, actual, &mut events);
        match done {
            Ok(_) => Ok(()),
            Err(error) if error.is_unmet() && self.is_others(connected) => Err(End::Superseded),
            // The mark is gone, and there is no other leader's mark: the next connection claims the database.
            Err(error) if error.is_unmet() => Err(End::Lost(OvsdbError::Nonsense(error.to_string()))),
            Err(error) => Err(End::Lost(error)),
        }
    }

    fn seen(&mut self, connected: &Connected, actual: &mut Actual, events: &mut Vec<Event>) {
        let mut ports = BTreeSet::new();
        for event in events.drain(..) {
            let of_ports = Table::LogicalSwitchPort.name();
            let says_up = match &event {
                Event::Inserted { table, row } => (*table == of_ports).then_some(*row),
                Event::Modified { table, row, column, .. } => {
                    (*table == of_ports && *column == UP).then_some(*row)
                }
                Event::Deleted { .. } => None,
            };
            ports.extend(says_up);
            let touched = actual.apply(&connected.replica, &event);
            if !matches!(&event, Event::Modified { column, .. } if *column == UP) {
                // Keys of rows that any writer changed are written again.
                self.pending.extend(touched);
            }
        }
        self.tell_ports(connected, actual, ports);
    }

    fn tell_ports(&mut self, connected: &Connected, actual: &Actual, rows: BTreeSet<uuid::Uuid>) {
        let mut news = Vec::new();
        for row in rows {
            let Some(RowId { id, .. }) = actual.id(row) else { continue };
            let Ok(Key::Port(port)) = id.parse() else { continue };
            let up = connected.replica.cell(Table::LogicalSwitchPort.name(), row, UP);
            let up = up.and_then(Datum::truth).unwrap_or(false);
            if self.up.insert(port, up) != Some(up) {
                news.push((port, up));
            }
        }
        if !news.is_empty() {
            (self.ports)(news);
        }
    }

    /// The mark of this leader in the database.
    fn mark(&self) -> Datum {
        let Settings { epoch, cloud, .. } = &self.settings;
        Datum::map([(CLOUD, cloud.to_string()), (EPOCH, epoch.to_string())])
    }

    fn marks(connected: &Connected) -> Option<(uuid::Uuid, Datum)> {
        let (row, _) = connected.replica.rows(GLOBAL).next()?;
        Some((row, connected.replica.cell(GLOBAL, row, "external_ids")?.clone()))
    }

    /// Whether another leader has claimed the database since this one did.
    fn is_others(&self, connected: &Connected) -> bool {
        let Some((_, marks)) = Self::marks(connected) else { return false };
        let (cloud, epoch) = (marks.text_of(CLOUD), marks.text_of(EPOCH));
        let ours = cloud == Some(&self.settings.cloud.to_string())
            && epoch == Some(&self.settings.epoch.to_string());
        epoch.is_some() && !ours
    }

    /// Claims the database for this leader, unless a later leader of this cloud has it.
    async fn claim(&mut self, connected: &mut Connected) -> Result<(), End> {
        let Some((row, marks)) = Self::marks(connected) else {
            let row = [("external_ids", self.mark())].into();
            let insert = Operation::Insert { table: GLOBAL, name: "global".to_owned(), row };
            connected.session.transact(DATABASE, &[insert]).await?;
            connected.take_in(&mut Vec::new())?;
            self.raised = true;
            return Ok(());
        };
        if self.is_others(connected) {
            let same_cloud = marks.text_of(CLOUD) == Some(&self.settings.cloud.to_string());
            let later = marks.text_of(EPOCH).and_then(|e| e.parse::<u64>().ok()) > Some(self.settings.epoch);
            if self.raised || (same_cloud && later) {
                return Err(End::Superseded);
            }
            if !same_cloud {
                tracing::warn!(
                    was = marks.text_of(CLOUD),
                    "the northbound database was another life's; it is taken over"
                );
            }
        }
        let of = || Condition::Row(Atom::Uuid(row));
        let keys = Datum::set([CLOUD, EPOCH]);
        let claim = [
            Operation::Expect { table: GLOBAL, of: of(), row: [("external_ids", marks)].into() },
            Operation::Remove { table: GLOBAL, of: of(), column: "external_ids", members: keys },
            Operation::Add { table: GLOBAL, of: of(), column: "external_ids", members: self.mark() },
        ];
        connected.session.transact(DATABASE, &claim).await?;
        connected.take_in(&mut Vec::new())?;
        self.raised = true;
        Ok(())
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
