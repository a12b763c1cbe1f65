//! Operators' settings of a host, and their orders about it.

use crate::lifecycle::canary;
use lenticular_model::{
    HostId, Txn,
    error::{Error, Result},
    host::{
        host::PROTOCOL_WITH_HOST_ORDERS,
        host::{Host, Intent, Override},
        readiness,
        rule::check_reason,
    },
    policy::{self, Action, Caller},
};
use std::collections::BTreeMap;

/// Enables a host for new servers, or disables it.
pub fn set_intent(txn: &mut Txn<'_>, caller: &Caller, id: HostId, intent: Intent) -> Result<()> {
    policy::check(caller, Action::ServiceWrite, None)?;
    let host = txn.need::<Host>(&id, || Error::not_found("Service", id))?;
    if let Intent::Draining { plan_id, .. } = &host.intent {
        return Err(Error::conflict(format!(
            "Plan {plan_id} drains host {name}. `lenticular host undrain {name}` ends the drain, and gives the \
             host the setting that it had before.",
            name = host.name
        )));
    }
    txn.update::<Host>(&id, |host| host.intent = intent);
    Ok(())
}

/// The most labels of a host.
const LABELS_MAX: usize = 32;
/// The longest name or value of a label, in bytes.
const LABEL_BYTES_MAX: usize = 64;

/// Sets labels of a host; an empty value removes a label.
///
/// # Errors
/// The caller may not, or a label has a name or a value that does not fit a command line.
pub fn label(txn: &mut Txn<'_>, caller: &Caller, id: HostId, labels: BTreeMap<String, String>) -> Result<()> {
    policy::check(caller, Action::ServiceWrite, None)?;
    let host = txn.need::<Host>(&id, || Error::not_found("Host", id))?;
    let fits = |text: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@".contains(&byte);
        text.len() <= LABEL_BYTES_MAX && text.bytes().all(is_plain)
    };
    let wrong = labels.iter().find(|(name, value)| name.is_empty() || !fits(name) || !fits(value));
    if let Some((name, value)) = wrong {
        return Err(Error::invalid(format!(
            "'{name}={value}' is no label: a name and a value have at most {LABEL_BYTES_MAX} letters, digits and characters \
             of -_.:/@ each."
        )));
    }
    let mut all = host.labels.clone();
    for (name, value) in labels {
        match value.is_empty() {
            true => drop(all.remove(&name)),
            false => drop(all.insert(name, value)),
        }
    }
    if all.len() > LABELS_MAX {
        return Err(Error::invalid(format!("A host has at most {LABELS_MAX} labels, not {}.", all.len())));
    }
    if all != host.labels {
        txn.update::<Host>(&id, |host| host.labels = all);
    }
    Ok(())
}

/// Asks a host to measure its facts and test itself again. Returns the number of the check; the host has carried
/// it out once `Host::checked` is as high.
pub fn check(txn: &mut Txn<'_>, caller: &Caller, id: HostId) -> Result<u64> {
    policy::check(caller, Action::HostCheck, None)?;
    let host = txn.need::<Host>(&id, || Error::not_found("Host", id))?;
    if host.protocol < PROTOCOL_WITH_HOST_ORDERS {
        return Err(Error::conflict(format!(
            "The agent of host {} is too old to check its host on order. Update it; it checks its host at each start.",
            host.name
        )));
    }
    let number = host.order.check + 1;
    txn.update::<Host>(&id, |host| host.order.check = number);
    Ok(number)
}

/// Has a host run a canary. Returns its number; it has ended once `Host::canaries` says so.
///
/// # Errors
/// The caller may not, or the host has no probe port that answers.
pub fn run_canary(txn: &mut Txn<'_>, caller: &Caller, id: HostId) -> Result<u64> {
    policy::check(caller, Action::HostCheck, None)?;
    let host = txn.need::<Host>(&id, || Error::not_found("Host", id))?;
    if !host.answers_probes() {
        return Err(Error::conflict(format!(
            "Host {} cannot run a canary: it is not up, or its agent has no probe port. Canaries run on hosts with OVN.",
            host.name
        )));
    }
    match host.order.canary.as_ref().filter(|_| host.runs_canary(txn.now)) {
        Some(running) => Ok(running.number),
        None => Ok(canary::order(txn, &host)),
    }
}

