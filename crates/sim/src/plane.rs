//! The control plane: the real writer over a disk in memory, the real commands and controllers, run in batches.

use crate::{
    backup::Backup,
    client::{self, Clients},
    config::{Fault, Mutation},
    event::{Event, From, Poll, Reply, Request},
    jobs::{self, Done, Todo},
    rng::Rng,
    usage,
    world::{BEGIN, World, note},
};
use lenticular_control::{
    bootstrap,
    observe::host,
    orders::{self, OrderChanges},
    reconcile::Queue,
};
use lenticular_model::{Cause, HostId, Incarnation, Kind, ServerId, State, Timestamp, error::Error};
use lenticular_store::{Crash, Memory, MemoryDisk, Outcome, Writer};
use lenticular_wire::agent::{Orders, WAIT_MS_MAX, Welcome};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How long a heartbeat is fresh, as in the API, in milliseconds.
const HEARTBEAT_FRESH_MS: i64 = 5_000;

/// How many controllers run in one batch.
const KEYS_MAX: usize = 8;

/// The controllers' longest sleep, as in the binary, in seconds: the clock may be set.
const SLEEP_S_MAX: i64 = 30;

/// How long a controller whose commit failed waits, in seconds.
const RETRY_S: i64 = 1;

/// The fault of the next durable commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Armed {
    Crash(Crash),
    Fail,
}

/// A process of the control plane.
pub(crate) struct Running {
    pub(crate) writer: Writer,
    queue: Queue,
    pending: Vec<Request>,
    parked: BTreeMap<u64, Poll>,
    /// The parked polls of each host.
    parked_of: BTreeMap<HostId, BTreeSet<u64>>,
    work_at: Option<Timestamp>,
}

/// The control plane and its disk.
pub(crate) struct Plane {
    pub(crate) disk: MemoryDisk,
    pub(crate) running: Option<Running>,
    /// The last published state.
    pub(crate) published: Arc<State>,
    /// False if the last process died in a commit that may have been written.
    pub(crate) known: bool,
    pub(crate) armed: Option<Armed>,
    /// An older copy of the disk, for a control plane that forgets.
    older: Option<MemoryDisk>,
    /// The backup to restore.
    pub(crate) backup: Option<Backup>,
    /// True if the next process starts from the backup.
    pub(crate) goes_back: bool,
    /// How often the store went back to a backup.
    pub(crate) restores: u64,
    /// How far the clock is from the true time, in microseconds.
    pub(crate) skew_us: i64,
    /// When the clock was last set.
    pub(crate) set_at: Option<Timestamp>,
    /// The time of the last commit.
    pub(crate) last_at: Timestamp,
}

impl Plane {
    /// A new cloud with two tenants, an image and a flavor that no host can hold.
    pub(crate) fn new(rng: &mut Rng, tenants: usize) -> (Self, Clients) {
        let disk = MemoryDisk::new();
        let mut clients = client::tenants(rng, tenants);
        let incarnation = Incarnation::from_random(rng.bytes());
        let mut writer = open(&disk, BEGIN, incarnation).expect("an empty disk opens");
        let cause = Cause { actor: "sim".to_owned(), request_id: String::new(), why: "bootstrap".to_owned() };
        let mut entropy = || rng.bytes();
        let made = writer.transact(BEGIN, &mut entropy, cause, |txn| {
            bootstrap::bootstrap(txn, "no password");
            jobs::furnish(txn, &clients)
        });
        clients.image = Some(made.expect("an empty cloud can be furnished").0);
        let published = writer.state().clone();
        let running = Running::new(writer);
        let plane = Self {
            disk,
            running: Some(running),
            published,
            known: true,
            armed: None,
            older: None,
            backup: None,
            goes_back: false,
            restores: 0,
            skew_us: 0,
            set_at: None,
            last_at: BEGIN,
        };
        (plane, clients)
    }
}

impl Running {
    fn new(writer: Writer) -> Self {
        let queue = Queue::of_all(writer.state());
        Self {
            writer,
            queue,
            pending: Vec::new(),
            parked: BTreeMap::new(),
            parked_of: BTreeMap::new(),
            work_at: None,
        }
    }
}

