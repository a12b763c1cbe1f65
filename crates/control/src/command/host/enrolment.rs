//! Enrolment of hosts: join tokens, host certificates, and retirement.
//!
//! ```text
//!             token made           token used              renewed
//!   unknown ────────────▶ expected ──────────▶ enrolled ⟲ ────────
//!      ▲                                          │
//!      └──────────────────── retired ─────────────┘      (a token that replaces: old certificates end at once)
//! ```

use crate::lifecycle::{host::leave_aggregates, loss, migration};
use lenticular_model::{
    EnrolmentId, HostId, JoinTokenId, Kind, ServerId, State, Timestamp, Txn,
    compute::server::Server,
    error::{Error, Result},
    host::{
        enrolment::{Enrolment, HOST_NAME_MAX, Issued, JoinToken, Use, is_host_name},
        host::{Heartbeat, Host},
    },
    policy::{self, Action, Caller},
};
use serde::Serialize;
use std::sync::Arc;

/// The longest validity of a token, in seconds.
pub const TOKEN_LIFE_S_MAX: i64 = 30 * 24 * 3_600;

/// How long a token is kept after its expiry, in seconds, so that a host that shows it learns what became of it.
const TOKEN_KEPT_S: i64 = 7 * 24 * 3_600;

/// The error: a certificate cannot carry the name.
fn bad_name(name: &str) -> Error {
    Error::invalid(format!(
        "'{}' is not a valid host name: it must have 1 to {HOST_NAME_MAX} letters, digits, '-', '_' and \
         single dots, and must not look like an address. Choose another with --name.",
        name.escape_debug().take(HOST_NAME_MAX).collect::<String>()
    ))
}

/// A request for a token.
#[derive(Debug, Clone)]
pub struct TokenAsk {
    /// SHA-256 of its secret, in hex.
    pub secret_sha256: String,
    /// The only host name that the token is valid for.
    pub host_name: Option<String>,
    /// Whether it may replace a host of that name.
    pub replaces: bool,
    /// Its validity in seconds.
    pub valid_for_s: i64,
}

/// Makes a token, for an administrator or (without a caller) for the cloud's own host; returns the time of its
/// expiry.
///
/// # Errors
/// The caller may not, or a host with the name is enrolled and `replaces` is not set.
pub fn make_token(txn: &mut Txn<'_>, caller: Option<&Caller>, ask: TokenAsk) -> Result<Timestamp> {
    if let Some(caller) = caller {
        policy::check(caller, Action::HostEnrol, None)?;
    }
    if !(1..=TOKEN_LIFE_S_MAX).contains(&ask.valid_for_s) {
        return Err(Error::invalid("A token can be good for one second to thirty days."));
    }
    match &ask.host_name {
        Some(name) if !is_host_name(name) => return Err(bad_name(name)),
        Some(name) if !ask.replaces => not_enrolled(txn, name)?,
        None if ask.replaces => {
            return Err(Error::invalid("Name the host to replace."));
        }
        _ => {}
    }
    let past = txn.now.plus_s(-TOKEN_KEPT_S);
    let stale: Vec<JoinTokenId> =
        txn.join_tokens.values().filter(|t| t.expires_at < past).map(|t| t.id.clone()).collect();
    for id in stale {
        txn.delete::<JoinToken>(&id);
    }
    let expires_at = txn.now.plus_s(ask.valid_for_s);
    txn.put(JoinToken {
        id: ask.secret_sha256.as_str().into(),
        created_at: txn.now,
        updated_at: None,
        host_name: ask.host_name,
        replaces: ask.replaces,
        expires_at,
        used: None,
        unknown: Default::default(),
    });
    Ok(expires_at)
}

fn not_enrolled(state: &State, name: &str) -> Result<()> {
    if !state.enrolments.contains_key(&EnrolmentId::from(name)) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "A host called {name} is enrolled already. Choose another name; or, if this is the same machine or its \
         successor, use a token made with `lenticular host enrol {name} --replace`, which ends the old certificate."
    ))
    .coded("NameEnrolled"))
}

