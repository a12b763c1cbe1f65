//! Enrolment end to end, in one process and over real connections: agents' links against the control plane's
//! listener, by a clock that the tests set.

use crate::clock as machine;
use lenticular_agent::{Clock, HttpLink, Identity, IdentityError, Joining, Link, LinkError, join};
use lenticular_api::{
    AgentTls, App, Authority, Clocks, Config, ImageStore, Parts, Passwords, Tokens, serve_agents,
};
use lenticular_control::command::host::enrolment::{REFUSALS, retire};
use lenticular_model::{
    Cause, Incarnation, Kind, Timestamp, UserId,
    host::{
        host::Capacity,
        observation::{Observation, ObservedState},
    },
    policy::{Caller, RoleLevel, Scope},
};
use lenticular_store::{Memory, MemoryDisk, Store, Writer};
use lenticular_wire::{
    agent::{Answer, Facts, OrdersQuery, Registration, Report, VERSION, Welcome},
    enrol::JoinToken,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

const DAY_S: i64 = 24 * 3_600;

/// A control plane with only its agents' side, in memory.
struct Plane {
    app: App,
    url: String,
    now: Arc<AtomicI64>,
    dir: TempDir,
}

fn clock(now: &Arc<AtomicI64>) -> Clock {
    let now = now.clone();
    Arc::new(move || Timestamp(now.load(Ordering::Relaxed) * 1_000_000))
}

impl Plane {
    async fn start() -> Self {
        let now = Arc::new(AtomicI64::new(1_800_000_000));
        let key = Authority::new_key().unwrap();
        Self::with(Authority::open(&key, None, clock(&now)()).unwrap(), now).await
    }

    async fn with(authority: Authority, now: Arc<AtomicI64>) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock(&now));
        let engine = Box::new(Memory::open(&MemoryDisk::new()).unwrap());
        let writer = Writer::open(engine, clock(), Incarnation::from_random([1; 16])).unwrap();
        let store = Store::start(writer, clock.clone(), machine::entropy());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let app = App::new(Parts {
            store,
            tokens: Tokens::new(&[Tokens::new_key()], 60).unwrap(),
            passwords: Passwords::new(1),
            images: ImageStore::open(&dir.path().join("images"), Some(0)).unwrap(),
            authority,
            config: Config {
                public_url: String::new(),
                agent_url: url.clone(),
                fencing: Default::default(),
                settings: Default::default(),
            },
            clocks: Clocks { cloud: clock.clone(), machine: clock },
        });
        let tls = AgentTls::new(app.clone(), Vec::new()).unwrap();
        tokio::spawn(serve_agents(app.clone(), listener, tls, std::future::pending()));
        Self { app, url, now, dir }
    }

    fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    fn home(&self, host: &str) -> std::path::PathBuf {
        self.dir.path().join(host)
    }

    async fn token(&self, name: Option<&str>, replaces: bool) -> JoinToken {
        let name = name.map(str::to_owned);
        self.app.join_token(Cause::default(), None, name, replaces, 3_600).await.unwrap().0
    }

    async fn join(&self, home: &Path, name: &str, token: &JoinToken) -> Result<Identity, IdentityError> {
        let joining =
            Joining { control_plane: self.url.clone(), token: token.clone(), host_name: name.to_owned() };
        join(home, &joining, clock(&self.now)).await
    }

    /// A host that joined with its own token.
    async fn host(&self, name: &str) -> (Identity, HttpLink) {
        let token = self.token(None, false).await;
        let identity = self.join(&self.home(name), name, &token).await.unwrap();
        let link = HttpLink::new(&self.url, identity.clone()).unwrap();
        (identity, link)
    }

    /// The journal's entries on refused agents.
    async fn refusals(&self) -> Vec<String> {
        let entries = self.app.store.history(Kind::Refusal, REFUSALS).await.unwrap();
        entries.into_iter().map(|e| format!("{}: {}", e.cause.actor, e.cause.why)).collect()
    }

    async fn retire(&self, name: &'static str) {
        let caller = Caller {
            user_id: UserId::from_random([1; 16]),
            scope: Scope::System,
            level: RoleLevel::Admin,
            request_id: String::new(),
        };
        let retired = self.app.store.transact(Cause::default(), move |txn| retire(txn, &caller, name, false));
        retired.await.unwrap();
    }
}

