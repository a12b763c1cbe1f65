//! The agent's runtime: takes orders, saves them, carries out their steps, and reports the results.
//!
//! ```text
//!           ┌── register ▶ orders ──(long poll)──┐        one loop owns the state machine; all that takes time
//!  link ────┤                                   ├──▶ loop ──▶ saved ──▶ steps (tasks, one per guest at most)
//!           └── reports ◀───────────────────────┘     ▲                   │
//!                                                     └── ended, exited ──┘
//! ```
//!
//! Neither the loss of the control plane nor the agent's own end affects a running guest.

pub(crate) mod action;
mod canary;
mod console;
mod fetch;
mod measure;
mod start;
mod work;

pub(crate) use start::take_state_dir;

use crate::{
    Config,
    core::{Core, Outcome, Step, Taken},
    driver::{Drivers, Exit, Measured, Release},
    files,
    link::{Link, LinkError},
};
use lenticular_model::{
    Lock, ServerId,
    host::{
        action::{ActionOrder, ActionResult},
        evidence::Evidence,
        observation::{Observation, ObservedState},
        probe::ProbeOrder,
    },
};
use lenticular_wire::agent::{
    MoveProgress, Order, Orders, OrdersQuery, Registration, Report, VERSION, WAIT_MS_MAX, Welcome,
};
use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

/// The most observations in one report.
const REPORT_MAX: usize = 500;
/// A step in progress is reported only if it takes longer than this, in milliseconds: most steps end sooner.
const PREPARING_UNTOLD_MS: u64 = 500;
/// How soon failed stops, removals and saves are tried again, in milliseconds.
const RETRY_MS: u64 = 2_000;
/// How often old bases are looked for, in seconds.
const TIDY_S: u64 = 3600;
/// How often the versions of software are looked at, in seconds.
const VERSIONS_S: u64 = 30;
/// How often the progress of moves is reported, in milliseconds.
const PROGRESS_MS: u64 = 1_000;
/// The first range that reconnects are spread over, in milliseconds.
const BACKOFF_MS_MIN: u64 = 250;
const BACKOFF_MS_MAX: u64 = 5_000;
/// How many questions are answered at once.
const QUESTIONS_MAX: usize = 16;

/// The agent cannot work on this host.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state cannot be read or saved.
    #[error("the agent's state {path} cannot be used: {why}. {remedy}")]
    State {
        /// The file or directory.
        path: String,
        /// The error.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A driver could not say which guests run here.
    #[error(
        "the agent cannot find out which guests run on this host: {0}. It does nothing until it can; start \
         it again."
    )]
    Inventory(#[from] crate::core::Failure),
    /// The host's switch does not start.
    #[error("the host's network cannot be set up: {0}")]
    Network(crate::core::Failure),
}

/// The result of the current request to the control plane.
enum ContactEvent {
    Welcome(Result<Welcome, LinkError>),
    Orders(Box<Result<Orders, LinkError>>),
    BackedOff,
}

type Coming<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Reported = (Report, Result<(), LinkError>);