pub(crate) fn open(disk: &MemoryDisk, now: Timestamp, fresh: Incarnation) -> Result<Writer, String> {
    let engine = Memory::open(disk).map_err(|error| error.to_string())?;
    Writer::open(Box::new(engine), now, fresh).map_err(|error| error.to_string())
}

impl World {
    /// A message arrives at the control plane, if that runs.
    pub(crate) fn at_plane(&mut self, request: Request) {
        let clock = self.clock();
        let Some(running) = &mut self.plane.running else {
            self.coverage.note("plane", "away");
            return;
        };
        if let Request::Poll(poll) = &request {
            match host::in_session(running.writer.state(), poll.host_id, poll.query.session) {
                Err(_) => {
                    let from = poll.from;
                    return self.send_to_agent(from, Reply::Unknown);
                }
                Ok(heartbeat) if clock.since_ms(heartbeat.at) < HEARTBEAT_FRESH_MS => {
                    let poll = poll.clone();
                    return self.serve(poll);
                }
                Ok(_) => {}
            }
        }
        running.pending.push(request.clone());
        if let Request::Save(_, save) = &request {
            self.place_shelved(save);
        }
        let delay = self.rng.range(1, 6);
        self.plan_work(self.now.plus_ms(delay));
    }

    /// The time by the control plane's clock.
    pub(crate) fn clock(&self) -> Timestamp {
        Timestamp(self.now.0 + self.plane.skew_us)
    }

    /// Plans the control plane's work for this time, if it would not work earlier.
    pub(crate) fn plan_work(&mut self, at: Timestamp) {
        let Some(running) = &mut self.plane.running else { return };
        if running.work_at.is_none_or(|planned| planned > at) {
            running.work_at = Some(at);
            let delay = at.0 - self.now.0;
            self.after_us(delay, Event::Work);
        }
    }

    /// Runs all waiting jobs as one batch.
    pub(crate) fn work(&mut self) {
        let now = self.clock();
        let Some(running) = &mut self.plane.running else { return };
        if running.work_at != Some(self.now) {
            return;
        }
        running.work_at = None;
        let mut todos: Vec<Todo> = running.pending.drain(..).map(|r| Todo::Request(Box::new(r))).collect();
        let keys = (0..KEYS_MAX).map_while(|_| running.queue.next(now)).map(Todo::Reconcile);
        todos.extend(keys);
        if todos.is_empty() {
            return self.plan_wake(false);
        }
        let before = running.writer.state().clone();
        let done: Vec<RefCell<Done>> = todos.iter().map(|_| RefCell::default()).collect();
        let mutation = self.config.mutation;
        let batch = todos.iter().zip(&done).map(|(todo, done)| jobs::job(todo, done, mutation)).collect();
        let rng = &mut self.rng;
        let mut entropy = || rng.bytes();
        let prepared = running.writer.prepare(now, &mut entropy, batch);
        let durable = !prepared.is_volatile();
        if durable {
            self.drill_commit(false);
            match self.plane.armed.take() {
                Some(Armed::Crash(crash)) => self.plane.disk.crash_next_commit(crash),
                Some(Armed::Fail) => self.plane.disk.fail_next_commit("no space left on device"),
                None => {}
            }
        }
        let Some(running) = &mut self.plane.running else { return };
        let outcome = running.writer.commit(prepared);
        if running.writer.lost().is_some() {
            self.plane.known = false;
            return self.kill_plane("in a commit");
        }
        let news = !outcome.commits.is_empty();
        let done = done.into_iter().map(RefCell::into_inner).collect();
        let changed = self.publish(&before, &outcome);
        self.answer_all(todos, done, outcome);
        self.serve_parked(before.seq, &changed);
        self.plan_wake(news);
    }

