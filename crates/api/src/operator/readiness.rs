//! What speaks against a host, and what operators overrule, as the operators' API shows it.

use lenticular_model::{
    State, UserId,
    host::{
        host::Host,
        readiness::{self, Line},
    },
};
use lenticular_wire::operator::{OverrideView, ReadinessLine};

/// The name of a user, or its id once the user is gone.
pub fn user_name(state: &State, id: UserId) -> String {
    state.users.get(&id).map_or_else(|| id.to_string(), |user| user.name.clone())
}

/// The overrides of a host.
pub fn overrides<'a>(state: &'a State, host: &'a Host) -> impl Iterator<Item = OverrideView> + 'a {
    host.overrides.iter().map(|(line, one)| OverrideView {
        host: host.name.clone(),
        line: line.clone(),
        reason: one.reason.clone(),
        by: user_name(state, one.user_id),
        until: one.until.iso(),
    })
}

/// What speaks against a host, each line with its override.
pub fn lines(state: &State, host: &Host) -> Vec<ReadinessLine> {
    let mut overrides: Vec<OverrideView> = overrides(state, host).collect();
    let line = |line: Line| {
        let at = overrides.iter().position(|one| one.line == line.name);
        ReadinessLine { name: line.name, text: line.text, overruled: at.map(|at| overrides.swap_remove(at)) }
    };
    readiness::of_host(state, host).into_iter().map(line).collect()
}

/// When a host proved itself, and how; `None` if it has not, as it is now.
pub fn admitted(state: &State, host: &Host) -> Option<String> {
    let admission = host.admission.as_ref().filter(|_| host.is_admitted())?;
    Some(match (&admission.by, &admission.boot_id) {
        (Some((user, reason)), _) => {
            format!("at {} by {}: {reason}", admission.at.iso(), user_name(state, *user))
        }
        (None, Some(_)) => format!("at {}", admission.at.iso()),
        (None, None) => "since before hosts had to prove themselves".to_owned(),
    })
}