/// How long an override may last, in seconds.
const OVERRIDE_S_MAX: i64 = 86_400;
const OVERRIDE_S_MIN: i64 = 60;

/// Overrules one line of a host's readiness for a time.
///
/// # Errors
/// The caller may not, the host is silent or fenced, no such line speaks against the host, or the time is too short or
/// too long.
pub fn overrule(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: HostId,
    line: &str,
    (reason, for_s): (String, i64),
) -> Result<()> {
    policy::check(caller, Action::HostOverride, None)?;
    let host = txn.need::<Host>(&id, || Error::not_found("Host", id))?;
    need_up(&host)?;
    check_reason(&reason)?;
    if line == readiness::DARK {
        return Err(Error::conflict(
            "Nobody can overrule that a host is dark: servers there would reach nobody. Repair its network; the host takes \
             servers again after it was well for a minute.",
        ));
    }
    if !(OVERRIDE_S_MIN..=OVERRIDE_S_MAX).contains(&for_s) {
        return Err(Error::invalid(format!(
            "An override lasts at least {OVERRIDE_S_MIN} s and at most 24 h ({OVERRIDE_S_MAX} s), not {for_s} s."
        )));
    }
    let lines = readiness::of_host(txn, &host);
    if lines.iter().all(|known| known.name != line) {
        let names: Vec<String> = lines.into_iter().map(|line| format!("'{}'", line.name)).collect();
        return Err(Error::invalid(match names.is_empty() {
            true => format!("Nothing speaks against host {}, so there is nothing to overrule.", host.name),
            false => format!(
                "The line '{line}' does not speak against host {}. These do: {}.",
                host.name,
                names.join(", ")
            ),
        }));
    }
    let (user_id, until) = (caller.user_id, txn.now.plus_s(for_s));
    txn.update::<Host>(&id, |host| {
        host.overrides.insert(line.to_owned(), Override { reason, user_id, until });
    });
    Ok(())
}

/// Ends the override of a line of a host's readiness.
///
/// # Errors
/// The caller may not, or there is no such override.
pub fn end_override(txn: &mut Txn<'_>, caller: &Caller, id: HostId, line: &str) -> Result<()> {
    policy::check(caller, Action::HostOverride, None)?;
    let host = txn.need::<Host>(&id, || Error::not_found("Host", id))?;
    if !host.overrides.contains_key(line) {
        return Err(Error::not_found_text(format!("Host {} has no override of '{line}'.", host.name)));
    }
    txn.update::<Host>(&id, |host| drop(host.overrides.remove(line)));
    Ok(())
}

/// Admits a host as it is now, in spite of what speaks against it as a host that has not proved itself. Rules still hold.
///
/// # Errors
/// The caller may not, the host is silent or fenced, or the reason is empty or too long.
pub fn admit(txn: &mut Txn<'_>, caller: &Caller, id: HostId, reason: String) -> Result<()> {
    policy::check(caller, Action::HostAdmit, None)?;
    let host = txn.need::<Host>(&id, || Error::not_found("Host", id))?;
    need_up(&host)?;
    check_reason(&reason)?;
    let admission = host.admission_now(txn.now, Some((caller.user_id, reason)));
    txn.update::<Host>(&id, |host| host.admission = Some(admission));
    Ok(())
}

fn need_up(host: &Host) -> Result<()> {
    match host.is_up() {
        true => Ok(()),
        false => Err(Error::conflict(format!(
            "The host {} is silent or declared off. No operator can make it ready.",
            host.name
        ))),
    }
}
