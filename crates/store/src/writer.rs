//! The one writer: runs transactions one after another on the head State, commits them in groups, and then
//! publishes.

use crate::{
    OpenError,
    engine::{Batch, Before, ChangeRow, CommitError, Engine, JournalEntry, ReadError, Reader, RecordRow},
    error::Damage,
    format::{damaged, failed},
};
use lenticular_model::{
    Cause, Change, Durability, Error, Incarnation, Kind, Result, State, Timestamp, Txn, txn::Entropy,
};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A published commit.
#[derive(Clone)]
pub struct Commit {
    /// The state after it.
    pub state: Arc<State>,
    /// When it was made.
    pub at: Timestamp,
    /// The records that it changed, in the order of kind and id.
    pub changes: Vec<(Kind, String)>,
}

/// The function of a transaction.
pub type Run<'j> = Box<dyn FnOnce(&mut Txn<'_>) -> Result<()> + 'j>;

/// A transaction to run, with its cause.
pub struct Job<'j> {
    /// The journal's line.
    pub cause: Cause,
    /// The transaction itself. All its changes are dropped if it returns an error or panics.
    pub run: Run<'j>,
}

/// A batch that ran and is not committed yet. Dropping it drops all changes of its transactions.
pub struct Prepared {
    answers: Vec<Result<()>>,
    batch: Batch,
    commits: Vec<Arc<Commit>>,
    head: Arc<State>,
    at: Timestamp,
}

/// How a batch ended.
pub struct Outcome {
    /// The answer to each job, in the order of the jobs.
    pub answers: Vec<Result<()>>,
    /// The published commits, in order. Jobs without changes published nothing.
    pub commits: Vec<Arc<Commit>>,
}

/// The head of a store and the engine under it. It has no thread and no clock. Over PostgreSQL do not call it from
/// an asynchronous task, because its calls block.
pub struct Writer {
    engine: Box<dyn Engine>,
    head: Arc<State>,
    at: Timestamp,
    epoch: u64,
    lost: Option<String>,
}

impl Prepared {
    /// True if nothing must be written to the database.
    pub fn is_volatile(&self) -> bool {
        self.batch.entries.is_empty()
    }
}

