//! The connections of a listener: how many there may be, and which connection is closed for a new one.
//!
//! A connection waits for the server (a request is whole and its answer is not) or for the client: its request is
//! not complete, or it does not read its answer. A client can stay in its turn as long as it likes, so only
//! connections that wait for their client are closed for others.
//!
//! ```text
//!            request's head            body whole            answer begins         answer whole
//!   Waiting ───────────────▶ Sending ─────────────▶ Working ──────────────▶ Reading ────────────▶ Waiting
//! ```
//!
//! - When all places are taken, a connection is closed: of the address with most such connections, the connection
//!   that has waited longest for its client. Authenticated clients come last.
//! - One address has at most half of the places. Beyond that, its own connections are closed for each other.
//! - If no connection waits for its client, the new connection waits for a while, and no other waits behind it.

use lenticular_model::Lock;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// The side that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The client's: its next request has not begun.
    Waiting,
    /// The client's: the head of its request has arrived, the body has not.
    Sending,
    /// The server's.
    Working,
    /// The client's, if it does not read: its answer is being sent.
    Reading,
}

/// How long a connection waits for a place.
const ENTER_WITHIN: Duration = Duration::from_secs(10);

/// How long an answer must stay unread until its connection may be closed for another.
const UNREAD: Duration = Duration::from_secs(2);

struct Held {
    from: IpAddr,
    turn: Turn,
    /// When the turn began, or bytes were last transferred.
    since: Instant,
    /// True if the client is authenticated.
    is_known: bool,
    close: Arc<Notify>,
}

impl Held {
    fn may_go(&self, now: Instant) -> bool {
        match self.turn {
            Turn::Waiting | Turn::Sending => true,
            Turn::Working => false,
            Turn::Reading => now.duration_since(self.since) >= UNREAD,
        }
    }
}

#[derive(Default)]
struct Table {
    next: u64,
    held: BTreeMap<u64, Held>,
}

/// All connections of a listener.
#[derive(Clone)]
pub struct Connections {
    table: Arc<Lock<Table>>,
    left: Arc<Notify>,
    places: usize,
}

/// A connection's place; dropping it frees the place.
pub struct Place {
    id: u64,
    all: Connections,
    close: Arc<Notify>,
}

impl Connections {
    /// A listener with this many places.
    pub fn new(places: usize) -> Self {
        Self { table: Arc::default(), left: Arc::default(), places: places.max(2) }
    }

    /// Waits for a place for a connection from an address; `None` if no place became free in time.
    pub async fn enter(&self, from: IpAddr) -> Option<Place> {
        let end = now() + ENTER_WITHIN;
        while now() < end {
            let left = self.left.notified();
            if let Some(place) = self.try_enter(from) {
                return Some(place);
            }
            // A connection with an unread answer is closed only after a while.
            let _ = tokio::time::timeout(UNREAD, left).await;
        }
        None
    }

    /// A place for a connection from an address, if there is one now.
    pub fn try_enter(&self, from: IpAddr) -> Option<Place> {
        self.enter_at(from, now())
    }

    fn enter_at(&self, from: IpAddr, now: Instant) -> Option<Place> {
        let from = from.to_canonical();
        let mut table = self.lock();
        let own = table.held.values().filter(|held| held.from == from).count();
        if own >= self.places / 2 {
            close_one(&mut table, &[from], now)?;
        } else if table.held.len() >= self.places {
            let order = crowded(&table);
            close_one(&mut table, &order, now)?;
        }
        let id = table.next;
        table.next += 1;
        let close = Arc::new(Notify::new());
        let held = Held { from, turn: Turn::Waiting, since: now, is_known: false, close: close.clone() };
        table.held.insert(id, held);
        Some(Place { id, all: self.clone(), close })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}

/// The addresses with connections, those with the most connections first.
fn crowded(table: &Table) -> Vec<IpAddr> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    table.held.values().for_each(|held| *counts.entry(held.from).or_default() += 1);
    let mut order: Vec<IpAddr> = counts.keys().copied().collect();
    order.sort_by_key(|address| std::cmp::Reverse(counts[address]));
    order
}

