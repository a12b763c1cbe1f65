//! The cloud as one HTTP service: the state that its handlers share.

use crate::{
    agent::{
        authority::Authority,
        links::{Links, follow},
        refusals::Refusals,
    },
    console::connection::ConsoleConnections,
    identity::{lockout::Lockout, password::Passwords, token::Tokens},
    image_store::ImageStore,
    metrics::Metrics,
    operator::fence::FenceDrivers,
    settings::Settings,
};
use lenticular_model::Timestamp;
use lenticular_store::Store;
use std::{ops::Deref, sync::Arc};

/// Configuration from outside.
#[derive(Clone)]
pub struct Config {
    /// The URL that clients reach the cloud at, without a slash at the end.
    pub public_url: String,
    /// The URL that agents join at, without a slash at the end.
    pub agent_url: String,
    /// The drivers that switch hosts off.
    pub fencing: FenceDrivers,
    /// The operator's settings.
    pub settings: Settings,
}

/// The state that all handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// The parts of an [`App`]; the binary makes them.
pub struct Parts {
    /// The state and its changes.
    pub store: Store,
    /// Tokens.
    pub tokens: Tokens,
    /// Passwords.
    pub passwords: Passwords,
    /// The bytes of images.
    pub images: ImageStore,
    /// The CA that signs hosts' certificates.
    pub authority: Authority,
    /// Configuration from outside.
    pub config: Config,
    /// The time.
    pub clocks: Clocks,
}

/// The parts, and the handlers' own state.
pub struct Shared {
    parts: Parts,
    /// Failed log-ins.
    pub lockout: Lockout,
    /// The reason why hosts get no orders; empty while they get orders.
    pub held: std::sync::OnceLock<String>,
    /// The agents' links.
    pub links: Arc<Links>,
    /// The connections of guests' consoles.
    pub consoles: Arc<ConsoleConnections>,
    /// Refused agents.
    pub refusals: Refusals,
    /// Counters.
    pub metrics: Metrics,
}

/// A clock, to be asked for the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The two clocks.
#[derive(Clone)]
pub struct Clocks {
    /// The cloud's clock, the same as the store's: tokens and records use it.
    pub cloud: Clock,
    /// The machine's clock: certificates use it, because other machines check them, too.
    pub machine: Clock,
}

impl Parts {
    /// The cloud's time.
    pub fn now(&self) -> Timestamp {
        (self.clocks.cloud)()
    }
}

impl Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Deref for Shared {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl App {
    /// Puts the parts together, and starts to wake agents on commits.
    ///
    /// Must be called inside a Tokio runtime.
    pub fn new(parts: Parts) -> Self {
        let links = Arc::new(Links::default());
        let store = parts.store.clone();
        tokio::spawn(follow(links.clone(), parts.images.clone(), store, parts.store.state()));
        Self(Arc::new(Shared {
            parts,
            lockout: Lockout::default(),
            held: Default::default(),
            links,
            consoles: Arc::default(),
            refusals: Refusals::default(),
            metrics: Metrics::default(),
        }))
    }
}
