//! The asynchronous handle: the writer runs on its own thread. Callers read snapshots and await answers.

use crate::{
    engine::{HistoryEntry, Page, ReadError, Reader},
    leadership::{Leadership, Leaderships},
    stats::{Counters, Stats},
    writer::{Commit, Job, Outcome, Writer},
};
use arc_swap::ArcSwap;
use lenticular_model::{Cause, Error, Kind, Lock, Result, State, Timestamp, Txn};
use std::{path::Path, sync::Arc, thread, time::Instant};
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot, watch,
};

/// The most transactions that wait for the writer; later callers wait until there is room.
const QUEUE_MAX: usize = 1024;

/// The most transactions in one database commit.
const BATCH_MAX: usize = 64;

/// The most journal entries that one step of trimming removes, so that transactions do not wait long for it.
const TRIM_STEP_ENTRIES: usize = 500;

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
type EntropySource = Box<dyn FnMut() -> [u8; 16] + Send>;

/// An open store. Clones are the same store. When the last clone is dropped, the queue is finished, the store is
/// closed and its thread ends.
#[derive(Clone)]
pub struct Store {
    queue: mpsc::Sender<Message>,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    state: ArcSwap<State>,
    subscribers: Lock<Vec<UnboundedSender<Arc<Commit>>>>,
    reader: Lock<Arc<dyn Reader>>,
    counters: Counters,
    pub(crate) leadership: watch::Sender<Leadership>,
}

/// A transaction on its way to the writer and back.
pub(crate) trait Task: Send {
    fn cause(&mut self) -> Cause;
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<()>;
    fn answer(self: Box<Self>, answer: Result<()>);
}