fn registration(name: &str) -> Registration {
    let capacity = Capacity { vcpus: 4, memory_mb: 4_096, disk_gb: 100 };
    Registration {
        version: VERSION,
        host_name: name.to_owned(),
        zone: "nova".to_owned(),
        facts: Facts { capacity: Some(capacity), ..Facts::default() },
        evidence: Vec::new(),
        incarnation: None,
        applied_upto: 0,
        receipt: None,
        inventory: Vec::new(),
    }
}

/// Registers a host as its agent does: the first answer names the store's incarnation, then the host enters it.
async fn greet(link: &HttpLink, name: &str) -> Result<Welcome, LinkError> {
    let welcome = link.register(&registration(name)).await?;
    link.register(&Registration { incarnation: Some(welcome.incarnation), ..registration(name) }).await
}

fn report(of: &Welcome, guests: Vec<Observation>) -> Report {
    Report {
        session: of.session,
        number: 1,
        incarnation: of.incarnation,
        guests,
        host: Facts::default(),
        evidence: Vec::new(),
        progress: Vec::new(),
    }
}

fn query(welcome: &Welcome) -> OrdersQuery {
    OrdersQuery {
        session: welcome.session,
        incarnation: welcome.incarnation,
        after: 0,
        wait_ms: 0,
        receipt: None,
    }
}

/// The control plane's message in a refusal.
fn words<T: std::fmt::Debug>(result: Result<T, LinkError>) -> String {
    match result {
        Err(LinkError::Refused { status: 403, body }) => body,
        other => panic!("it was not refused: {other:?}"),
    }
}

fn why<T>(result: Result<T, IdentityError>) -> String {
    result.err().expect("it was not refused").to_string()
}

#[tokio::test]
async fn a_host_joins_and_speaks_for_itself_alone() {
    let plane = Plane::start().await;
    let ((_, one), (_, two)) = (plane.host("rack-1").await, plane.host("rack-2").await);
    let theirs = greet(&two, "rack-2").await.unwrap();
    let ours = greet(&one, "rack-1").await.unwrap();
    one.orders(ours.host_id, query(&ours)).await.unwrap();
    let said = words(greet(&one, "rack-2").await);
    assert!(said.contains("rack-1") && said.contains("does not speak for rack-2"), "{said}");
    words(one.orders(theirs.host_id, query(&theirs)).await);
    let report = report(&theirs, Vec::new());
    words(one.report(theirs.host_id, &report).await);
    words(one.answer(theirs.host_id, &Answer { id: 1, result: Ok(String::new()) }).await);
    // The other host's session continues, and the four attempts are one entry.
    two.report(theirs.host_id, &report).await.unwrap();
    let refusals = plane.refusals().await;
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(refusals[0].starts_with("host/rack-1: refused (NameOfAnother)"), "{refusals:?}");
    assert_eq!(two.user_data(lenticular_model::ServerId::from_random([1; 16])).await, Ok(None));
}

#[tokio::test]
async fn a_token_is_good_once_and_in_its_time_and_a_lost_answer_does_no_harm() {
    let plane = Plane::start().await;
    let token = plane.token(None, false).await;
    let identity = plane.join(&plane.home("rack-1"), "rack-1", &token).await.unwrap();
    assert!(identity.is_of_token(&token));
    let said = why(plane.join(&plane.home("thief"), "rack-9", &token).await);
    assert!(said.contains("used before"), "{said}");
    // The answer was lost: the key was kept, and the same token is used again.
    let home = plane.home("rack-1").join("identity");
    let saved: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.join("identity.json")).unwrap()).unwrap();
    std::fs::write(home.join("pending-key.pem"), saved["key"].as_str().unwrap()).unwrap();
    std::fs::remove_file(home.join("identity.json")).unwrap();
    let again = plane.join(&plane.home("rack-1"), "rack-1", &token).await.unwrap();
    greet(&HttpLink::new(&plane.url, again).unwrap(), "rack-1").await.unwrap();

    let late = plane.token(None, false).await;
    plane.pass(3_601);
    let said = why(plane.join(&plane.home("rack-2"), "rack-2", &late).await);
    assert!(said.contains("expired"), "{said}");
    let refusals = plane.refusals().await;
    assert!(refusals[0].contains("agent at 127.0.0.1: refused (TokenUsed)"), "{refusals:?}");
    assert!(refusals[1].contains("TokenExpired"), "{refusals:?}");
}