/// A host that shows a token.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// SHA-256 of the token's secret, in hex.
    pub secret_sha256: String,
    /// The name that it asks for.
    pub host_name: String,
    /// SHA-256 of its public key, in hex.
    pub key_sha256: String,
}

/// Whether a token admits the newcomer now; returns the token.
///
/// # Errors
/// It does not. The error's code names the rule that refused.
pub fn judge<'s>(state: &'s State, new: &Newcomer, now: Timestamp) -> Result<&'s JoinToken> {
    if !is_host_name(&new.host_name) {
        return Err(bad_name(&new.host_name));
    }
    let refused = |code, why: String| Err(Error::forbidden(why).coded(code));
    let Some(token) = state.join_tokens.get(&JoinTokenId::from(new.secret_sha256.as_str())) else {
        let why = "The token is not from this cloud, or expired long ago. Make a new one with `lenticular host enrol`.";
        return refused("TokenUnknown", why.to_owned());
    };
    let again = token.used.as_ref().map(|used| {
        used.host_name == new.host_name && used.key_sha256 == new.key_sha256 && token.expires_at > now
    });
    if again == Some(false) {
        let why = "The token was used before, and a token enrols one host, once. Make a new one with `lenticular \
             host enrol`. If you did not use it, somebody else did: look at `lenticular host list`.";
        return refused("TokenUsed", why.to_owned());
    }
    if token.expires_at <= now {
        let why = format!(
            "The token expired at {}. Make a new one with `lenticular host enrol`.",
            token.expires_at.iso()
        );
        return refused("TokenExpired", why);
    }
    if let Some(bound) = token.host_name.as_ref().filter(|bound| **bound != new.host_name) {
        let why = format!("The token is for the host {bound} alone. Make one for {}.", new.host_name);
        return refused("TokenForAnother", why);
    }
    if again.is_none() && !token.replaces {
        not_enrolled(state, &new.host_name)?;
    }
    // A known host name has servers and settings. No stranger may take them over.
    let has_past = state.host_named(&new.host_name).is_some();
    if token.host_name.is_none() && has_past && again.is_none() {
        return refused(
            "NameKnown",
            format!(
                "There is a host called {0} already. It needs a token of its name: `lenticular host enrol \
                 {0}`.",
                new.host_name
            ),
        );
    }
    Ok(token)
}

/// Enrols a newcomer with a certificate made for it. Earlier certificates no longer speak for the name.
///
/// # Errors
/// See [`judge`].
pub fn enrol(txn: &mut Txn<'_>, new: &Newcomer, issued: Issued) -> Result<()> {
    let token = judge(txn, new, txn.now)?.id.clone();
    let used = Use { host_name: new.host_name.clone(), key_sha256: new.key_sha256.clone() };
    txn.update::<JoinToken>(&token, |token| token.used = Some(used));
    let id = EnrolmentId::from(new.host_name.as_str());
    let now = txn.now;
    let unknown = Default::default();
    txn.put(Enrolment { id, created_at: now, updated_at: None, current: issued, previous: None, unknown });
    end_session(txn, &new.host_name);
    Ok(())
}

/// Ends the session of an agent that had the name before.
fn end_session(txn: &mut Txn<'_>, name: &str) {
    if let Some(id) = txn.host_named(name).map(|host| host.id) {
        txn.delete::<Heartbeat>(&id);
    }
}

/// Checks that a certificate speaks for a host.
///
/// # Errors
/// It does not, or no longer.
pub fn admitted(state: &State, name: &str, serial: &str) -> Result<()> {
    let Some(enrolment) = state.enrolments.get(&EnrolmentId::from(name)) else {
        let why = format!(
            "The host {name} was retired. To bring it back, enrol it again: `lenticular host enrol {name}`."
        );
        return Err(Error::forbidden(why).coded("HostRetired"));
    };
    if enrolment.certificate(serial).is_some() {
        return Ok(());
    }
    let why = format!(
        "This certificate of the host {name} was revoked, because the name was enrolled again. If this machine is the \
         right one, enrol it again: `lenticular host enrol {name} --replace`."
    );
    Err(Error::forbidden(why).coded("CertificateRevoked"))
}

