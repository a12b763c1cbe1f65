//! Runs the controllers. Each key that changed or is due is reconciled: first on a snapshot, and in a transaction
//! only if there is something to change.

use crate::clock::Clock;
use lenticular_control::reconcile::{Key, Queue, reconcile, why};
use lenticular_model::{Cause, State, Timestamp, Txn};
use lenticular_store::{Commit, Store};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc::UnboundedReceiver;

/// The longest sleep, so that a changed clock does not leave the controllers asleep.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// Runs in each leadership, until the store closes.
pub(crate) async fn run(store: Store, clock: Clock) {
    let mut leaderships = store.leaderships();
    while leaderships.next().await.is_some() {
        lead(&store, &clock).await;
    }
}

/// Runs until the leadership ends.
async fn lead(store: &Store, clock: &Clock) {
    let mut commits = store.subscribe();
    let mut seen = store.state();
    let mut queue = Queue::of_all(&seen);
    loop {
        while let Ok(commit) = commits.try_recv() {
            note(&mut queue, &mut seen, &commit);
        }
        while let Some(key) = queue.next(clock()) {
            step(store, clock, &mut queue, key).await;
        }
        let wait = queue.next_wake().map_or(SLEEP_MAX, |at| until(at, clock()).min(SLEEP_MAX));
        if !next_commit(&mut commits, &mut queue, &mut seen, wait).await {
            return;
        }
    }
}

/// Wakes the controllers for a commit. The queue began with everything in `seen`, so older commits are ignored.
fn note(queue: &mut Queue, seen: &mut Arc<State>, commit: &Commit) {
    if commit.state.seq > seen.seq {
        queue.committed(seen, &commit.state, &commit.changes);
        *seen = commit.state.clone();
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    let ms = at.since_ms(now).max(0) + 1;
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Waits for a commit, at most `wait`; false once the leadership has ended.
async fn next_commit(
    commits: &mut UnboundedReceiver<Arc<Commit>>,
    queue: &mut Queue,
    seen: &mut Arc<State>,
    wait: Duration,
) -> bool {
    match tokio::time::timeout(wait, commits.recv()).await {
        Ok(Some(commit)) => {
            note(queue, seen, &commit);
            true
        }
        Ok(None) => false,
        Err(_) => true,
    }
}

/// The result of reconciling a key on a snapshot.
enum Trial {
    /// Nothing to change. The key is due again at this time, if any.
    Settled(Option<Timestamp>),
    /// Something to change.
    Changes,
}

fn try_out(store: &Store, now: Timestamp, key: Key) -> Trial {
    // The trial's result is dropped, so its ids need not be random.
    let mut no_ids = || [0; 16];
    let state = store.state();
    let mut trial = Txn::new(&state, now, &mut no_ids);
    let wake = reconcile(key, &mut trial);
    if trial.is_empty() { Trial::Settled(wake) } else { Trial::Changes }
}

async fn step(store: &Store, clock: &Clock, queue: &mut Queue, key: Key) {
    if let Trial::Settled(wake) = try_out(store, clock(), key.clone()) {
        queue.wake(key, wake);
        return;
    }
    let cause = Cause { actor: "controller".to_owned(), request_id: String::new(), why: why(&key) };
    let again = key.clone();
    match store.transact(cause, move |txn| Ok(reconcile(again, txn))).await {
        Ok(wake) => queue.wake(key, wake),
        Err(error) => {
            tracing::warn!(%error, key = ?key, "a controller's step could not be committed; it is tried again");
            queue.wake(key, Some(clock().plus_s(1)));
        }
    }
}
