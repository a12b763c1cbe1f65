//! A whole cloud in a test's process: the store in memory, a clock that the test moves, and ids in the order of
//! creation.

use crate::host::TestHost;
use axum::{
    Router,
    body::Body,
    http::{Method, Request},
    response::Response,
};
use http_body_util::BodyExt;
use lenticular_api::{
    App, Authority, Clocks, Config, ImageStore, Parts, Passwords, Tokens, hash_password, router,
};
use lenticular_control::bootstrap::bootstrap;
use lenticular_model::{Cause, Incarnation, Timestamp};
use lenticular_store::{Memory, MemoryDisk, Store, Writer};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use tempfile::TempDir;
use tower_service::Service;

/// The time at the beginning: 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp(1_767_225_600_000_000);

/// The password of every user.
pub const PASSWORD: &str = "correct horse battery staple";

/// More rounds than hosts ever need.
const ROUNDS_MAX: usize = 64;

/// A cloud.
pub struct TestCloud {
    app: App,
    router: Router,
    /// The token of the administrator, in the project `admin`.
    pub token: String,
    hosts: Vec<TestHost>,
    /// Seconds since the beginning.
    seconds: Arc<AtomicI64>,
    /// Holds the bytes of images.
    _images: TempDir,
}

/// An unsent request.
pub struct Call<'c> {
    cloud: &'c TestCloud,
    method: Method,
    path: String,
    version: Option<String>,
    token: Option<String>,
    content_type: &'static str,
    body: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// `X-Subject-Token`, after a log-in.
    token: Option<String>,
    /// `null` without a body.
    pub body: Value,
}

impl TestCloud {
    /// A cloud with these hosts and the first records of every cloud.
    pub async fn start(hosts: &[&str]) -> Self {
        let images = tempfile::tempdir().expect("a directory for images");
        let seconds = Arc::<AtomicI64>::default();
        let clock: Clock = Arc::new({
            let seconds = seconds.clone();
            move || BEGINNING.plus_s(seconds.load(Ordering::Relaxed))
        });
        let store = store(clock.clone());
        let hash = hash_password(PASSWORD).expect("a hash");
        let cause =
            Cause { actor: "test".to_owned(), request_id: String::new(), why: "bootstrap".to_owned() };
        store.transact(cause, move |txn| Ok(bootstrap(txn, &hash))).await.expect("the first records");
        let app = App::new(Parts {
            store,
            tokens: Tokens::new(&[Tokens::new_key()], 3_600).expect("a key for tokens"),
            passwords: Passwords::new(1),
            images: ImageStore::open(images.path(), Some(0)).expect("an image store"),
            authority: Authority::open(&Authority::new_key().expect("a key"), None, BEGINNING)
                .expect("an authority"),
            config: Config {
                public_url: "http://cloud.example".to_owned(),
                agent_url: "https://cloud.example:9171".to_owned(),
                fencing: Default::default(),
                settings: Default::default(),
            },
            clocks: Clocks { cloud: clock.clone(), machine: clock },
        });
        let router = router(app.clone());
        let (token, no_hosts) = (String::new(), Vec::new());
        let mut cloud = Self { app, router, token, hosts: no_hosts, seconds, _images: images };
        cloud.token = cloud.login("admin", "admin").await;
        for name in hosts {
            cloud.hosts.push(TestHost::join(&cloud.app, name).await);
        }
        cloud
    }

    /// A request with the administrator's token.
    pub fn call(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        Call {
            cloud: self,
            method,
            path: path.into(),
            version: None,
            token: Some(self.token.clone()).filter(|token| !token.is_empty()),
            content_type: "application/json",
            body: Vec::new(),
        }
    }

