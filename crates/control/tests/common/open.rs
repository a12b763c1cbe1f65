//! Which hosts take a new server.

use lenticular_control::schedule::{RequestSpec, schedule};
use lenticular_model::State;

/// The names of these hosts, in order.
pub fn open(state: &State) -> Vec<String> {
    let (_, verdict) = schedule(state, &RequestSpec::default());
    let mut names: Vec<String> = verdict.accepted.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}
