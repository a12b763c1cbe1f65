//! A lock that stays usable after a thread panicked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex around a value that several threads share.
///
/// The standard library's mutex refuses every later caller after a thread panicked while it held the mutex, because
/// the value may be half-changed. A `Lock` ignores that: a request that panics must not stop all others. So use a
/// lock only for values that no panic leaves half-changed, such as a map with one insertion or removal at a time.
#[derive(Debug, Default)]
pub struct Lock<T: ?Sized>(Mutex<T>);

impl<T> Lock<T> {
    /// A lock around a value.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }
}

impl<T: ?Sized> Lock<T> {
    /// Waits until no other thread holds the lock, and takes the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_entered_after_a_panic() {
        let lock = Lock::new(1);
        let panicked = std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let mut held = lock.lock();
                *held = 2;
                panic!("this panic is part of a test");
            });
            holder.join().is_err()
        });
        assert!(panicked && lock.0.is_poisoned());
        assert_eq!(*lock.lock(), 2);
    }
}
