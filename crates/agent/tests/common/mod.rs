//! A control plane in memory: keeps orders by commit, takes reports, and can be down or forget the host.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses its part, and a test may panic")]

use bytes::Bytes;
use lenticular_agent::{Call, Chunks, Link, LinkError, peer::Stream};
use lenticular_model::{
    DiskId, HostId, ImageId, Incarnation, ProjectId, ServerId, UserId,
    compute::{
        flavor::Size,
        migration::Mode,
        server::{BootStyle, Wanted},
    },
    host::observation::{Observation, ObservedState},
};
use lenticular_wire::agent::{
    Answer, Base, Content, Diagnostics, DiskSpec, GuestAssignment, GuestSpec, Order, Orders, OrdersQuery,
    Outgoing, Own, Peer, Question, Receive, Registration, Replaces, Report, RunGoal, Subject, Welcome,
};
use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt, sync::watch};

#[allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "not every test has real guests; those that have end the processes that they started"
)]
pub mod qemu;

#[allow(dead_code, clippy::unwrap_used, reason = "not every test has real guests")]
pub mod counting;

pub struct Cloud {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    image: Option<PathBuf>,
}

#[derive(Default)]
pub struct Inner {
    pub orders: BTreeMap<ServerId, (u64, Wish)>,
    pub seq: u64,
    pub incarnation: u8,
    pub seen: BTreeMap<ServerId, Vec<(Instant, Observation)>>,
    pub answers: Vec<Answer>,
    /// The control plane's ends of the consoles' connections.
    pub consoles: Vec<tokio::io::DuplexStream>,
    pub questions: Vec<Question>,
    pub registrations: Vec<Registration>,
    pub user_data: Option<Vec<u8>>,
    /// Where sent disks are kept.
    pub uploads: Option<PathBuf>,
    pub known: bool,
    pub down: bool,
    pub lose_reports: u32,
    /// How many more reports are answered with an unknown session.
    pub disown_reports: u32,
    pub session: u64,
    /// The session and the number of each received report.
    pub reports: Vec<(u64, u64)>,
}

fn incarnation(n: u8) -> Incarnation {
    Incarnation::from_random([n; 16])
}