struct TypedTask<F, T> {
    cause: Cause,
    run: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnOnce(&mut Txn<'_>) -> Result<T> + Send> Task for TypedTask<F, T> {
    fn cause(&mut self) -> Cause {
        std::mem::take(&mut self.cause)
    }

    fn run(&mut self, txn: &mut Txn<'_>) -> Result<()> {
        let run = self.run.take().ok_or_else(|| Error::internal("a transaction was run twice"))?;
        self.value = Some(run(txn)?);
        Ok(())
    }

    fn answer(self: Box<Self>, answer: Result<()>) {
        let missing = || Error::internal("a transaction was answered that never ran");
        let Self { value, reply, .. } = *self;
        // The caller may no longer wait; the commit stands all the same.
        let _ = reply.send(answer.and_then(|()| value.ok_or_else(missing)));
    }
}

pub(crate) enum Message {
    Transact(Box<dyn Task>),
    /// The store is open again, with this writer.
    Lead(Box<Writer>, oneshot::Sender<()>),
    Trim(Timestamp, oneshot::Sender<Result<usize>>),
    Close(oneshot::Sender<Result<()>>),
}

impl Store {
    /// Starts the writer on its own thread. `clock` is read once for each batch; `entropy` makes ids.
    pub fn start(writer: Writer, clock: Clock, entropy: EntropySource) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            state: ArcSwap::new(writer.state().clone()),
            subscribers: Lock::default(),
            reader: Lock::new(writer.reader()),
            counters: Counters::default(),
            leadership: watch::Sender::new(Leadership::Leads(writer.epoch())),
        });
        let thread = Thread { messages, shared: shared.clone(), clock, entropy };
        let started = thread::Builder::new().name("store".to_owned()).spawn(move || thread.run(writer));
        if let Err(error) = started {
            // Without its thread the store answers `Unavailable` to every transaction, which tells callers enough.
            tracing::error!(%error, "the store's thread could not be started");
        }
        Self { queue, shared }
    }

    /// The last published State, which is durable. This call never waits.
    pub fn state(&self) -> Arc<State> {
        self.shared.state.load_full()
    }

    /// Runs a transaction after all transactions queued before it, and answers when it is durable and published. It
    /// runs to its end even if the caller stops waiting.
    ///
    /// # Errors
    /// The transaction's own error; `Internal` if it panicked; `Unavailable` if it could not be committed or the
    /// store is closed.
    pub async fn transact<T: Send + 'static>(
        &self,
        cause: Cause,
        f: impl FnOnce(&mut Txn<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(|reply| Message::Transact(Box::new(TypedTask { cause, run: Some(f), value: None, reply })))
            .await?
    }

    /// Every commit published from now on, in order. A commit arrives after its State is published, so
    /// [`Store::state`] is never older than a received commit. Subscribe first and then take the State, so that no
    /// commit is missed. The commits end with the leadership: the next one begins with another State.
    pub fn subscribe(&self) -> UnboundedReceiver<Arc<Commit>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared.subscribers.lock().push(sender);
        receiver
    }

    /// Whether this process leads. The value changes with every end and every begin of a leadership.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.subscribe()
    }

    /// Waits until this process leads. False if the store is closed.
    pub async fn leads(&self) -> bool {
        let mut leadership = self.leadership();
        let is_settled = |now: &Leadership| !matches!(now, Leadership::Ended { .. });
        leadership.wait_for(is_settled).await.is_ok_and(|now| matches!(*now, Leadership::Leads(_)))
    }

    /// The leaderships, beginning with the present one. Work that follows [`Store::subscribe`] ends with its
    /// leadership, because its commits end then; it begins again with the next one.
    pub fn leaderships(&self) -> Leaderships {
        Leaderships::of(self.leadership())
    }

    /// The document of a hot or cold record.
    ///
    /// # Errors
    /// `Unavailable` if the database cannot answer; `Internal` if the data is damaged.
    pub async fn get(&self, kind: Kind, id: &str) -> Result<Option<String>> {
        let id = id.to_owned();
        self.read(move |reader| reader.get(kind, &id)).await
    }

    /// Ids and documents of hot or cold records whose ids begin with `prefix`, in the order of their ids (downwards
    /// if `reverse`), beyond `after`, at most `limit` and at most [`crate::LIST_ROWS_MAX`].
    ///
    /// # Errors
    /// `Unavailable` if the database cannot answer; `Internal` if the data is damaged.
    pub async fn list(
        &self,
        kind: Kind,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(String, String)>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read(move |reader| {
            reader.list(&Page { kind, prefix: &prefix, after: after.as_deref(), limit, reverse })
        })
        .await
    }

    /// The journal's entries of a record, oldest first; the newest [`crate::HISTORY_ENTRIES_MAX`] entries.
    ///
    /// # Errors
    /// `Unavailable` if the database cannot answer; `Internal` if the data is damaged.
    pub async fn history(&self, kind: Kind, id: &str) -> Result<Vec<HistoryEntry>> {
        let id = id.to_owned();
        self.read(move |reader| reader.history(kind, &id)).await
    }

    /// A record after the last commit at or before `at`; `None` if it did not exist.
    ///
    /// # Errors
    /// `NotFound` if the journal was trimmed and begins after `at`; `Unavailable` if the database cannot answer;
    /// `Internal` if the data is damaged.
    pub async fn record_at(&self, kind: Kind, id: &str, at: Timestamp) -> Result<Option<String>> {
        let id = id.to_owned();
        self.read(move |reader| reader.record_at(kind, &id, at)).await
    }

    /// Removes the journal's entries before `before`, and their changes, in steps; transactions continue between
    /// the steps. Returns the number of removed entries. The newest entry always stays.
    ///
    /// # Errors
    /// `Unavailable` if a step could not be committed; the steps before it stand.
    pub async fn trim_journal(&self, before: Timestamp) -> Result<u64> {
        let mut trimmed = 0;
        loop {
            let step = self.ask(|reply| Message::Trim(before, reply)).await??;
            trimmed += u64::try_from(step).unwrap_or(u64::MAX);
            if step == 0 {
                return Ok(trimmed);
            }
        }
    }

    /// Writes a consistent copy of the store to a new file, while transactions continue.
    ///
    /// # Errors
    /// `Unavailable` if the engine has no backup or the copy failed; the internal text says which.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        let to = to.to_owned();
        self.read(move |reader| reader.backup(&to)).await
    }

    /// Finishes the queue and closes the store; every later transaction is answered with `Unavailable`.
    ///
    /// # Errors
    /// `Unavailable` if the database refused the clean close; no committed data is lost by that.
    pub async fn close(&self) -> Result<()> {
        self.ask(Message::Close).await?
    }

    /// The statistics since the start.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    /// Transactions that wait for the writer now.
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    pub(crate) async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(message(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T> {
        let reader = self.shared.reader.lock().clone();
        let done = tokio::task::spawn_blocking(move || read(&*reader)).await;
        Ok(done.map_err(|error| Error::internal(format!("reading from the store panicked: {error}")))??)
    }
}

fn closed() -> Error {
    Error::unavailable("This control process is shutting down. Try again in a few seconds.")
}

struct Thread {
    messages: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
    clock: Clock,
    entropy: EntropySource,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.leadership.send_replace(Leadership::Closed);
        self.shared.subscribers.lock().clear();
    }
}

