//! The one place that reads the machine's clock and its randomness.

use lenticular_model::{Lock, Timestamp};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A shareable clock.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's time. Certificates use it, because other machines compare them with their own clocks.
#[expect(clippy::disallowed_methods, reason = "this is where time enters; everything else is handed it")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The machine's clock.
pub(crate) fn clock() -> Clock {
    Arc::new(now)
}

/// The cloud's one time: the machine's time, but never before `floor`, never back and never still. If an operator
/// sets the machine's clock back, the cloud's time continues, until the machine's clock has caught up.
///
/// The store, tokens and timers share this time: a token that is issued now is younger than a password that was
/// just set.
#[derive(Clone)]
pub(crate) struct CloudTime(Arc<Lock<(Steady, Instant)>>);

impl CloudTime {
    pub(crate) fn new(floor: Timestamp) -> Self {
        Self(Arc::new(Lock::new((Steady(floor), Instant::now()))))
    }

    /// Never goes back before this time any more.
    pub(crate) fn raise(&self, floor: Timestamp) {
        let at = &mut self.0.lock().0.0;
        *at = floor.max(*at);
    }

    pub(crate) fn now(&self) -> Timestamp {
        let (at, looked) = &mut *self.0.lock();
        let elapsed = looked.elapsed();
        *looked += elapsed;
        at.advance(now(), elapsed)
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = self.clone();
        Arc::new(move || time.now())
    }
}

/// The last returned time.
struct Steady(Timestamp);

impl Steady {
    /// The time when the machine's clock says `wall`, and `elapsed` has passed since the last call.
    fn advance(&mut self, wall: Timestamp, elapsed: Duration) -> Timestamp {
        let elapsed_us = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        self.0 = wall.max(Timestamp(self.0.0.saturating_add(elapsed_us)));
        self.0
    }
}

/// How many ids are fetched at once.
const BATCH: usize = 256;

/// Random ids, fetched from the system many at a time.
pub(crate) fn entropy() -> Box<dyn FnMut() -> [u8; 16] + Send> {
    let mut pool: Vec<[u8; 16]> = Vec::new();
    Box::new(move || {
        loop {
            if let Some(bytes) = pool.pop() {
                return bytes;
            }
            let mut fresh = [[0; 16]; BATCH];
            if getrandom::fill(fresh.as_flattened_mut()).is_ok() {
                pool.extend(fresh);
            } else {
                // Without randomness no id may be issued. The kernel refuses only in the first moments after its
                // start.
                tracing::error!("the system gives no randomness; waiting for it");
                std::thread::yield_now();
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    #[test]
    fn time_goes_on_when_the_clock_is_set_back() {
        let mut steady = Steady(Timestamp(100 * S));
        let second = Duration::from_secs(1);
        // The store's last commit is ahead of the clock at the start.
        assert_eq!(steady.advance(Timestamp(50 * S), second), Timestamp(101 * S));
        // The clock catches up, jumps ahead, and is set back.
        assert_eq!(steady.advance(Timestamp(103 * S), second), Timestamp(103 * S));
        assert_eq!(steady.advance(Timestamp(9_000 * S), second), Timestamp(9_000 * S));
        assert_eq!(steady.advance(Timestamp(105 * S), second), Timestamp(9_001 * S));
        assert_eq!(steady.advance(Timestamp(106 * S), second), Timestamp(9_002 * S));
    }

    #[test]
    fn the_floor_holds_from_the_first_look() {
        let ahead = Timestamp(now().0 + 3_600 * S);
        let (time, raised) = (CloudTime::new(ahead), CloudTime::new(Timestamp(0)));
        let (first, second) = (time.now(), time.now());
        assert!(ahead <= first && first <= second);
        assert!(now().0 - S <= raised.now().0 && raised.now() < ahead);
        raised.raise(ahead);
        assert!(ahead <= raised.now());
        raised.raise(Timestamp(0));
        assert!(ahead <= raised.now());
    }
}