impl Cloud {
    pub fn new(image: Option<PathBuf>) -> Arc<Self> {
        let inner = Mutex::new(Inner { incarnation: 1, ..Inner::default() });
        Arc::new(Self { inner, changed: watch::channel(0).0, image })
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn wake(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Commits a change of orders, or of other state.
    pub fn set<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let result = change(&mut self.lock());
        self.wake();
        result
    }

    pub fn order(&self, order: Wish) {
        self.set(|inner| {
            inner.seq += 1;
            let seq = inner.seq;
            inner.orders.insert(order.server_id, (seq, order));
        });
    }

    /// Changes the last order of a server.
    pub fn change(&self, id: ServerId, change: impl FnOnce(&mut Wish)) {
        let mut order = self.lock().orders[&id].1.clone();
        change(&mut order);
        self.order(order);
    }

    /// Orders the host to keep the disk that the server left behind, or, if the wish says so, to remove it.
    #[allow(dead_code, reason = "not every test moves guests")]
    pub fn keep(&self, id: ServerId, generation: u64) {
        self.change(id, |wish| {
            (wish.generation, wish.kept, wish.receive, wish.outgoing) = (generation, true, None, None);
        });
    }

    pub fn last(&self, id: ServerId) -> Option<Observation> {
        self.lock().seen.get(&id)?.last().map(|(_, seen)| seen.clone())
    }

    /// Waits until the host reports this of the server.
    pub async fn sees(&self, id: ServerId, what: &str, is: impl Fn(&Observation) -> bool) -> Observation {
        let look = || {
            let seen = self.last(id)?;
            let stuck = matches!(seen.observed, ObservedState::Failed { .. })
                && seen.boot >= self.lock().orders[&id].1.boot;
            (is(&seen) || stuck).then_some(seen)
        };
        let found = self.wait(Duration::from_secs(120), look).await.filter(|seen| is(seen));
        found.unwrap_or_else(|| panic!("{id} was never seen {what}: {:#?}", self.lock().seen.get(&id)))
    }

    pub async fn sees_running(&self, id: ServerId, boot: u64) -> Option<String> {
        let is =
            |seen: &Observation| seen.boot == boot && matches!(seen.observed, ObservedState::Running { .. });
        match self.sees(id, "running", is).await.observed {
            ObservedState::Running { ssh_forward, .. } => ssh_forward,
            other => panic!("{other:?}"),
        }
    }

    pub async fn sees_sight(&self, id: ServerId, observed: ObservedState) {
        self.sees(id, &format!("{observed:?}"), |seen| seen.observed == observed).await;
    }

    pub async fn console(&self, id: ServerId, lines: Option<u32>) -> Result<String, String> {
        self.ask(Subject::Console { server_id: id, lines }).await
    }

    /// What the host measures of a guest.
    pub async fn diagnostics(&self, id: ServerId) -> Result<Diagnostics, String> {
        let text = self.ask(Subject::Diagnostics { server_id: id }).await?;
        Ok(serde_json::from_str(&text).expect("diagnostics"))
    }

    async fn ask(&self, ask: Subject) -> Result<String, String> {
        let question = self.set(|inner| {
            let question = inner.answers.len() as u64 + 100;
            inner.questions.push(Question { id: question, ask });
            question
        });
        let answered = || {
            let inner = self.lock();
            inner.answers.iter().find(|a| a.id == question).map(|a| a.result.clone())
        };
        self.wait(Duration::from_secs(30), answered).await.expect("an answer")
    }

    /// Waits until the console has the line.
    pub async fn console_shows(&self, id: ServerId, line: &str) -> String {
        self.console_until(id, line, |text| text.lines().any(|l| l == line)).await
    }

    /// Waits until the console has the words anywhere, perhaps behind a log-in prompt.
    /// Waits until the guest has come up so often.
    pub async fn console_until_ready(&self, id: ServerId, times: usize) -> String {
        let ready = |text: &str| text.matches("lenticular-guest: ready").count() >= times;
        self.console_until(id, "another boot", ready).await
    }

    pub async fn console_has(&self, id: ServerId, words: &str) -> String {
        self.console_until(id, words, |text| text.contains(words)).await
    }

    async fn console_until(&self, id: ServerId, what: &str, there: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + Duration::from_secs(180);
        loop {
            let text = self.console(id, None).await.expect("a console");
            if there(&text) {
                return text;
            }
            assert!(Instant::now() < until, "the console never showed '{what}':\n{text}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn wait<T>(&self, most: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let mut changed = self.changed.subscribe();
        let work = async {
            loop {
                if let Some(found) = look() {
                    return found;
                }
                changed.changed().await.expect("the cloud lives");
            }
        };
        tokio::time::timeout(most, work).await.ok()
    }

    fn check(&self, session: u64) -> Result<(), LinkError> {
        let inner = self.lock();
        if inner.down {
            return Err(LinkError::Unreachable { at: "here".to_owned(), why: "it is down".to_owned() });
        }
        if !inner.known || inner.session != session {
            return Err(LinkError::Unknown);
        }
        Ok(())
    }

    fn news(&self, query: &OrdersQuery) -> Option<Orders> {
        let mut inner = self.lock();
        let known = query.incarnation == incarnation(inner.incarnation);
        let after = if known { query.after } else { 0 };
        if after == inner.seq && known && inner.questions.is_empty() {
            return None;
        }
        let orders = inner.orders.values().filter(|(seq, _)| *seq > after).map(|(_, o)| o.order()).collect();
        Some(Orders {
            incarnation: incarnation(inner.incarnation),
            after,
            upto: inner.seq,
            servers: orders,
            host: None,
            at: None,
            questions: std::mem::take(&mut inner.questions),
            receipt: None,
        })
    }
}

impl Link for Cloud {
    fn register<'a>(&'a self, registration: &'a Registration) -> Call<'a, Welcome> {
        Box::pin(async move {
            let welcome = self.set(|inner| {
                if inner.down {
                    let why = "it is down".to_owned();
                    return Err(LinkError::Unreachable { at: "here".to_owned(), why });
                }
                inner.registrations.push(registration.clone());
                inner.known = true;
                inner.session += 1;
                let host_id = HostId::from_random([8; 16]);
                let incarnation = incarnation(inner.incarnation);
                Ok(Welcome { host_id, incarnation, session: inner.session })
            })?;
            Ok(welcome)
        })
    }

    fn orders(&self, _host: HostId, query: OrdersQuery) -> Call<'_, Orders> {
        Box::pin(async move {
            let mut changed = self.changed.subscribe();
            let until = tokio::time::Instant::now() + Duration::from_millis(query.wait_ms);
            loop {
                self.check(query.session)?;
                if let Some(orders) = self.news(&query) {
                    return Ok(orders);
                }
                if tokio::time::timeout_at(until, changed.changed()).await.is_err() {
                    let Inner { seq, .. } = *self.lock();
                    return Ok(Orders {
                        incarnation: query.incarnation,
                        after: query.after,
                        upto: seq,
                        servers: Vec::new(),
                        host: None,
                        at: None,
                        questions: Vec::new(),
                        receipt: None,
                    });
                }
            }
        })
    }

    fn report<'a>(&'a self, _host: HostId, report: &'a Report) -> Call<'a, ()> {
        Box::pin(async move {
            self.check(report.session)?;
            let disowned = self.set(|inner| {
                inner.reports.push((report.session, report.number));
                let disowned = inner.disown_reports > 0;
                inner.disown_reports = inner.disown_reports.saturating_sub(1);
                disowned
            });
            if disowned {
                return Err(LinkError::Unknown);
            }
            let lost = self.set(|inner| {
                for seen in &report.guests {
                    inner.seen.entry(seen.server_id).or_default().push((Instant::now(), seen.clone()));
                }
                let lost = inner.lose_reports > 0;
                inner.lose_reports = inner.lose_reports.saturating_sub(1);
                lost
            });
            match lost {
                true => Err(LinkError::Unreachable { at: "here".to_owned(), why: "answer lost".to_owned() }),
                false => Ok(()),
            }
        })
    }

    fn answer<'a>(&'a self, _host: HostId, answer: &'a Answer) -> Call<'a, ()> {
        self.set(|inner| inner.answers.push(answer.clone()));
        Box::pin(async { Ok(()) })
    }

    fn join_console<'a>(&'a self, _: HostId, _: &'a str) -> Call<'a, Stream> {
        Box::pin(async {
            let (ours, theirs) = tokio::io::duplex(4096);
            self.set(|inner| inner.consoles.push(theirs));
            Ok(Box::new(ours) as Stream)
        })
    }

    fn image(&self, _image: ImageId) -> Call<'_, Box<dyn Chunks>> {
        Box::pin(async {
            let path = self.image.as_ref().ok_or(LinkError::Unknown)?;
            let file = tokio::fs::File::open(path).await.map_err(|e| LinkError::Nonsense(e.to_string()))?;
            Ok(Box::new(FileChunks(file)) as Box<dyn Chunks>)
        })
    }

    fn upload<'a>(&'a self, _: ServerId, upload: &'a str, disk: &'a Path) -> Call<'a, ()> {
        Box::pin(async move {
            let folder = self.lock().uploads.clone().ok_or(LinkError::Unknown)?;
            tokio::fs::copy(disk, folder.join(upload))
                .await
                .map_err(|e| LinkError::Nonsense(e.to_string()))?;
            self.wake();
            Ok(())
        })
    }

    fn password<'a>(&'a self, _: ServerId, _: &'a str) -> Call<'a, ()> {
        Box::pin(async { Err(LinkError::Unknown) })
    }

    fn user_data(&self, _server: ServerId) -> Call<'_, Option<Vec<u8>>> {
        let user_data = self.lock().user_data.clone();
        Box::pin(async move { Ok(user_data) })
    }
}

