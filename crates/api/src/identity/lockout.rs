//! Accounts that are locked because of wrong passwords, as in Keystone's `[security_compliance]`. An application
//! credential is locked by wrong secrets in the same way, apart from its user. The locks are in memory: a restart
//! clears them.

use crate::settings::SecurityCompliance;
use lenticular_model::{ApplicationCredentialId, Lock, Timestamp, UserId};
use std::{collections::HashMap, sync::MutexGuard};

/// What wrong secrets are counted against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Account {
    /// A user, with a password.
    User(UserId),
    /// An application credential, with its secret.
    ApplicationCredential(ApplicationCredentialId),
}

/// How many accounts are remembered. Beyond that, the account with the oldest last failure is forgotten.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// The remembered wrong passwords.
#[derive(Default)]
pub struct Lockout(Lock<HashMap<Account, Failures>>);

impl Lockout {
    fn lock(&self) -> MutexGuard<'_, HashMap<Account, Failures>> {
        self.0.lock()
    }

    /// True if an account is locked: then no password is accepted.
    pub fn is_locked(&self, account: Account, rule: &SecurityCompliance, now: Timestamp) -> bool {
        let Some(most) = rule.lockout_failure_attempts else { return false };
        let failures = self.lock().get(&account).copied().unwrap_or_default();
        failures.count >= most && now.since_ms(failures.last) < rule.lockout_duration.saturating_mul(1_000)
    }

    /// Notes a wrong password. Earlier ones no longer count once the last one is older than the lock's duration.
    pub fn failed(&self, account: Account, rule: &SecurityCompliance, now: Timestamp) {
        let mut all = self.lock();
        if all.len() >= REMEMBERED_MAX && !all.contains_key(&account) {
            let oldest = all.iter().min_by_key(|(_, failures)| failures.last).map(|(account, _)| *account);
            oldest.map(|oldest| all.remove(&oldest));
        }
        let failures = all.entry(account).or_default();
        let is_over = now.since_ms(failures.last) >= rule.lockout_duration.saturating_mul(1_000);
        failures.count = if is_over { 1 } else { failures.count.saturating_add(1) };
        failures.last = now;
    }

    /// Forgets an account's wrong passwords: after a correct password, or when an administrator clears them.
    pub fn clear(&self, account: Account) {
        self.lock().remove(&account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u16) -> Account {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Account::User(UserId::from_random(bytes))
    }

    #[test]
    fn an_account_is_locked_for_its_time_and_only_if_that_is_set() {
        let (lockout, start) = (Lockout::default(), Timestamp(1_000_000_000_000_000));
        let rule = SecurityCompliance {
            lockout_failure_attempts: Some(3),
            lockout_duration: 60,
            ..Default::default()
        };
        for n in 0..3 {
            assert!(!lockout.is_locked(user(1), &rule, start.plus_s(n)));
            lockout.failed(user(1), &rule, start.plus_s(n));
        }
        assert!(lockout.is_locked(user(1), &rule, start.plus_s(61)));
        assert!(!lockout.is_locked(user(1), &SecurityCompliance::default(), start.plus_s(3)));
        assert!(!lockout.is_locked(user(2), &rule, start.plus_s(3)));
        let Account::User(id) = user(1) else { panic!("not a user") };
        let credential = Account::ApplicationCredential(ApplicationCredentialId(id.0));
        assert!(!lockout.is_locked(credential, &rule, start.plus_s(3)));
        assert!(!lockout.is_locked(user(1), &rule, start.plus_s(62)));
        // After the lock's time, counting starts again from one.
        lockout.failed(user(1), &rule, start.plus_s(62));
        assert!(!lockout.is_locked(user(1), &rule, start.plus_s(62)));
        lockout.clear(user(1));
        for n in 0..2 {
            lockout.failed(user(1), &rule, start.plus_s(63 + n));
        }
        assert!(!lockout.is_locked(user(1), &rule, start.plus_s(65)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (lockout, start) = (Lockout::default(), Timestamp(1_000_000_000_000_000));
        let rule = SecurityCompliance {
            lockout_failure_attempts: Some(1),
            lockout_duration: 600,
            ..Default::default()
        };
        for n in 0..12_000_u16 {
            lockout.failed(user(n), &rule, start.plus_ms(n.into()));
        }
        assert_eq!(lockout.lock().len(), REMEMBERED_MAX);
        assert!(lockout.is_locked(user(11_999), &rule, start.plus_s(60)));
    }
}