impl Thread {
    fn run(mut self, mut writer: Writer) {
        let mut next = None;
        while let Some(message) = next.take().or_else(|| self.messages.blocking_recv()) {
            match message {
                Message::Transact(task) => {
                    let mut tasks = vec![task];
                    next = self.fill(&mut tasks);
                    self.run_batch(&mut writer, tasks);
                }
                Message::Trim(before, reply) => {
                    // The caller may no longer wait.
                    let _ = reply.send(writer.trim_journal(before, TRIM_STEP_ENTRIES));
                }
                Message::Lead(opened, reply) => {
                    writer = *opened;
                    self.lead(&writer);
                    // The caller may no longer wait.
                    let _ = reply.send(());
                }
                Message::Close(reply) => {
                    // From here on no call is accepted. Calls still in the queue are answered by the end of the
                    // queue.
                    self.messages.close();
                    let _ = reply.send(writer.close());
                    return;
                }
            }
            self.end_if_lost(&writer);
        }
        if let Err(error) = writer.close() {
            tracing::warn!(%error, "the store was not closed in good order");
        }
    }

    /// Takes the transactions that wait already; returns the first message that is no transaction.
    fn fill(&mut self, tasks: &mut Vec<Box<dyn Task>>) -> Option<Message> {
        while tasks.len() < BATCH_MAX {
            match self.messages.try_recv().ok()? {
                Message::Transact(task) => tasks.push(task),
                other => return Some(other),
            }
        }
        None
    }

    fn run_batch(&mut self, writer: &mut Writer, mut tasks: Vec<Box<dyn Task>>) {
        let jobs = tasks.iter_mut().map(|task| {
            let cause = task.cause();
            Job { cause, run: Box::new(move |txn: &mut Txn<'_>| task.run(txn)) }
        });
        let prepared = writer.prepare((self.clock)(), &mut *self.entropy, jobs.collect());
        let is_volatile = prepared.is_volatile();
        let began = Instant::now();
        let Outcome { answers, commits } = writer.commit(prepared);
        let counters = &self.shared.counters;
        if !is_volatile {
            counters.note_commit(began.elapsed(), !commits.is_empty());
        }
        counters.note_batch(answers.len(), answers.iter().filter(|answer| answer.is_err()).count());
        self.publish(&commits);
        self.end_if_lost(writer);
        for (task, answer) in tasks.into_iter().zip(answers) {
            task.answer(answer);
        }
    }

    fn publish(&self, commits: &[Arc<Commit>]) {
        let Some(last) = commits.last() else { return };
        self.shared.state.store(last.state.clone());
        let mut subscribers = self.shared.subscribers.lock();
        subscribers.retain(|subscriber| commits.iter().all(|commit| subscriber.send(commit.clone()).is_ok()));
    }

    /// Begins a leadership. A subscriber that came after the end of the last one must not miss the change of State,
    /// so its commits end, too.
    fn lead(&self, writer: &Writer) {
        let shared = &self.shared;
        shared.state.store(writer.state().clone());
        *shared.reader.lock() = writer.reader();
        shared.counters.note_opening();
        shared.subscribers.lock().clear();
        shared.leadership.send_replace(Leadership::Leads(writer.epoch()));
    }

    fn end_if_lost(&self, writer: &Writer) {
        let Some(why) = writer.lost() else { return };
        let has_ended = self.shared.leadership.send_if_modified(|now| {
            let leads = matches!(now, Leadership::Leads(_));
            if leads {
                *now = Leadership::Ended { why: why.to_owned(), obstacle: None };
            }
            leads
        });
        if has_ended {
            self.shared.subscribers.lock().clear();
        }
    }
}
