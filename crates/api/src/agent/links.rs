//! The agents' links: the polls that wait for orders, and the questions that wait for an answer.

use crate::image_store::store::ImageStore;
use lenticular_model::{
    DiskId, HostId, ImageId, Kind, Lock, PortId, State, Timestamp,
    error::{Error, Result},
};
use lenticular_store::Store;
use lenticular_wire::agent::{Question, Subject};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, oneshot};

type Reply = oneshot::Sender<std::result::Result<String, String>>;

/// All links.
#[derive(Default)]
pub struct Links {
    hosts: Lock<HashMap<HostId, Arc<Link>>>,
    next_question: AtomicU64,
    /// Images that hosts were asked to fetch before a server needs them, and until when they may.
    fetches: Lock<HashMap<(HostId, ImageId), Timestamp>>,
}

/// One host's link.
#[derive(Default)]
pub struct Link {
    /// Signals that the host may have new orders.
    pub news: Notify,
    asked: Lock<HashMap<u64, Asked>>,
}

struct Asked {
    ask: Subject,
    sent: bool,
    reply: Reply,
}

impl Links {
    /// A host's link.
    pub fn of(&self, host: HostId) -> Arc<Link> {
        self.hosts.lock().entry(host).or_default().clone()
    }

    /// Wakes the polls that a commit concerns.
    pub fn committed(&self, state: &State, changes: &[(Kind, String)]) {
        let mut woken: Vec<HostId> = Vec::new();
        let mut wake = |host: HostId| {
            if !woken.contains(&host) {
                woken.push(host);
                self.of(host).news.notify_waiters();
            }
        };
        for (kind, id) in changes {
            let server = match kind {
                Kind::Server => id.parse().ok(),
                Kind::Port => id.parse().ok().and_then(|id: PortId| state.ports.get(&id)?.server_id),
                Kind::Disk => id.parse().ok().and_then(|id: DiskId| Some(state.disks.get(&id)?.server_id)),
                // A removed heartbeat means an ended session: the agent's poll wakes, and learns of it.
                Kind::Heartbeat => {
                    id.parse()
                        .ok()
                        .filter(|id| !state.heartbeats.contains_key(id))
                        .into_iter()
                        .for_each(&mut wake);
                    None
                }
                Kind::Host => {
                    let host = id.parse().ok();
                    let ordered = |host: &HostId| state.host_order_after(*host, state.seq - 1);
                    host.filter(ordered).into_iter().for_each(&mut wake);
                    None
                }
                _ => None,
            };
            let Some(server) = server else { continue };
            state.ordered_at(server, state.seq).for_each(&mut wake);
        }
    }

    /// Lets a host read an image until a time.
    pub fn let_fetch(&self, host: HostId, image: ImageId, now: Timestamp, until: Timestamp) {
        let mut fetches = self.fetches.lock();
        fetches.retain(|_, end| *end > now);
        fetches.insert((host, image), until);
    }

    /// Whether a host may read an image that none of its servers needs.
    pub fn may_fetch(&self, host: HostId, image: ImageId, now: Timestamp) -> bool {
        self.fetches.lock().get(&(host, image)).is_some_and(|end| *end > now)
    }

    /// Wakes all polls: a new leader knows none of the hosts' sessions.
    fn wake_all(&self) {
        self.hosts.lock().values().for_each(|link| link.news.notify_waiters());
    }

    /// Asks a host a question: the question waits for the host's next poll.
    ///
    /// # Errors
    /// The host cannot answer, or does not answer within `deadline`.
    pub async fn ask(&self, host: HostId, ask: Subject, deadline: Duration) -> Result<String> {
        let link = self.of(host);
        let id = self.next_question.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        link.asked.lock().insert(id, Asked { ask, sent: false, reply });
        // Also if the asking request is given up: a host that comes back must not find old questions.
        let _asked = Forgotten { link: link.clone(), id };
        link.news.notify_waiters();
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(Ok(text))) => Ok(text),
            Ok(Ok(Err(why))) => Err(Error::conflict(why)),
            _ => Err(Error::unavailable(
                "The server's host does not answer. Try again; if it stays so, its operator should look at the host.",
            )),
        }
    }
}

/// Removes a question when its waiter is gone.
struct Forgotten {
    link: Arc<Link>,
    id: u64,
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        self.link.asked.lock().remove(&self.id);
    }
}

impl Link {
    /// The questions that have not been sent yet.
    pub fn questions(&self) -> Vec<Question> {
        let mut asked = self.asked.lock();
        let unsent = asked.iter_mut().filter(|(_, asked)| !asked.sent);
        unsent
            .map(|(id, asked)| {
                asked.sent = true;
                Question { id: *id, ask: asked.ask.clone() }
            })
            .collect()
    }

    /// Takes an answer in. An answer to a question that has no waiter any more is dropped.
    pub fn answer(&self, id: u64, result: std::result::Result<String, String>) {
        if let Some(asked) = self.asked.lock().remove(&id) {
            let _ = asked.reply.send(result);
        }
    }
}

/// Follows the commits of each leadership: wakes polls, and removes the bytes of deleted images.
/// `seen` is the State at the beginning.
pub async fn follow(links: Arc<Links>, images: ImageStore, store: Store, mut seen: Arc<State>) {
    let mut leaderships = store.leaderships();
    while leaderships.next().await.is_some() {
        let mut commits = store.subscribe();
        let state = store.state();
        // A store that was restored from a backup may lack images whose bytes are still wanted.
        if seen.incarnation == state.incarnation {
            seen.images.keys().for_each(|id| remove_bytes(&images, *id, &seen, &state));
        }
        seen = state;
        links.wake_all();
        while let Some(commit) = commits.recv().await {
            links.committed(&commit.state, &commit.changes);
            let changed = commit.changes.iter().filter(|(kind, _)| *kind == Kind::Image);
            for id in changed.filter_map(|(_, id)| id.parse().ok()) {
                remove_bytes(&images, id, &seen, &commit.state);
            }
            seen = commit.state.clone();
        }
    }
}

/// Removes the bytes that an image had before and has no more.
fn remove_bytes(images: &ImageStore, id: ImageId, before: &State, after: &State) {
    let file = |state: &State| state.images.get(&id)?.file();
    let gone = file(before).filter(|gone| file(after).as_ref() != Some(gone));
    gone.iter().for_each(|file| images.remove(file));
}