impl Writer {
    /// Loads a store. `took_over_at` is the clock's time now; `fresh_incarnation` becomes the incarnation of a new
    /// store.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn open(
        mut engine: Box<dyn Engine>,
        took_over_at: Timestamp,
        fresh_incarnation: Incarnation,
    ) -> Result<Self, OpenError> {
        let store = engine.describe();
        let mut state = State::new(fresh_incarnation, took_over_at);
        let mut newest: Option<(Kind, String, u64)> = None;
        let head = engine.load(&mut |record| {
            if newest.as_ref().is_none_or(|(.., seq)| record.seq > *seq) {
                newest = Some((record.kind, record.id.to_owned(), record.seq));
            }
            state.load(record.kind, record.doc, record.seq).map_err(|error| {
                let (kind, id, why) = (record.kind.name(), record.id.to_owned(), error.to_string());
                damaged(&store, Damage::Document { kind, id, why })
            })
        })?;
        if let Some((kind, id, seq)) = newest.filter(|(.., seq)| *seq > head.seq) {
            let kind = kind.name().to_owned();
            return Err(damaged(&store, Damage::RecordBeyondJournal { kind, id, seq, head: head.seq }));
        }
        match head.incarnation {
            Some(incarnation) => state.incarnation = incarnation,
            None => engine
                .begin_incarnation(fresh_incarnation)
                .map_err(|error| failed(&store, "naming the new store's incarnation", error))?,
        }
        state.seq = head.seq;
        state.took_over_at = took_over_at.max(head.at);
        Ok(Self { engine, head: Arc::new(state), at: head.at, epoch: head.epoch, lost: None })
    }

    /// Loads a store again after its leadership ended. `known` is the last State that this process published.
    ///
    /// # Errors
    /// As [`Writer::open`]; or the store lacks commits of `known`.
    pub fn open_again(
        engine: Box<dyn Engine>,
        took_over_at: Timestamp,
        known: &State,
    ) -> Result<Self, OpenError> {
        let writer = Self::open(engine, took_over_at, known.incarnation)?;
        let head = &writer.head;
        if head.incarnation == known.incarnation && head.seq < known.seq {
            return Err(OpenError::Behind { store: writer.describe(), seq: head.seq, known: known.seq });
        }
        Ok(writer)
    }

    /// The last published state.
    pub fn state(&self) -> &Arc<State> {
        &self.head
    }

    /// The time of the last durable commit; 1970 if there was none.
    pub fn last_commit_at(&self) -> Timestamp {
        self.at
    }

    /// The number of openings of the store, this one included.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The reason why the writer may no longer write; `None` if it may. Only a new opening helps.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// A reader of committed data.
    pub fn reader(&self) -> Arc<dyn Reader> {
        self.engine.reader()
    }

    /// The database's name for messages.
    pub fn describe(&self) -> String {
        self.engine.describe()
    }

    /// Runs one transaction and commits it. The commit is `None` if nothing changed.
    ///
    /// # Errors
    /// The transaction's own error; `Internal` if it panicked; `Unavailable` if it could not be committed.
    pub fn transact<T>(
        &mut self,
        now: Timestamp,
        entropy: Entropy<'_>,
        cause: Cause,
        f: impl FnOnce(&mut Txn<'_>) -> Result<T>,
    ) -> Result<(T, Option<Arc<Commit>>)> {
        let mut value = None;
        let run = Box::new(|txn: &mut Txn<'_>| {
            value = Some(f(txn)?);
            Ok(())
        });
        let outcome = self.run_batch(now, entropy, vec![Job { cause, run }]);
        outcome.answers.into_iter().collect::<Result<()>>()?;
        let value = value.ok_or_else(|| Error::internal("a transaction was answered that never ran"))?;
        Ok((value, outcome.commits.into_iter().next()))
    }

    /// Runs transactions one after the other and commits them together.
    pub fn run_batch(&mut self, now: Timestamp, entropy: Entropy<'_>, jobs: Vec<Job<'_>>) -> Outcome {
        let prepared = self.prepare(now, entropy, jobs);
        self.commit(prepared)
    }

    /// Runs transactions one after the other, each on the State of the previous one. `now` is the clock's time; no
    /// transaction gets a time before the last commit's.
    pub fn prepare(&mut self, now: Timestamp, entropy: Entropy<'_>, jobs: Vec<Job<'_>>) -> Prepared {
        let mut prepared = Prepared {
            answers: Vec::with_capacity(jobs.len()),
            batch: Batch::default(),
            commits: Vec::new(),
            head: self.head.clone(),
            at: self.at,
        };
        for job in jobs {
            let answer = match &self.lost {
                Some(why) => Err(refused(why)),
                None => prepared.attempt(now, &mut *entropy, job),
            };
            prepared.answers.push(answer);
        }
        prepared
    }

    /// Commits the prepared batch, and publishes it. If that fails, every job of the batch is answered with
    /// `Unavailable`, and the head does not change.
    pub fn commit(&mut self, prepared: Prepared) -> Outcome {
        let Prepared { answers, batch, commits, head, at } = prepared;
        if !batch.entries.is_empty()
            && let Err(error) = self.engine.commit(&batch)
        {
            let error = self.failed(&error);
            return Outcome { answers: vec![Err(error); answers.len()], commits: Vec::new() };
        }
        self.head = head;
        self.at = at;
        Outcome { answers, commits }
    }

    /// Begins a new incarnation of the store, for example after restoring a backup: revisions of the old
    /// incarnation no longer count.
    ///
    /// # Errors
    /// `Unavailable` if it could not be committed.
    pub fn new_incarnation(&mut self, incarnation: Incarnation) -> Result<()> {
        if let Some(why) = &self.lost {
            return Err(refused(why));
        }
        self.engine.begin_incarnation(incarnation).map_err(|error| self.failed(&error))?;
        Arc::make_mut(&mut self.head).incarnation = incarnation;
        Ok(())
    }

    /// Removes at most `entries_max` journal entries before `before`, and their changes; returns how many. Zero
    /// means that none are left to remove.
    ///
    /// # Errors
    /// `Unavailable` if it could not be committed.
    pub fn trim_journal(&mut self, before: Timestamp, entries_max: usize) -> Result<usize> {
        if let Some(why) = &self.lost {
            return Err(refused(why));
        }
        self.engine.trim(before, entries_max).map_err(|error| self.failed(&error))
    }

    /// Closes the store cleanly.
    ///
    /// # Errors
    /// `Unavailable` if the database refused the clean close; no committed data is lost by that.
    pub fn close(mut self) -> Result<()> {
        // Another process may have taken the store over. Then this process must not mark it as closed.
        if self.lost.is_some() {
            return Ok(());
        }
        self.engine.close().map_err(|error| self.failed(&error))
    }

    /// Turns a failed commit into an answer for the callers, and ends the leadership if necessary.
    fn failed(&mut self, error: &CommitError) -> Error {
        let why = format!("{}: {error}", self.engine.describe());
        match error {
            CommitError::Failed(_) => {
                tracing::error!(%why, "a commit failed and changed nothing");
                let text = "The change could not be saved and was dropped. Try again later; if that fails too, \
                            tell the cloud's operator the request id.";
                Error { internal: Some(why), ..Error::unavailable(text) }
            }
            CommitError::Unknown(_) | CommitError::Stale { .. } => {
                tracing::error!(%why, "this process leads no more; the store must be opened again");
                let error = match error {
                    CommitError::Unknown(_) => in_doubt(&why),
                    _ => refused(&why),
                };
                self.engine.release();
                self.lost = Some(why);
                error
            }
        }
    }
}