    /// Publishes a commit. Returns the servers with orders that may have changed.
    fn publish(&mut self, before: &Arc<State>, outcome: &Outcome) -> BTreeSet<ServerId> {
        let mut head = before.clone();
        let mut changed = BTreeSet::new();
        for commit in &outcome.commits {
            self.check_commit(&head, commit);
            changed.extend(self.look_after(commit));
            let Some(running) = &mut self.plane.running else { return changed };
            running.queue.committed(&head, &commit.state, &commit.changes);
            head = commit.state.clone();
        }
        let Some(running) = &self.plane.running else { return changed };
        self.plane.published = running.writer.state().clone();
        if !outcome.commits.is_empty() {
            let answered = std::mem::take(&mut self.clients.answered);
            self.check_memory_of(changed.iter().copied().chain(answered));
        } else if self.plane.published.seq != before.seq {
            self.violate(2, "a batch that was refused changed the state".to_owned());
        }
        changed
    }

    fn answer_all(&mut self, todos: Vec<Todo>, done: Vec<Done>, outcome: Outcome) {
        for ((todo, done), answer) in todos.into_iter().zip(done).zip(outcome.answers) {
            match todo {
                Todo::Reconcile(key) => {
                    let at = if answer.is_ok() { done.wake } else { Some(self.clock().plus_s(RETRY_S)) };
                    if let Some(running) = &mut self.plane.running {
                        running.queue.wake(key, at);
                    }
                }
                Todo::Request(request) => self.answer(*request, &done, answer),
            }
        }
    }

    fn answer(&mut self, request: Request, done: &Done, answer: Result<(), Error>) {
        match (request, answer) {
            (Request::Client(caller, ask), Ok(())) => self.answered(&caller, &ask, Ok(&done.created)),
            (Request::Client(caller, ask), Err(error)) => self.answered(&caller, &ask, Err(&error)),
            (Request::Register(from, _), Ok(())) => {
                let Some((host_id, session)) = done.session else { return };
                self.hosts[from.host].id = Some(host_id);
                self.host_numbers.insert(host_id, from.host);
                let incarnation = self.plane.published.incarnation;
                self.send_to_agent(from, Reply::Welcome(Welcome { host_id, incarnation, session }));
            }
            (Request::Save(from, save), answer) => self.answer_save(from, &save, answer),
            (Request::Report(from, ..), Ok(())) => self.send_to_agent(from, Reply::Taken),
            (Request::Poll(poll), Ok(())) => self.serve(poll),
            // The host registers again, or repeats the call after its timeout.
            (
                Request::Report(from, ..) | Request::Register(from, _) | Request::Poll(Poll { from, .. }),
                Err(error),
            ) => {
                if error.kind == lenticular_model::error::Kind::Internal {
                    self.violate(0, format!("a host's message had an internal error: {error}"));
                }
                if error.kind == lenticular_model::error::Kind::NotFound {
                    self.send_to_agent(from, Reply::Unknown);
                }
            }
        }
    }

    fn plan_wake(&mut self, news: bool) {
        let Some(running) = &self.plane.running else { return };
        let soon = self.now.plus_ms(1);
        match (news, running.queue.next_wake()) {
            (true, _) => self.plan_work(soon),
            (false, Some(at)) => {
                let at = Timestamp(at.0 - self.plane.skew_us);
                self.plan_work(at.max(soon).min(self.now.plus_s(SLEEP_S_MAX)));
            }
            (false, None) => {}
        }
    }

    /// Answers a poll, or parks it.
    fn serve(&mut self, poll: Poll) {
        let number = self.number();
        let Some(running) = &mut self.plane.running else { return };
        running.parked_of.entry(poll.host_id).or_default().insert(number);
        running.parked.insert(number, poll);
        if !self.serve_one(number, false) {
            self.after_ms(WAIT_MS_MAX as i64, Event::PollEnds(number));
        }
    }

    /// Answers the polls of hosts with orders, about themselves or these servers, that changed after a commit.
    fn serve_parked(&mut self, after: u64, changed: &BTreeSet<ServerId>) {
        let Some(running) = &self.plane.running else { return };
        let state = running.writer.state();
        let ordered = changed.iter().flat_map(|server| state.ordered_at(*server, after + 1));
        let about_host =
            running.parked_of.keys().copied().filter(|host| state.host_order_after(*host, after));
        let hosts: BTreeSet<HostId> = ordered.chain(about_host).collect();
        let parked = hosts.iter().filter_map(|host| running.parked_of.get(host)).flatten();
        for number in parked.copied().collect::<BTreeSet<u64>>() {
            self.serve_one(number, false);
        }
    }