pub(crate) struct Runtime {
    config: Config,
    link: Arc<dyn Link>,
    drivers: Drivers,
    boot_id: String,
    /// The file of the saved state; `None` for a host that saves nothing.
    state_file: Option<PathBuf>,
    core: Core,
    unsaved: bool,
    /// Steps that wait until the state behind them is saved.
    held: Vec<(ServerId, Step)>,
    steps: JoinSet<(ServerId, Outcome)>,
    /// Ends the process after a number of steps.
    fuse: work::Fuse,
    cancels: HashMap<ServerId, watch::Sender<bool>>,
    forces: HashMap<ServerId, watch::Sender<bool>>,
    answers: JoinSet<()>,
    /// Images that are fetched before a server needs them.
    fetches: Arc<fetch::Fetches>,
    /// The guests' open consoles.
    consoles: Arc<console::Consoles>,
    /// Checks of the host in progress: at most one.
    checks: JoinSet<(u64, Result<Measured, crate::core::Failure>)>,
    /// A look at the versions in progress: at most one.
    versions: JoinSet<Measured>,
    /// What earlier looks at the host left.
    looks: measure::Looks,
    /// The canary in progress: at most one.
    canaries: JoinSet<(u64, Evidence)>,
    /// The action that waits until the agent has saved that it runs.
    held_action: Option<ActionOrder>,
    /// The action in progress: at most one.
    actions: JoinSet<ActionResult>,
    /// The host's own checks.
    own_checks: JoinSet<()>,
    /// The results of own checks and of the network's probe.
    results: (mpsc::Sender<Measured>, mpsc::Receiver<Measured>),
    /// The order that the network's probe follows.
    probed: Option<ProbeOrder>,
    exits: (mpsc::UnboundedSender<Exit>, mpsc::UnboundedReceiver<Exit>),
    /// Guests that other hosts hand over.
    releases: mpsc::Receiver<Release>,
    /// Answers to other hosts that wait until the state behind them is saved.
    accepted: Vec<(oneshot::Sender<bool>, bool)>,
    /// The latest progress of moves that is not reported yet.
    progress: Arc<Lock<BTreeMap<ServerId, MoveProgress>>>,
    /// The answer to the last registration, while the session is valid.
    welcome: Option<Welcome>,
    /// Why guests' networks do not follow changes.
    network_trouble: watch::Receiver<Option<String>>,
    /// The number of the last report in this session.
    report_number: u64,
    failures: u32,
    /// How often in a row the control plane did not know this host, without a successful exchange in between.
    disowned: u32,
    ignored: u32,
    report: Option<Coming<Reported>>,
    /// No report before this time, after a failed report.
    report_not_before: Option<Instant>,
    /// Until this time, steps in progress alone are no reason for a report.
    patient_until: Option<Instant>,
}

