//! The one place that reads the machine's clock and its randomness.

use lenticular_model::Timestamp;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// The time.
#[allow(clippy::disallowed_methods, reason = "this is where time enters; everything else is handed it")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The time, to hand around.
pub fn clock() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    Arc::new(now)
}

/// How much randomness is fetched at once, in ids.
const BATCH: usize = 256;

/// Random ids, fetched from the system many at a time.
pub fn entropy() -> Box<dyn FnMut() -> [u8; 16] + Send> {
    let mut pool: Vec<[u8; 16]> = Vec::new();
    Box::new(move || loop {
        if let Some(bytes) = pool.pop() {
            return bytes;
        }
        let mut fresh = [[0; 16]; BATCH];
        if getrandom::fill(fresh.as_flattened_mut()).is_ok() {
            pool.extend(fresh);
        } else {
            // Without randomness no id may be given out. The kernel refuses only in the first moments after its start.
            tracing::error!("the system gives no randomness; waiting for it");
            std::thread::yield_now();
        }
    })
}