struct FileChunks(tokio::fs::File);

impl Chunks for FileChunks {
    fn next(&mut self) -> Call<'_, Option<Bytes>> {
        Box::pin(async {
            let mut piece = vec![0; 1 << 18];
            let n = self.0.read(&mut piece).await.map_err(|e| LinkError::Nonsense(e.to_string()))?;
            piece.truncate(n);
            Ok((n > 0).then(|| piece.into()))
        })
    }
}

/// An agent that runs until the stop signal.
pub struct Running<T> {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<T>,
}

impl<T: Send + 'static> Running<T> {
    pub fn start<F>(run: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(run(Box::pin(async move {
            let _ = stopped.await;
        })));
        Self { stop, task }
    }

    /// Stops the agent as SIGTERM does.
    pub async fn stop(self) -> T {
        let _ = self.stop.send(());
        self.task.await.expect("the agent does not panic")
    }

    /// Ends the agent as a crash does.
    pub async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub fn server(n: u8) -> ServerId {
    ServerId::from_random([n; 16])
}

/// The wanted state of one guest, all in one.
#[derive(Debug, Clone)]
pub struct Wish {
    pub server_id: ServerId,
    pub generation: u64,
    pub wanted: Wanted,
    pub boot: u64,
    pub boot_style: BootStyle,
    pub disk_made: bool,
    pub guest: GuestSpec,
    pub outgoing: Option<Outgoing>,
    pub receive: Option<(Peer, Mode)>,
    pub kept: bool,
    pub snapshot: Option<String>,
    pub replaces: Option<Replaces>,
    pub revives: Option<u64>,
}

