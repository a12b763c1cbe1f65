//! Hosts' access to the southbound database: over TLS by the cloud's CA, each host with the rights of its
//! chassis.
//!
//! The database holds all settings, and ovsdb-server follows them while it runs: the listener in the
//! configuration, its certificate files, and the role of clients at that listener. A host's certificate carries
//! its name, which is its chassis's name. The control plane removes what a retired host has left there: no other
//! host may do so, and a new host with its address could not come in.

use crate::{data::write_private, exec};
use anyhow::{Context, Result};
use lenticular_api::App;
use lenticular_model::{EnrolmentId, Kind, State, Timestamp};
use lenticular_store::Commit;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc::UnboundedReceiver;

/// The start arguments of the server for hosts: it reads its settings from the database.
pub(super) const RELAY_WORDS: [&str; 4] = [
    "--remote=db:OVN_Southbound,SB_Global,connections",
    "--private-key=db:OVN_Southbound,SSL,private_key",
    "--certificate=db:OVN_Southbound,SSL,certificate",
    "--ca-cert=db:OVN_Southbound,SSL,ca_cert",
];
/// The role of clients over the network; `ovn-northd` keeps its rights up to date.
const ROLE: &str = "role=ovn-controller";
/// The listener opens only after the role's rights are written. Until then the role has no rights, and hosts are
/// refused.
const ROLE_IS_THERE: [&str; 4] = ["wait-until", "RBAC_Role", "ovn-controller", "--"];
/// How long a silent host counts as present, in milliseconds; a busy host must not be disconnected.
const PROBE_MS: &str = "--inactivity-probe=60000";
const SBCTL_S: &str = "--timeout=30";
/// The pause before a refused change of the database is repeated.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often the certificate and the chassis are checked.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long before its end the certificate is replaced, in seconds: the database serves while the control plane
/// is away.
const RENEW_BEFORE_S: i64 = 300 * 24 * 3_600;

/// Opens or closes the database's listener. Then renews its certificate, and removes retired hosts, until the
/// leadership ends.
pub(super) async fn listen(dir: &Path, ca: &Path, at: Option<SocketAddr>, app: &App) {
    let pem = dir.join("southbound.pem");
    let words = words(at, &pem, ca);
    let (mut fresh_until, mut is_said) = (Timestamp(0), false);
    let (mut commits, mut retired) = (app.store.subscribe(), BTreeSet::new());
    loop {
        let settled = async {
            let now = (app.clocks.machine)();
            if let Some(at) = at.filter(|_| now >= fresh_until || !pem.exists()) {
                let (text, until) = app.authority.issue_database(at.ip(), now).context("no certificate")?;
                write_private(&pem, &text)?;
                fresh_until = until.plus_s(-RENEW_BEFORE_S);
            }
            if !is_said {
                say(dir, &words).await?;
                is_said = true;
            }
            remove_chassis(dir, app, &retired).await
        };
        let pause = match settled.await {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "hosts do not reach the southbound database as they should yet");
                RETRY_AFTER
            }
        };
        // A pause that still receives commits.
        if tokio::time::timeout(pause, note_retired(&mut commits, &mut retired)).await.is_ok() {
            return;
        }
    }
}

/// Notes the names of retired hosts until the commits end. Only a retirement is a reason to act, never an unknown
/// name: after a restore, the store may not know of hosts with running guests.
async fn note_retired(commits: &mut UnboundedReceiver<Arc<Commit>>, retired: &mut BTreeSet<String>) {
    while let Some(commit) = commits.recv().await {
        let enrolments = commit.changes.iter().filter(|(kind, _)| *kind == Kind::Enrolment);
        let gone = enrolments.map(|(_, name)| name).filter(|name| !is_enrolled(&commit.state, name));
        retired.extend(gone.cloned());
    }
}

fn is_enrolled(state: &State, name: &str) -> bool {
    state.enrolments.contains_key(&EnrolmentId::from(name))
}

fn words(at: Option<SocketAddr>, pem: &Path, ca: &Path) -> Vec<String> {
    let Some(at) = at else { return vec!["del-connection".to_owned()] };
    let listener = match at.ip() {
        IpAddr::V4(ip) => format!("pssl:{}:{ip}", at.port()),
        IpAddr::V6(ip) => format!("pssl:{}:[{ip}]", at.port()),
    };
    let (pem, ca) = (pem.display().to_string(), ca.display().to_string());
    let words = ["set-ssl", &pem, &pem, &ca, "--", PROBE_MS, "set-connection", ROLE, &listener];
    ROLE_IS_THERE.iter().chain(&words).map(|word| (*word).to_owned()).collect()
}

async fn say(dir: &Path, words: &[String]) -> Result<String> {
    let db = format!("--db=unix:{}", dir.join("sb.sock").display());
    let mut all = vec!["ovn-sbctl".to_owned(), db, SBCTL_S.to_owned(), "--bare".to_owned(), "--".to_owned()];
    all.extend_from_slice(words);
    exec::run_in_time(&all).await
}

/// Removes the chassis of retired hosts, each time they return: a host that still runs writes its own chassis
/// again.
async fn remove_chassis(dir: &Path, app: &App, retired: &BTreeSet<String>) -> Result<()> {
    if retired.is_empty() {
        return Ok(());
    }
    let words = ["--columns=name", "list", "Chassis"].map(str::to_owned);
    let there = say(dir, &words).await?;
    let state = app.store.state();
    let is_over = |name: &&str| retired.contains(*name) && !is_enrolled(&state, name);
    for name in there.split_whitespace().filter(is_over) {
        tracing::info!(name, "a retired host's chassis is taken out of OVN");
        let words = ["chassis-del", name, "--", "--if-exists", "destroy", "Chassis_Private", name];
        say(dir, &words.map(str::to_owned)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_listens_where_it_is_told_and_trusts_the_clouds_ca() {
        let of = |at: &str| {
            words(at.parse().ok(), Path::new("/d/ovn/southbound.pem"), Path::new("/d/ca.crt")).join(" ")
        };
        let own = "wait-until RBAC_Role ovn-controller -- set-ssl /d/ovn/southbound.pem /d/ovn/southbound.pem /d/ca.crt";
        let listener = "-- --inactivity-probe=60000 set-connection role=ovn-controller";
        assert_eq!(of("10.0.0.1:6642"), format!("{own} {listener} pssl:6642:10.0.0.1"));
        assert_eq!(of("[fd00::1]:6642"), format!("{own} {listener} pssl:6642:[fd00::1]"));
        assert_eq!(of(""), "del-connection");
    }
}
