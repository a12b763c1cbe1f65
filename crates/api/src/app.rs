//! The cloud as one HTTP service: what its handlers share.

use crate::{
    agent::{
        authority::Authority,
        links::{follow, Links},
        refusals::Refusals,
    },
    identity::{lockout::Lockout, password::Passwords, token::Tokens},
    image_store::ImageStore,
    metrics::Metrics,
    operator::fence::FenceDrivers,
    settings::Settings,
};
use lenticular_model::Timestamp;
use lenticular_store::Store;
use std::{ops::Deref, sync::Arc};

/// What the outside decides.
#[derive(Clone)]
pub struct Config {
    /// Where clients reach the cloud, without a slash at the end.
    pub public_url: String,
    /// Where agents join, without a slash at the end.
    pub agent_url: String,
    /// What switches hosts off.
    pub fencing: FenceDrivers,
    /// What an operator has set.
    pub settings: Settings,
}

/// What all handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// What the binary makes an [`App`] of.
pub struct Parts {
    /// The state and its changes.
    pub store: Store,
    /// Tokens.
    pub tokens: Tokens,
    /// Passwords.
    pub passwords: Passwords,
    /// The bytes of images.
    pub images: ImageStore,
    /// What signs the certificates of hosts.
    pub authority: Authority,
    /// What the outside decides.
    pub config: Config,
    /// The time.
    pub clocks: Clocks,
}

/// The parts, and what handlers keep beside them.
pub struct Shared {
    parts: Parts,
    /// Log-ins that failed.
    pub lockout: Lockout,
    /// Why hosts get no orders any more; empty while they do.
    pub held: std::sync::OnceLock<String>,
    /// The agents' links.
    pub links: Arc<Links>,
    /// Agents that were refused.
    pub refusals: Refusals,
    /// Counters.
    pub metrics: Metrics,
}

/// A clock, to be asked for the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The two times there are.
#[derive(Clone)]
pub struct Clocks {
    /// The cloud's, the same as the store's: tokens and records follow it.
    pub cloud: Clock,
    /// The machine's: certificates follow it, because other machines judge them, too.
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
    /// Puts the parts together, and begins to wake agents when there is news for them.
    ///
    /// Must be called inside a Tokio runtime.
    pub fn new(parts: Parts) -> Self {
        let links = Arc::new(Links::default());
        let commits = parts.store.subscribe();
        tokio::spawn(follow(links.clone(), parts.images.clone(), parts.store.state(), commits));
        Self(Arc::new(Shared {
            parts,
            lockout: Lockout::default(),
            held: Default::default(),
            links,
            refusals: Refusals::default(),
            metrics: Metrics::default(),
        }))
    }
}