impl Wish {
    /// The order for the guest.
    pub fn order(&self) -> Order {
        let Self { server_id, generation, boot, boot_style, disk_made, .. } = *self;
        if self.wanted == Wanted::Absent {
            return Order::Remove { server_id, generation };
        }
        if self.kept {
            return Order::Keep { server_id, generation };
        }
        let mut guest = self.guest.clone();
        guest.disks.iter_mut().for_each(|disk| disk.generation = generation);
        let paused = self.wanted == Wanted::Paused;
        let assignment = GuestAssignment { server_id, generation, boot, paused, guest };
        if let Some((from, mode)) = self.receive.clone() {
            return Order::Receive(Receive { assignment: assignment.into(), layout: 3, from, mode });
        }
        Order::Own(Own {
            assignment: assignment.into(),
            run: match self.wanted {
                Wanted::Running | Wanted::Paused => RunGoal::Running,
                Wanted::Suspended => RunGoal::Suspended { attempt: boot },
                Wanted::Stopped | Wanted::Absent => RunGoal::Stopped,
            },
            boot_style,
            disk_made,
            revives: self.revives,
            replaces: self.replaces,
            outgoing: self.outgoing.clone(),
            upload: None,
            snapshot: self.snapshot.clone(),
        })
    }
}

/// The first order to run a server.
pub fn order(id: ServerId, sha512: &str) -> Wish {
    Wish {
        server_id: id,
        generation: 1,
        wanted: Wanted::Running,
        boot: 1,
        boot_style: BootStyle::Soft,
        disk_made: false,
        guest: GuestSpec {
            name: "web".to_owned(),
            hostname: "web-1".to_owned(),
            project_id: ProjectId::from_random([1; 16]),
            user_id: UserId::from_random([2; 16]),
            size: Size { vcpus: 1, ram_mb: 128, disk_gb: 1, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 },
            disks: vec![DiskSpec {
                tag: None,
                id: DiskId::root_of(id),
                generation: 1,
                bytes: 1 << 30,
                content: Content::Image(Base {
                    image_id: ImageId::from_random([3; 16]),
                    sha512: sha512.to_owned(),
                    format: "qcow2".to_owned(),
                }),
            }],
            rescue: None,
            ports: Vec::new(),
            key: None,
            metadata: BTreeMap::new(),
            launch_index: 0,
            availability_zone: "nova".to_owned(),
            config_drive: true,
            has_user_data: false,
            has_files: false,
            password: None,
            public_ips: Vec::new(),
            flavor_name: "small".to_owned(),
            reservation_id: "r-00000001".to_owned(),
            floating: Vec::new(),
        },
        outgoing: None,
        receive: None,
        kept: false,
        snapshot: None,
        replaces: None,
        revives: None,
    }
}