/// Gives a host a new certificate in exchange for its present certificate.
///
/// # Errors
/// See [`admitted`].
pub fn renew(txn: &mut Txn<'_>, name: &str, shown: &str, issued: Issued) -> Result<()> {
    admitted(txn, name, shown)?;
    txn.update::<Enrolment>(&EnrolmentId::from(name), |enrolment| {
        // The certificate that the host showed stays valid: the host certainly has it.
        enrolment.previous = enrolment.certificate(shown).cloned();
        enrolment.current = issued;
    });
    Ok(())
}

/// The losses with a retired host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// Servers that lost their disks with it.
    pub lost: Vec<ServerId>,
}

/// The number of servers that a refusal names.
const NAMED_MAX: usize = 20;

/// Removes a host from the cloud for good: its certificates are revoked, its session ends, its record is deleted.
///
/// A host with servers stays, unless the host is silent and the operator forces the removal, which declares the
/// host lost. Its servers are not deleted: each is shown in error, without a host.
///
/// # Errors
/// The host does not exist, it has servers, or `force` is set while the host is not silent.
pub fn retire(txn: &mut Txn<'_>, caller: &Caller, name: &str, force: bool) -> Result<Retired> {
    policy::check(caller, Action::HostRetire, None)?;
    let enrolment = EnrolmentId::from(name);
    let host = txn.host_named(name).cloned();
    if host.is_none() && !txn.enrolments.contains_key(&enrolment) {
        return Err(Error::not_found("Host", name));
    }
    let mut retired = Retired { lost: Vec::new() };
    if let Some(host) = host {
        let there = servers_on(txn, host.id);
        if !there.is_empty() {
            may_force(txn, &host, &there, force)?;
            retired.lost = there.into_iter().filter(|id| loss::on_host_lost(txn, *id, name)).collect();
        }
        for server in comes_to(txn, host.id) {
            migration::fail(txn, &server, format!("The target host {name} was retired."));
        }
        leave_aggregates(txn, host.id);
        txn.delete::<Heartbeat>(&host.id);
        txn.delete::<Host>(&host.id);
    }
    txn.delete::<Enrolment>(&enrolment);
    Ok(retired)
}

fn servers_on(state: &State, host: HostId) -> Vec<ServerId> {
    state.servers_on_host(host).map(|server| server.id).collect()
}

/// Servers that are moving to a host.
fn comes_to(state: &State, host: HostId) -> Vec<Arc<Server>> {
    let comes = |s: &&Arc<Server>| s.ticket.as_ref().is_some_and(|ticket| ticket.to == host);
    state.servers.values().filter(comes).cloned().collect()
}

fn may_force(state: &State, host: &Host, there: &[ServerId], force: bool) -> Result<()> {
    if force && host.silent_since.is_some() {
        return Ok(());
    }
    let named = there.iter().take(NAMED_MAX).filter_map(|id| state.servers.get(id));
    let mut list: Vec<String> = named.map(|s| format!("{} ({})", s.name, s.id)).collect();
    if there.len() > NAMED_MAX {
        list.push(format!("{} more", there.len() - NAMED_MAX));
    }
    let what_to_do = match (force, host.silent_since) {
        (true, None) => "It is not silent, so it cannot be forced out: move them away or delete them.",
        (false, Some(_)) => {
            "Bring it back and move them away; or, if the machine is lost for good and their disks with it, use --force."
        }
        _ => "Move them away or delete them.",
    };
    let why = format!("The host {} has servers: {}. {what_to_do}", host.name, list.join(", "));
    Err(Error::conflict(why).coded("HostHasServers"))
}

/// An agent that was refused, as the store keeps it.
#[derive(Debug, Clone, Serialize)]
struct Refused {
    at: Timestamp,
    code: String,
}

/// The one id of the record whose history is the list of refusals.
pub const REFUSALS: &str = "agents";

/// Records a refusal, so that this transaction's commit is in the journal.
pub fn note_refusal(txn: &mut Txn<'_>, code: &str) {
    let refused = Refused { at: txn.now, code: code.to_owned() };
    txn.put_cold(Kind::Refusal, REFUSALS, refused);
}