    /// A `GET` with the administrator's token.
    pub fn get(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// A new token of a user of the default domain, in a project.
    pub async fn login(&self, user: &str, project: &str) -> String {
        let answer = self
            .call(Method::POST, "/identity/v3/auth/tokens")
            .json(&credentials(user, project))
            .send()
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.token.expect("a token")
    }

    /// Moves the clock by a second.
    pub fn tick(&self) {
        self.seconds.fetch_add(1, Ordering::Relaxed);
    }

    /// The hosts work until no work is left.
    pub async fn run_hosts(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let (mut handovers, mut is_busy) = (Vec::new(), false);
            for host in &mut self.hosts {
                let (handed, busy) = host.work(&self.app).await;
                handovers.extend(handed);
                is_busy |= busy;
            }
            for handover in &handovers {
                self.host(&handover.to).accept(handover);
                self.host(&handover.from).handed_over(handover);
            }
            if !is_busy {
                return;
            }
        }
        panic!("the hosts still work after {ROUNDS_MAX} rounds");
    }

    fn host(&mut self, name: &str) -> &mut TestHost {
        self.hosts.iter_mut().find(|host| host.name == name).expect("a host of this name")
    }

    /// A host's id.
    pub fn host_id(&mut self, name: &str) -> String {
        self.host(name).id().to_string()
    }
}

/// The body of a log-in.
pub fn credentials(user: &str, project: &str) -> Value {
    let domain = json!({"id": "default"});
    let user = json!({"name": user, "domain": domain, "password": PASSWORD});
    json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": {"name": project, "domain": domain}},
    }})
}

/// A shareable clock.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

fn store(clock: Clock) -> Store {
    // Later ids are greater, so that lists in the order of ids are in the order of creation.
    let mut made = 0_u32;
    let entropy = move || {
        made += 1;
        let mut bytes = [0; 16];
        bytes[..3].copy_from_slice(&made.to_be_bytes()[1..]);
        bytes
    };
    let memory = Memory::open(&MemoryDisk::new()).expect("memory");
    let life = Incarnation::from_random([1; 16]);
    let writer = Writer::open(Box::new(memory), BEGINNING, life).expect("an empty store");
    Store::start(writer, clock, Box::new(entropy))
}

impl Call<'_> {
    /// Requests this version of the service's API.
    pub fn microversion(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Uses this token in place of the administrator's; an empty text means no token.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned()).filter(|token| !token.is_empty());
        self
    }

    /// Sends JSON.
    pub fn json(self, body: &Value) -> Self {
        self.text(&body.to_string())
    }

    /// Sends literal JSON.
    pub fn text(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }

    /// Sends literal JSON with another media type.
    pub fn typed(mut self, content_type: &'static str, body: &str) -> Self {
        (self.content_type, self.body) = (content_type, body.as_bytes().to_vec());
        self
    }

    /// Sends bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        (self.content_type, self.body) = ("application/octet-stream", bytes.to_vec());
        self
    }

    /// Sends the request, and asserts success. Returns the answer's body.
    pub async fn succeeds(self) -> Value {
        let what = format!("{} {}", self.method, self.path);
        let answer = self.send().await;
        assert!((200..300).contains(&answer.status), "{what}: {answer:?}");
        answer.body
    }

    /// Sends the request.
    pub async fn send(self) -> Answer {
        let service = self.path.split('/').nth(1).unwrap_or_default().to_owned();
        let mut request =
            Request::builder().method(self.method).uri(self.path).header("content-type", self.content_type);
        if let Some(version) = self.version {
            request = request.header("openstack-api-version", format!("{service} {version}"));
        }
        if let Some(token) = self.token {
            request = request.header("x-auth-token", token);
        }
        let request = request.body(Body::from(self.body)).expect("a request");
        let Ok(response) = self.cloud.router.clone().call(request).await;
        Answer::read(response).await
    }
}

impl Answer {
    /// The token of a log-in.
    pub fn token(&self) -> String {
        self.token.clone().unwrap_or_else(|| panic!("no token: {self:?}"))
    }

    async fn read(response: Response) -> Self {
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).expect("a body in JSON"),
        };
        let token =
            head.headers.get("x-subject-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self { status: head.status.as_u16(), token, body }
    }
}