/// Closes a connection of the first address that has a closable one, and removes it from the table at once.
fn close_one(table: &mut Table, addresses: &[IpAddr], now: Instant) -> Option<()> {
    let oldest = |is_known: bool, from: &IpAddr| {
        let own = table.held.iter().filter(|(_, held)| held.from == *from && held.is_known == is_known);
        own.filter(|(_, held)| held.may_go(now)).min_by_key(|(_, held)| held.since).map(|(id, _)| *id)
    };
    let first = |is_known| addresses.iter().find_map(|from| oldest(is_known, from));
    let id = first(false).or_else(|| first(true))?;
    table.held.remove(&id)?.close.notify_one();
    Some(())
}

fn now() -> Instant {
    Instant::now()
}

impl Place {
    fn update(&self, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.all.lock().held.get_mut(&self.id) {
            change(held);
        }
    }

    /// Notes the side that the connection waits for from now on.
    pub fn turn(&self, turn: Turn) {
        self.update(|held| {
            if turn == Turn::Waiting {
                held.is_known = false;
            }
            (held.turn, held.since) = (turn, now());
        });
        if turn == Turn::Waiting {
            self.all.left.notify_one();
        }
    }

    /// Notes that bytes were transferred.
    pub fn goes_on(&self) {
        self.update(|held| held.since = now());
    }

    /// Notes that the client is authenticated.
    pub fn is_known(&self) {
        self.update(|held| held.is_known = true);
    }

    /// Resolves when the connection must close for another.
    pub async fn closed(&self) {
        self.close.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().held.remove(&self.id);
        self.all.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(n: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    fn is_closed(place: &Place) -> bool {
        !place.all.lock().held.contains_key(&place.id)
    }

    #[test]
    fn the_client_that_is_waited_for_longest_makes_room() {
        let (all, now) = (Connections::new(4), now());
        let enter = |n: u8, s: u64| all.enter_at(address(n), now + Duration::from_secs(s));
        let (old, busy) = (enter(1, 0).unwrap(), enter(1, 1).unwrap());
        busy.turn(Turn::Working);
        let (known, other) = (enter(2, 2).unwrap(), enter(3, 3).unwrap());
        known.is_known();
        let fifth = enter(4, 4).unwrap();
        assert!(is_closed(&old) && !is_closed(&busy) && !is_closed(&other));
        // An authenticated client's connection is closed last. A client with a request in work keeps its
        // connection.
        let sixth = enter(5, 5).unwrap();
        assert!(is_closed(&other) && !is_closed(&known));
        fifth.turn(Turn::Working);
        sixth.turn(Turn::Working);
        let seventh = enter(6, 6).unwrap();
        assert!(is_closed(&known));
        seventh.turn(Turn::Working);
        assert!(enter(7, 7).is_none());
        drop(busy);
        assert!(enter(7, 8).is_some());
    }

    #[test]
    fn one_address_takes_at_most_half_of_the_places() {
        let (all, now) = (Connections::new(8), now());
        let places: Vec<Place> = (0..100).filter_map(|_| all.enter_at(address(1), now)).collect();
        assert_eq!(places.iter().filter(|place| !is_closed(place)).count(), 4);
        let others: Vec<Place> = (2..6).filter_map(|n| all.enter_at(address(n), now)).collect();
        assert_eq!(others.len(), 4);
        // All places are taken now: the crowded address loses a connection, the single ones do not.
        let _ninth = all.enter_at(address(9), now).unwrap();
        assert!(others.iter().all(|place| !is_closed(place)));
        // The crowded address's requests in work keep its next connections out.
        let crowd: Vec<&Place> = places.iter().filter(|place| !is_closed(place)).collect();
        crowd.iter().for_each(|place| place.turn(Turn::Working));
        assert!(all.enter_at(address(10), now).is_some());
    }

    #[test]
    fn an_answer_that_is_not_read_makes_room_after_a_while() {
        let (all, now) = (Connections::new(2), now());
        let place = all.enter_at(address(1), now).unwrap();
        place.turn(Turn::Reading);
        assert!(all.enter_at(address(1), now).is_none());
        assert!(all.enter_at(address(1), now + Duration::from_secs(60)).is_some());
        assert!(is_closed(&place));
    }
}
