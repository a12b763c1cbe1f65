//! The order in which passwords are hashed. Hashing costs a core for a while, and anyone may ask for it. So
//! askers take turns: first the addresses, then the users that an address asks for.
//!
//! An address that floods delays others by its turns only. So does a user under a password-guessing attack.

use lenticular_model::{
    Lock, UserId,
    error::{Error, Result},
};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, MutexGuard},
};
use tokio::sync::oneshot;

/// The asker of a password hashing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asker {
    /// The asking address.
    pub from: IpAddr,
    /// The user that owns the password; `None` for every user that does not exist: all of them share one queue.
    pub user: Option<UserId>,
}

/// How many may wait for one user from one address. The real user may wait among attackers.
const WAITING_MAX: usize = 512;

/// How many may wait in all.
const ALL_WAITING_MAX: usize = 4_096;

/// Decides who hashes next.
#[derive(Clone)]
pub struct Turns(Arc<Lock<Queue>>);

/// A turn. When it is dropped, the next asker gets a turn.
pub struct Turn(Turns);

struct Queue {
    free: usize,
    waiting: usize,
    /// Addresses in the order of their turns, each with its users in the order of their turns.
    addresses: VecDeque<(IpAddr, VecDeque<Lane>)>,
    lengths: HashMap<Asker, usize>,
}

struct Lane {
    user: Option<UserId>,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

impl Turns {
    /// Allows `parallel` turns at once.
    pub fn new(parallel: usize) -> Self {
        let queue =
            Queue { free: parallel.max(1), waiting: 0, addresses: VecDeque::new(), lengths: HashMap::new() };
        Self(Arc::new(Lock::new(queue)))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock()
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// Too many askers wait already.
    pub async fn take(&self, asker: Asker) -> Result<Turn> {
        let turn = {
            let mut queue = self.lock();
            if queue.free > 0 {
                queue.free -= 1;
                return Ok(Turn(self.clone()));
            }
            queue.enter(asker)?
        };
        turn.await.map_err(Error::internal)
    }

    fn pass_on(&self) {
        let mut queue = self.lock();
        while let Some(next) = queue.next() {
            // An asker that has gone away is skipped. Its turn must not be dropped here while the queue is
            // locked.
            if next.is_closed() {
                continue;
            }
            drop(queue);
            // If the asker goes away just now, dropping the turn passes it on.
            let _ = next.send(Turn(self.clone()));
            return;
        }
        queue.free += 1;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Queue {
    fn enter(&mut self, asker: Asker) -> Result<oneshot::Receiver<Turn>> {
        let length = self.lengths.get(&asker).copied().unwrap_or_default();
        if length >= WAITING_MAX || self.waiting >= ALL_WAITING_MAX {
            return Err(Error::too_many("Too many logins are waiting. Try again in a second."));
        }
        let at = self.addresses.iter().position(|(address, _)| *address == asker.from);
        let at = at.unwrap_or_else(|| {
            self.addresses.push_back((asker.from, VecDeque::new()));
            self.addresses.len() - 1
        });
        let lanes = &mut self.addresses[at].1;
        let lane = lanes.iter().position(|lane| lane.user == asker.user).unwrap_or_else(|| {
            lanes.push_back(Lane { user: asker.user, waiting: VecDeque::new() });
            lanes.len() - 1
        });
        let (sender, receiver) = oneshot::channel();
        lanes[lane].waiting.push_back(sender);
        *self.lengths.entry(asker).or_default() += 1;
        self.waiting += 1;
        Ok(receiver)
    }

    /// The next asker; its address and its user go to the end of their queues.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (from, mut lanes) = self.addresses.pop_front()?;
        let mut lane = lanes.pop_front()?;
        let next = lane.waiting.pop_front();
        let asker = Asker { from, user: lane.user };
        self.waiting -= 1;
        if let Some(length) = self.lengths.get_mut(&asker) {
            *length -= 1;
        }
        match lane.waiting.is_empty() {
            true => drop(self.lengths.remove(&asker)),
            false => lanes.push_back(lane),
        }
        if !lanes.is_empty() {
            self.addresses.push_back((from, lanes));
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn asker(address: u8, user: Option<u8>) -> Asker {
        let user = user.map(|user| UserId::from_random([user; 16]));
        Asker { from: Ipv4Addr::new(192, 0, 2, address).into(), user }
    }

    /// All waiting askers, in the order of their turns.
    fn order(
        queue: &mut Queue,
        names: &mut Vec<(oneshot::Receiver<Turn>, &'static str)>,
    ) -> Vec<&'static str> {
        let mut said = Vec::new();
        while let Some(next) = queue.next() {
            drop(next);
            let at = names.iter_mut().position(|(receiver, _)| {
                matches!(receiver.try_recv(), Err(oneshot::error::TryRecvError::Closed))
            });
            said.push(names.remove(at.unwrap()).1);
        }
        said
    }

    #[test]
    fn addresses_and_then_users_take_turns() {
        let turns = Turns::new(1);
        let mut queue = turns.lock();
        let mut names = Vec::new();
        let mut enter = |queue: &mut Queue, asker, name| names.push((queue.enter(asker).unwrap(), name));
        for _ in 0..3 {
            enter(&mut queue, asker(1, None), "flood");
        }
        enter(&mut queue, asker(1, Some(7)), "neighbour");
        enter(&mut queue, asker(2, Some(8)), "other");
        let said = order(&mut queue, &mut names);
        assert_eq!(said, ["flood", "other", "neighbour", "flood", "flood"]);
        assert!(queue.addresses.is_empty() && queue.lengths.is_empty() && queue.waiting == 0);
    }

    #[tokio::test]
    async fn a_turn_comes_back_when_its_asker_goes_away() {
        let turns = Turns::new(2);
        let (first, second) = (turns.take(asker(1, None)).await, turns.take(asker(1, None)).await);
        let waits = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(asker(2, None)).await.map(drop) }
        });
        while turns.lock().waiting == 0 {
            tokio::task::yield_now().await;
        }
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        drop((first, second));
        assert_eq!(turns.lock().free, 2);
        let held = [turns.take(asker(1, None)).await, turns.take(asker(1, None)).await];
        for _ in 0..WAITING_MAX {
            turns.lock().enter(asker(3, None)).unwrap();
        }
        let refused = turns.take(asker(3, None)).await.err().unwrap();
        assert_eq!(refused.kind, lenticular_model::error::Kind::TooMany);
        drop(held);
        assert_eq!(turns.lock().free, 2);
    }
}
