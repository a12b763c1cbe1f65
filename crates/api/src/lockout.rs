//! Log-ins that failed: who was wrong lately, and whose account is locked for it, as Keystone's `[security_compliance]`
//! has it. Kept in memory: a restart forgets it.

use crate::{settings::SecurityCompliance, turns::Asker};
use lenticular_model::{Timestamp, UserId};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

/// After how many failures within [`WRONG_S`] an asker counts as wrong.
const WRONG_COUNT: u32 = 10;

/// How long a failure counts for that, in seconds.
const WRONG_S: i64 = 60;

/// How many askers and users are remembered; beyond that those whose last failure is oldest are forgotten.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// What is remembered of log-ins that failed.
#[derive(Default)]
pub struct Lockout(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    askers: HashMap<Asker, Failures>,
    users: HashMap<UserId, Failures>,
}

impl Lockout {
    fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True if this asker was mostly wrong in the last minute.
    pub fn is_wrong(&self, asker: Asker, now: Timestamp) -> bool {
        let failures = self.with(|memory| memory.askers.get(&asker).copied().unwrap_or_default());
        failures.count >= WRONG_COUNT && now.since_ms(failures.last) < WRONG_S * 1_000
    }

    /// True if a user's account is locked: no password counts.
    pub fn is_locked(&self, user: UserId, rule: &SecurityCompliance, now: Timestamp) -> bool {
        let Some(most) = rule.lockout_failure_attempts else { return false };
        let failures = self.with(|memory| memory.users.get(&user).copied().unwrap_or_default());
        failures.count >= most && now.since_ms(failures.last) < rule.lockout_duration.saturating_mul(1_000)
    }

    /// Notes a wrong password.
    pub fn failed(&self, asker: Asker, rule: &SecurityCompliance, now: Timestamp) {
        self.with(|memory| {
            note(&mut memory.askers, asker, WRONG_S, now);
            if let Some(user) = asker.user {
                note(&mut memory.users, user, rule.lockout_duration, now);
            }
        });
    }

    /// Notes a right one.
    pub fn succeeded(&self, asker: Asker) {
        self.with(|memory| {
            memory.askers.remove(&asker);
            asker.user.map(|user| memory.users.remove(&user));
        });
    }
}

/// Counts a failure; those before count anew once the last is `life_s` old.
fn note<K: Copy + Eq + Hash>(all: &mut HashMap<K, Failures>, key: K, life_s: i64, now: Timestamp) {
    if all.len() >= REMEMBERED_MAX && !all.contains_key(&key) {
        let oldest = all.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| *key);
        oldest.map(|oldest| all.remove(&oldest));
    }
    let failures = all.entry(key).or_default();
    let is_over = now.since_ms(failures.last) >= life_s.saturating_mul(1_000);
    failures.count = if is_over { 1 } else { failures.count.saturating_add(1) };
    failures.last = now;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn asker(user: u8) -> Asker {
        Asker { from: Ipv4Addr::LOCALHOST.into(), user: Some(UserId::from_random([user; 16])) }
    }

    #[test]
    fn an_account_is_locked_for_its_time_and_only_if_that_is_set() {
        let (lockout, start) = (Lockout::default(), Timestamp(1_000_000_000_000_000));
        let user = asker(1).user.unwrap();
        let rule = SecurityCompliance { lockout_failure_attempts: Some(3), lockout_duration: 60 };
        for n in 0..3 {
            assert!(!lockout.is_locked(user, &rule, start.plus_s(n)));
            lockout.failed(asker(1), &rule, start.plus_s(n));
        }
        assert!(lockout.is_locked(user, &rule, start.plus_s(61)));
        assert!(!lockout.is_locked(user, &SecurityCompliance::default(), start.plus_s(3)));
        assert!(!lockout.is_locked(asker(2).user.unwrap(), &rule, start.plus_s(3)));
        assert!(!lockout.is_locked(user, &rule, start.plus_s(62)));
        // After its time it counts from one again.
        lockout.failed(asker(1), &rule, start.plus_s(62));
        assert!(!lockout.is_locked(user, &rule, start.plus_s(62)));
        lockout.succeeded(asker(1));
        for n in 0..2 {
            lockout.failed(asker(1), &rule, start.plus_s(63 + n));
        }
        assert!(!lockout.is_locked(user, &rule, start.plus_s(65)));
    }

    #[test]
    fn who_is_wrong_is_remembered_for_a_minute_and_within_bounds() {
        let (lockout, start) = (Lockout::default(), Timestamp(1_000_000_000_000_000));
        let rule = SecurityCompliance::default();
        (0..10).for_each(|_| lockout.failed(asker(1), &rule, start));
        assert!(lockout.is_wrong(asker(1), start.plus_s(59)) && !lockout.is_wrong(asker(2), start));
        assert!(!lockout.is_wrong(asker(1), start.plus_s(60)));
        for n in 0..12_000_u32 {
            let from = Ipv4Addr::from(n).into();
            lockout.failed(Asker { from, user: None }, &rule, start.plus_ms(n.into()));
        }
        assert_eq!(lockout.with(|memory| memory.askers.len()), REMEMBERED_MAX);
    }
}