impl Prepared {
    fn attempt(&mut self, now: Timestamp, entropy: Entropy<'_>, job: Job<'_>) -> Result<()> {
        let now = now.max(self.at);
        let mut txn = Txn::new(&self.head, now, entropy);
        let run = job.run;
        catch_unwind(AssertUnwindSafe(|| run(&mut txn))).unwrap_or_else(|panic| Err(panicked(&*panic)))?;
        let (state, changes) = txn.finish();
        check_text(&job.cause, &changes)?;
        self.take(now, job.cause, state, changes);
        Ok(())
    }

    fn take(&mut self, now: Timestamp, cause: Cause, mut state: State, mut changes: Vec<Change>) {
        // A record that one transaction made and removed leaves no change. A cold record may have existed before.
        let is_real = |change: &Change| {
            change.before.is_some() || change.after.is_some() || change.kind.durability() == Durability::Cold
        };
        changes.retain(is_real);
        if changes.is_empty() {
            return;
        }
        if changes.iter().any(|change| change.kind.durability() != Durability::Volatile) {
            let seq = state.seq;
            self.batch.entries.push(JournalEntry { seq, at: now, cause });
            changes.iter().for_each(|change| self.write(seq, change));
            self.at = now;
        } else {
            // Volatile changes are in no journal, and `seq` has no gaps.
            state.seq = self.head.seq;
        }
        self.head = Arc::new(state);
        let changes = changes.into_iter().map(|change| (change.kind, change.id)).collect();
        self.commits.push(Arc::new(Commit { state: self.head.clone(), at: now, changes }));
    }

    fn write(&mut self, seq: u64, change: &Change) {
        if change.kind.durability() == Durability::Volatile {
            return;
        }
        let doc = change.after.as_ref().map(|after| after.json());
        let key = (change.kind, change.id.clone());
        let before = match self.batch.records.insert(key, RecordRow { doc, seq }) {
            Some(row) => Before::Known(row.doc),
            None if change.before.is_none() && change.kind.durability() == Durability::Hot => {
                Before::Known(None)
            }
            None => Before::Stored,
        };
        self.batch.changes.push(ChangeRow { seq, kind: change.kind, id: change.id.clone(), before });
    }
}

/// Refuses text that PostgreSQL cannot hold, in every engine: one such transaction would fail its whole batch.
fn check_text(cause: &Cause, changes: &[Change]) -> Result<()> {
    let ids = changes.iter().map(|change| &change.id);
    let texts = ids.chain([&cause.actor, &cause.request_id, &cause.why]);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(Error::invalid("An id or a name in the request contains a NUL character; leave it out."));
    }
    if changes.iter().any(|change| change.id.is_empty()) {
        return Err(Error::internal("a transaction wrote a record with an empty id"));
    }
    Ok(())
}

/// The answer to all callers when this process no longer leads.
fn refused(why: &str) -> Error {
    let text =
        "The change was not made: the control plane is opening its store again. Try again in a few seconds.";
    Error { internal: Some(why.to_owned()), ..Error::unavailable(text) }
}

/// The answer to the callers whose changes may have been saved or not.
fn in_doubt(why: &str) -> Error {
    let text = "Whether the change was saved is unknown. The control plane is opening its store again, which tells. \
                Look in a few seconds whether the change is there, before you repeat the request.";
    Error { internal: Some(why.to_owned()), ..Error::unavailable(text) }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    tracing::error!(panic = text, "a transaction panicked and was dropped");
    Error::internal(format!("a transaction panicked: {text}"))
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(why) => {
                let text = "The store could not be read. Try again later; if that fails too, tell the cloud's \
                            operator the request id.";
                Error { internal: Some(why), ..Error::unavailable(text) }
            }
            ReadError::Damaged { .. } => Error::internal(error),
            ReadError::Trimmed { .. } => {
                Error::not_found_text(format!("That is not known any more: {error}."))
            }
        }
    }
}