#[tokio::test]
async fn a_replaced_host_is_told_that_its_certificate_is_revoked() {
    let plane = Plane::start().await;
    let (_, old) = plane.host("rack-1").await;
    let session = greet(&old, "rack-1").await.unwrap();
    let said = why(plane.join(&plane.home("b"), "rack-1", &plane.token(None, false).await).await);
    assert!(said.contains("--replace"), "{said}");
    let token = plane.token(Some("rack-1"), true).await;
    let new = plane.join(&plane.home("b"), "rack-1", &token).await.unwrap();
    let said = words(old.orders(session.host_id, query(&session)).await);
    assert!(said.contains("revoked"), "{said}");
    let new = HttpLink::new(&plane.url, new).unwrap();
    assert_eq!(greet(&new, "rack-1").await.unwrap().host_id, session.host_id);
    assert!(
        plane.refusals().await.iter().any(|r| r.starts_with("host/rack-1: refused (CertificateRevoked)"))
    );
}

#[tokio::test]
async fn certificates_are_renewed_in_time_and_refused_after_it() {
    let plane = Plane::start().await;
    let (identity, link) = plane.host("rack-1").await;
    let (_, left_off) = plane.host("rack-2").await;
    let first = identity.certificate();
    let session = greet(&link, "rack-1").await.unwrap();
    greet(&left_off, "rack-2").await.unwrap();
    plane.pass(21 * DAY_S);
    // Requests in progress go on across the renewal; later requests use new connections.
    let keeping = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            () = link.keep_identity() => {}
            () = async { while identity.certificate() == first { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
        }
    });
    keeping.await.unwrap();
    link.orders(session.host_id, query(&session)).await.unwrap();
    plane.pass(10 * DAY_S);
    link.orders(session.host_id, query(&session)).await.unwrap();
    // The other host slept during the renewal. Its connection is still open; a new connection gets the same
    // answer.
    let said = words(greet(&left_off, "rack-2").await);
    assert!(said.contains("expired") && said.contains("host enrol rack-2 --replace"), "{said}");
    let again = Identity::load(&plane.home("rack-2"), clock(&plane.now)).unwrap().unwrap();
    let fresh = HttpLink::new(&plane.url, again).unwrap();
    words(greet(&fresh, "rack-2").await);
    assert!(why(fresh.renew().await).contains("host enrol rack-2"));
    assert!(plane.refusals().await[0].contains("CertificateExpired"));
}

#[tokio::test]
async fn a_retired_host_is_told_so() {
    let plane = Plane::start().await;
    let (_, link) = plane.host("rack-1").await;
    let session = greet(&link, "rack-1").await.unwrap();
    let waiting = OrdersQuery { wait_ms: 15_000, after: plane.app.store.state().seq, ..query(&session) };
    // The waiting poll is answered at once, long before its end.
    let polled = async { tokio::join!(link.orders(session.host_id, waiting), plane.retire("rack-1")).0 };
    let polled = tokio::time::timeout(Duration::from_secs(10), polled).await.unwrap();
    assert!(matches!(polled, Err(LinkError::Unknown | LinkError::Refused { .. })), "{polled:?}");
    let said = words(greet(&link, "rack-1").await);
    assert!(said.contains("was retired") && said.contains("host enrol rack-1"), "{said}");
    assert!(plane.app.store.state().hosts.is_empty());
}

#[tokio::test]
async fn another_cloud_is_neither_joined_nor_let_in() {
    let (ours, other) = (Plane::start().await, Plane::start().await);
    // Our token at another control plane: the fingerprint differs, so the host sends nothing.
    let joining = Joining {
        control_plane: other.url.clone(),
        token: ours.token(None, false).await,
        host_name: "rack-1".to_owned(),
    };
    let said = why(join(&ours.home("rack-1"), &joining, clock(&ours.now)).await);
    assert!(said.contains("did not make this token"), "{said}");
    assert!(other.refusals().await.is_empty());
    let (identity, _) = other.host("rack-1").await;
    let stray = HttpLink::new(&ours.url, identity).unwrap();
    let error = greet(&stray, "rack-1").await.unwrap_err();
    assert!(error.to_string().contains("not issued by this cloud's CA"), "{error}");
}