    pub(crate) fn end_poll(&mut self, number: u64) {
        self.serve_one(number, true);
    }

    fn serve_one(&mut self, number: u64, ends: bool) -> bool {
        let Some(running) = &mut self.plane.running else { return false };
        let Some(poll) = running.parked.get(&number) else { return false };
        let state = running.writer.state();
        let changes = orders::changes(state, poll.host_id, poll.query.incarnation, poll.query.after);
        if changes.is_empty(poll.query.after) && !ends {
            return false;
        }
        let OrderChanges { after, servers, host: about_host } = changes;
        let (incarnation, upto, receipt) = (state.incarnation, state.seq, None);
        let (questions, at) = (Vec::new(), None);
        let found = Orders { incarnation, after, upto, receipt, servers, host: about_host, at, questions };
        let from: From = poll.from;
        // Another session may have begun while the poll waited.
        let known = host::in_session(running.writer.state(), poll.host_id, poll.query.session).is_ok();
        let host = poll.host_id;
        running.parked.remove(&number);
        running.parked_of.entry(host).or_default().remove(&number);
        self.send_to_agent(from, if known { Reply::Orders(Box::new(found)) } else { Reply::Unknown });
        true
    }

    /// The control plane's process ends; another starts after a while.
    pub(crate) fn kill_plane(&mut self, how: &str) {
        if self.plane.running.is_none() {
            return;
        }
        note!(self, "the control plane dies {how}, at commit {}", self.plane.published.seq);
        self.plane.running = None;
        if self.config.busy_s > 0 {
            let delay = if self.rng.chance(200) {
                self.rng.range(60_000, 120_000)
            } else {
                self.rng.range(50, 15_000)
            };
            self.after_ms(delay, Event::PlaneStarts);
        }
    }

    /// Another process takes over the store.
    pub(crate) fn start_plane(&mut self) {
        if self.plane.running.is_some() {
            return;
        }
        if self.config.mutation == Some(Mutation::ForgetsCommits)
            && let Some(older) = self.plane.older.take()
        {
            self.plane.disk = older;
        }
        if std::mem::take(&mut self.plane.goes_back) {
            self.restore_store();
        }
        let fresh = Incarnation::from_random(self.rng.bytes());
        let mut writer = match open(&self.plane.disk, self.clock(), fresh) {
            Ok(writer) => writer,
            Err(why) => return self.violate(2, format!("the store does not open again: {why}")),
        };
        note!(self, "the control plane starts at commit {}", writer.state().seq);
        self.check_reload(writer.state());
        let cause = Cause { why: "take over".to_owned(), ..Cause::default() };
        let now = self.clock();
        let rng = &mut self.rng;
        let mut entropy = || rng.bytes();
        let taken = writer.transact(now, &mut entropy, cause, |txn| {
            bootstrap::take_over(txn);
            Ok(())
        });
        if let Err(error) = taken {
            return self.violate(2, format!("the store cannot be taken over: {error}"));
        }
        self.look.at_all();
        self.plane.published = writer.state().clone();
        self.usage = usage::count(&self.plane.published);
        self.plane.known = true;
        self.plane.running = Some(Running::new(writer));
        self.check_memory();
        self.plan_work(self.now.plus_ms(1));
    }

    /// Keeps a copy of the store to go back to, for the mutation that forgets.
    pub(crate) fn keep_older(&mut self) {
        if self.config.mutation == Some(Mutation::ForgetsCommits) && self.plane.older.is_none() {
            self.plane.older = Some(self.plane.disk.copy());
        }
    }

    /// A document of the store, as durable.
    pub(crate) fn stored(&self, kind: Kind, id: &str) -> Option<String> {
        use lenticular_store::Reader;
        self.plane.disk.get(kind, id).ok().flatten()
    }

    /// Arms the next durable commit with a fault.
    pub(crate) fn arm(&mut self, fault: Fault) {
        self.plane.armed = match fault {
            Fault::PlaneCrashBefore => Some(Armed::Crash(Crash::BeforeCommit)),
            Fault::PlaneCrashAfter => Some(Armed::Crash(Crash::AfterCommit)),
            _ => Some(Armed::Fail),
        };
    }
}
