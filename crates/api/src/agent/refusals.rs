//! Agents that were refused for security reasons. Each refusal goes into the journal, but a flood is cut.

use crate::app::App;
use lenticular_control::command::host::enrolment::note_refusal;
use lenticular_model::{Cause, Lock, Timestamp, error::Error};
use std::collections::VecDeque;

/// The number of refusals that are written before rationing begins.
const BURST: i64 = 20;

/// The time between two written refusals under rationing, in milliseconds.
const EVERY_MS: i64 = 10_000;

/// The time in which the same refusal of the same agent is not written again, in milliseconds.
const SAME_MS: i64 = 600_000;

/// How many recent refusals are remembered.
const REMEMBERED_MAX: usize = 256;

/// Decides which refusals are written.
#[derive(Default)]
pub struct Refusals(Lock<Ration>);

#[derive(Default)]
struct Ration {
    /// The time up to which written refusals use the ration. Each refusal moves it on, up to a maximum ahead of
    /// now.
    paid_until: Timestamp,
    recent: VecDeque<(String, Timestamp)>,
    unwritten: u64,
}

impl Ration {
    /// How many entries were left out before this entry; `None` if this entry is left out too.
    fn admit(&mut self, what: &str, now: Timestamp) -> Option<u64> {
        self.recent.retain(|(_, at)| now.since_ms(*at) < SAME_MS);
        let ahead_ms = self.paid_until.since_ms(now).max(0);
        let again = self.recent.iter().any(|(said, _)| said == what);
        if again || ahead_ms > (BURST - 1) * EVERY_MS {
            self.unwritten += 1;
            return None;
        }
        self.paid_until = now.plus_ms(ahead_ms + EVERY_MS);
        if self.recent.len() >= REMEMBERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((what.to_owned(), now));
        Some(std::mem::take(&mut self.unwritten))
    }
}

impl App {
    /// Writes a refusal into the journal, unless a similar refusal was written just now. Returns the error, for
    /// the answer.
    pub async fn refuse(&self, actor: String, request_id: String, error: Error) -> Error {
        let what = format!("{actor}: {}", error.code);
        let admitted = self.refusals.0.lock().admit(&what, self.now());
        let Some(unwritten) = admitted else { return error };
        tracing::warn!(actor, code = error.code, refusal = %error.message, "an agent was refused");
        let mut why = format!("refused ({}): {}", error.code, error.message);
        if unwritten > 0 {
            why.push_str(&format!(" [{unwritten} more were refused since the last entry]"));
        }
        let (cause, code) = (Cause { actor, request_id, why }, error.code);
        let written = self.store.transact(cause, move |txn| {
            note_refusal(txn, code);
            Ok(())
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, "the refusal could not be written into the journal");
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_written_once_in_ten_minutes_and_a_flood_is_rationed() {
        let (mut ration, now) = (Ration::default(), Timestamp(1_000_000_000_000_000));
        assert_eq!(ration.admit("a", now), Some(0));
        assert_eq!(ration.admit("a", now), None);
        assert_eq!(ration.admit("b", now), Some(1));
        assert_eq!(ration.admit("a", now.plus_s(601)), Some(0));
        let later = now.plus_s(10_000);
        let written = (0..1_000).filter(|i| ration.admit(&format!("c{i}"), later).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(ration.admit("d", later.plus_s(5)), None);
        assert_eq!(ration.admit("d", later.plus_s(10)), Some(981));
    }
}