#[tokio::test]
async fn a_restarted_control_plane_needs_nothing() {
    let now = Arc::new(AtomicI64::new(1_800_000_000));
    let key = Authority::new_key().unwrap();
    let open = |certificate: Option<&str>| Authority::open(&key, certificate, clock(&now)()).unwrap();
    let first = Plane::with(open(None), now.clone()).await;
    let (identity, _) = first.host("rack-1").await;
    let pem = first.app.authority.pem().to_owned();
    // With its certificate from the file, or with the key alone: hosts accept both.
    for certificate in [Some(pem.as_str()), None] {
        let next = Plane::with(open(certificate), now.clone()).await;
        let link = HttpLink::new(&next.url, identity.clone()).unwrap();
        // The new control plane has another store and does not know the host, but TLS with it works.
        assert!(words(greet(&link, "rack-1").await).contains("retired"));
    }
    let other = Authority::new_key().unwrap();
    assert!(Authority::open(&other, Some(&pem), clock(&now)()).is_err());
}

/// The control plane's answer to a host without orders.
fn held<T: std::fmt::Debug>(result: Result<T, LinkError>) -> String {
    match result {
        Err(LinkError::Refused { status: 503, body }) => body,
        other => panic!("it was not held: {other:?}"),
    }
}

#[tokio::test]
async fn what_a_host_claims_to_have_been_told_counts_for_that_host_alone() {
    let plane = Plane::start().await;
    let ((_, liar), (_, other)) = (plane.host("rack-1").await, plane.host("rack-2").await);
    let (own, session) = (greet(&liar, "rack-1").await.unwrap(), greet(&other, "rack-2").await.unwrap());
    let receipt = |orders: lenticular_wire::agent::Orders| orders.receipt.unwrap();
    let earlier = receipt(liar.orders(own.host_id, query(&own)).await.unwrap());
    let anothers = receipt(other.orders(session.host_id, query(&session)).await.unwrap());
    for upto in [plane.app.store.state().seq + 1_000, 99_999_999, u64::MAX] {
        for receipt in [None, Some("made-up".to_owned()), Some(earlier.clone()), Some(anothers.clone())] {
            let asked = OrdersQuery { after: upto, receipt: receipt.clone(), ..query(&own) };
            let said = held(liar.orders(own.host_id, asked).await);
            assert!(said.contains("Only this host") && said.contains("rack-1"), "{said}");
            let incarnation = Some(own.incarnation);
            let again = Registration { applied_upto: upto, receipt, incarnation, ..registration("rack-1") };
            held(liar.register(&again).await);
        }
    }
    assert!(plane.app.held.get().is_none(), "the cloud goes on");
    other.orders(session.host_id, query(&session)).await.unwrap();
    liar.orders(own.host_id, query(&own)).await.unwrap();
    assert!(plane.refusals().await.iter().any(|r| r.starts_with("host/rack-1: refused (HostAhead)")));
}

#[tokio::test]
async fn a_generation_that_was_never_issued_is_refused() {
    let plane = Plane::start().await;
    let (_, link) = plane.host("rack-1").await;
    let session = greet(&link, "rack-1").await.unwrap();
    let seen = Observation {
        server_id: lenticular_model::ServerId::from_random([7; 16]),
        generation: u64::MAX,
        boot: 1,
        observed: ObservedState::Running { ssh_forward: None, paused: false },
        layout: 0,
        handover: None,
        unsaved: None,
        failed_attempt: None,
        memory_lost: None,
    };
    let said = link.report(session.host_id, &report(&session, vec![seen.clone()])).await;
    assert!(matches!(said, Err(LinkError::Refused { status: 400, .. })), "{said:?}");
    let again = Registration {
        inventory: vec![seen],
        incarnation: Some(session.incarnation),
        ..registration("rack-1")
    };
    let said = link.register(&again).await;
    assert!(matches!(said, Err(LinkError::Refused { status: 400, .. })), "{said:?}");
}