impl Runtime {
    /// Works until `shutdown` resolves.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut contact = self.register().await;
        let mut tidy = tokio::time::interval(Duration::from_secs(TIDY_S));
        let mut versions = tokio::time::interval(Duration::from_secs(VERSIONS_S));
        // They were looked at a moment ago. Which updates wait is known by the next look.
        versions.reset();
        let mut ask_guests = tokio::time::interval(Duration::from_secs(1));
        ask_guests.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut report_progress = tokio::time::interval(Duration::from_millis(PROGRESS_MS));
        let mut retry_at = None;
        loop {
            self.advance().await;
            let report_at = self.report_not_before;
            let patient_until = self.patient_until.filter(|_| self.may_report());
            let stuck = self.unsaved || self.core.is_stuck();
            retry_at = match stuck {
                true => retry_at.or_else(|| Some(Instant::now() + Duration::from_millis(RETRY_MS))),
                false => None,
            };
            tokio::select! {
                () = &mut shutdown => break,
                event = &mut contact => contact = self.handle(event).await,
                reported = until_done(&mut self.report) => {
                    if let Some(next) = self.reported(reported).await {
                        contact = next;
                    }
                }
                Some(ended) = self.steps.join_next() => self.ended(ended),
                Some(exit) = self.exits.1.recv() => self.exited(exit),
                Some(release) = self.releases.recv() => self.released(release),
                Ok(()) = self.network_trouble.changed() => self.network_changed(),
                Some(ended) = self.checks.join_next() => self.check_ended(ended),
                Some(ended) = self.canaries.join_next() => self.canary_ended(ended),
                Some(ended) = self.actions.join_next() => self.action_ended(ended),
                _ = versions.tick() => self.look_at_versions(),
                Some(seen) = self.results.1.recv() => self.own_checks_ended(seen),
                Some(seen) = self.versions.join_next() => self.versions_seen(seen),
                _ = ask_guests.tick() => self.ask_guests(),
                _ = report_progress.tick() => {}
                () = until(report_at) => self.report_not_before = None,
                () = until(patient_until) => {}
                () = until(retry_at) => {
                    retry_at = None;
                    self.core.retry();
                }
                Some(_) = self.answers.join_next() => {}
                _ = tidy.tick() => self.tidy(),
            }
        }
        self.save().await;
        self.end_canary().await;
        tracing::info!(host = self.config.host_name, "agent stops; guests run on");
    }

    /// Does everything that can be done now.
    async fn advance(&mut self) {
        while let Ok(exit) = self.exits.1.try_recv() {
            self.exited(exit);
        }
        while let Some(ended) = self.steps.try_join_next() {
            self.ended(ended);
        }
        self.held.extend(self.core.begin());
        self.held_action = self.held_action.take().or_else(|| self.core.begin_action());
        if !self.save().await {
            // The control plane acts on what guests are said to do, so that waits. That the disk is full must not.
            self.send_report(Vec::new());
            return;
        }
        for (answer, accepted) in self.accepted.drain(..) {
            // The asking host may have given up; it asks again.
            let _ = answer.send(accepted);
        }
        for (id, step) in std::mem::take(&mut self.held) {
            self.launch(id, step);
        }
        for id in self.core.take_cancels() {
            if let Some(cancel) = self.cancels.get(&id) {
                // A step that has just ended needs no signal.
                let _ = cancel.send(true);
            }
        }
        for id in self.core.take_forces() {
            if let Some(force) = self.forces.get(&id) {
                let _ = force.send(true);
            }
        }
        self.begin_check();
        self.order_probe();
        self.look_at_packages();
        self.begin_canary();
        self.begin_action();
        let guests = self.core.pending_reports();
        self.send_report(guests);
    }

    /// Saves the state. True if nothing is left to save.
    async fn save(&mut self) -> bool {
        self.unsaved |= self.core.take_changed();
        let Some(path) = self.state_file.clone().filter(|_| self.unsaved) else {
            self.unsaved = false;
            return true;
        };
        let snapshot = self.core.snapshot();
        let written =
            tokio::task::spawn_blocking(move || files::write_durably(&path, &serde_json::to_vec(&snapshot)?));
        match written.await.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            Ok(()) => self.unsaved = false,
            Err(error) => {
                tracing::error!(%error, "the agent's state cannot be saved; it begins nothing new until it can");
            }
        }
        !self.unsaved
    }

    fn ended(&mut self, ended: Result<(ServerId, Outcome), tokio::task::JoinError>) {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            // A step's own panic ends only its inner task; this is the end of the runtime itself.
            Err(error) => {
                tracing::error!(%error, "a step was lost");
                return;
            }
        };
        self.cancels.remove(&id);
        self.forces.remove(&id);
        let before = self.core.has_process(id);
        self.core.done(id, outcome);
        if !before {
            self.watch(id);
        }
    }

    fn watch(&self, id: ServerId) {
        if self.core.has_process(id) {
            self.drivers.hypervisor.watch(id, self.exits.0.clone());
        }
    }

    fn exited(&mut self, exit: Exit) {
        tracing::info!(server = %exit.server_id, boot = exit.boot, how = ?exit.how, "a guest ended");
        self.core.exited(exit.server_id, exit.boot, exit.how);
    }

    fn released(&mut self, release: Release) {
        let accepted = self.core.released(release.server_id, release.generation, &release.from);
        let (server, generation, from) = (release.server_id, release.generation, &release.from);
        tracing::info!(%server, generation, from, accepted, "a guest is handed over");
        self.accepted.push((release.answer, accepted));
    }

    fn tidy(&self) {
        let disks = self.drivers.disks.clone();
        tokio::spawn(async move {
            if let Err(error) = disks.tidy().await {
                tracing::warn!(%error, "old bases cannot be removed");
            }
        });
    }

    // ---- Contact with the control plane

    /// Registers the host. The core's decisions are saved first: the control plane acts on the registration, which
    /// must stay true after a crash.
    async fn register(&mut self) -> Coming<ContactEvent> {
        self.end_session();
        if !self.save().await {
            let wait = backoff(self.failures);
            self.failures = self.failures.saturating_add(1);
            return Box::pin(async move {
                tokio::time::sleep(wait).await;
                ContactEvent::BackedOff
            });
        }
        let (facts, evidence) = self.core.host.introduce();
        let registration = Registration {
            version: VERSION,
            host_name: self.config.host_name.clone(),
            zone: self.config.zone.clone(),
            facts,
            evidence,
            incarnation: self.core.incarnation(),
            applied_upto: self.core.applied_upto(),
            receipt: self.core.receipt().map(str::to_owned),
            inventory: self.core.inventory(),
        };
        let link = self.link.clone();
        Box::pin(async move { ContactEvent::Welcome(link.register(&registration).await) })
    }

    /// Ends the session. A report in progress is dropped: its answer would say nothing about the next session.
    fn end_session(&mut self) {
        self.welcome = None;
        self.report = None;
    }

    fn poll(&self, welcome: &Welcome) -> Coming<ContactEvent> {
        let Welcome { host_id, incarnation, session } = *welcome;
        let (after, receipt) = match self.core.incarnation() == Some(incarnation) {
            true => (self.core.applied_upto(), self.core.receipt().map(str::to_owned)),
            false => (0, None),
        };
        let link = self.link.clone();
        let query = OrdersQuery { session, incarnation, after, wait_ms: WAIT_MS_MAX, receipt };
        Box::pin(async move { ContactEvent::Orders(Box::new(link.orders(host_id, query).await)) })
    }

    /// The control plane does not know the host or the session. The first time, the host registers at once.
    /// Later it waits before: another agent may use its name, and the two must not end each other's sessions in a
    /// loop.
    async fn unknown(&mut self) -> Coming<ContactEvent> {
        self.end_session();
        self.disowned = self.disowned.saturating_add(1);
        if self.disowned == 1 {
            return self.register().await;
        }
        let host = &self.config.host_name;
        tracing::warn!(host, "not known, and a registration did not help; does another agent use this name?");
        self.failures = self.failures.max(self.disowned - 1);
        self.back_off(&LinkError::Unknown)
    }

    /// Waits before the next registration, longer after each failure.
    fn back_off(&mut self, error: &LinkError) -> Coming<ContactEvent> {
        let wait = backoff(self.failures);
        if self.failures == 0 {
            tracing::warn!(%error, host = self.config.host_name, "no contact; guests run on, and it is tried again");
        }
        self.failures = self.failures.saturating_add(1);
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            ContactEvent::BackedOff
        })
    }

    /// Takes in the control plane's answer. Returns the next request to wait for.
    async fn handle(&mut self, event: ContactEvent) -> Coming<ContactEvent> {
        match event {
            ContactEvent::Welcome(Ok(welcome)) => {
                tracing::info!(host = %welcome.host_id, name = self.config.host_name, "taken in");
                self.failures = 0;
                self.report_not_before = None;
                self.report_number = 0;
                if self.core.enter(welcome.incarnation) {
                    tracing::info!(incarnation = %welcome.incarnation, "guests stay as they are until this store gives orders");
                    return self.register().await;
                }
                self.welcome = Some(welcome);
            }
            ContactEvent::Orders(answer) => match *answer {
                Ok(orders) => return self.ordered(orders).await,
                Err(LinkError::Unknown) => return self.unknown().await,
                Err(error) => return self.back_off(&error),
            },
            ContactEvent::Welcome(Err(error)) => return self.back_off(&error),
            ContactEvent::BackedOff => {}
        }
        match &self.welcome {
            Some(welcome) => self.poll(welcome),
            None => self.register().await,
        }
    }

    async fn ordered(&mut self, orders: Orders) -> Coming<ContactEvent> {
        (self.failures, self.disowned) = (0, 0);
        self.compare_clocks(orders.at);
        let Some(welcome) = self.welcome.clone() else { return self.register().await };
        if orders.incarnation != welcome.incarnation {
            // A new incarnation of the store: it must know the guests here before it gives orders.
            return self.register().await;
        }
        for order in &orders.servers {
            let Order::Own(own) = order else { continue };
            if !self.core.misses_disk(order) {
                continue;
            }
            let server = order.server_id();
            match work::find_disks(&self.drivers, own).await {
                Ok(Some((generation, memory))) => self.core.disks_found(server, generation, memory),
                Ok(None) => {}
                Err(error) => tracing::warn!(%server, %error, "cannot look for the disks"),
            }
        }
        match self.core.apply(&orders) {
            Taken::Applied => {
                self.ignored = 0;
                for order in &orders.servers {
                    if let Order::Own(own) = order {
                        self.drivers.network.note(order.server_id(), &own.assignment.guest);
                    }
                }
                for question in orders.questions.into_iter().take(QUESTIONS_MAX) {
                    self.answer(welcome.host_id, question);
                }
            }
            Taken::Ignored => {
                self.ignored += 1;
                tracing::warn!(after = orders.after, have = self.core.applied_upto(), "orders do not follow");
                if self.ignored > 1 {
                    self.core.start_over();
                }
                // A control plane that keeps sending wrong orders must not be asked in a tight loop.
                self.failures = self.ignored;
                return self.back_off(&LinkError::Nonsense("orders that do not follow".to_owned()));
            }
        }
        self.poll(&welcome)
    }

    fn may_report(&self) -> bool {
        self.welcome.is_some() && self.report.is_none() && self.report_not_before.is_none()
    }

    /// Begins to send a report of these observations and of what is new about the host, if a report may be sent now.
    fn send_report(&mut self, mut news: Vec<Observation>) {
        let Some(Welcome { host_id, incarnation, session }) = self.welcome.clone() else { return };
        if !self.may_report() {
            return;
        }
        news.truncate(REPORT_MAX);
        let now = Instant::now();
        let only_preparing = news.iter().all(|seen| matches!(seen.observed, ObservedState::Preparing { .. }));
        if only_preparing && !news.is_empty() {
            let until = *self.patient_until.get_or_insert(now + Duration::from_millis(PREPARING_UNTOLD_MS));
            if now < until {
                return;
            }
        }
        self.patient_until = None;
        let progress = std::mem::take(&mut *self.progress.lock());
        let progress: Vec<MoveProgress> = progress.into_values().collect();
        let (facts, evidence) = self.core.host.news();
        if news.is_empty() && progress.is_empty() && facts.is_empty() && evidence.is_empty() {
            return;
        }
        let link = self.link.clone();
        self.report_number += 1;
        let number = self.report_number;
        let report = Report { session, number, incarnation, guests: news, host: facts, evidence, progress };
        self.report = Some(Box::pin(async move {
            let result = link.report(host_id, &report).await;
            (report, result)
        }));
    }

    /// Takes in a report's result. Returns the next request to wait for, if that is no longer the poll for
    /// orders.
    async fn reported(&mut self, (report, result): Reported) -> Option<Coming<ContactEvent>> {
        self.report = None;
        match result {
            Ok(()) => {
                self.disowned = 0;
                self.core.reported(&report.guests);
                self.core.host.told(&report.host, &report.evidence);
            }
            Err(LinkError::Unknown) => return Some(self.unknown().await),
            Err(error) => {
                tracing::warn!(%error, "a report was not taken; it is tried again");
                self.report_not_before = Some(Instant::now() + backoff(self.failures));
            }
        }
        None
    }
}

async fn until_done<T>(coming: &mut Option<Coming<T>>) -> T {
    match coming {
        Some(coming) => coming.await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The wait before a retry: longer after each failure, and random, so that hosts do not all come back at once.
fn backoff(failures: u32) -> Duration {
    let most = (BACKOFF_MS_MIN << failures.min(5)).min(BACKOFF_MS_MAX);
    let mut byte = [0_u8; 2];
    // Without entropy all hosts wait equally long, which is still better than no wait.
    let _ = getrandom::fill(&mut byte);
    let spread = u64::from(u16::from_le_bytes(byte));
    Duration::from_millis(most / 2 + most * spread / (2 * 65_536))
}
