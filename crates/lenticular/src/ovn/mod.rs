//! The control plane's side of OVN. It runs the databases where no other program serves them, and keeps the
//! northbound database equal to State. OVN's reports about ports become part of State.
//!
//! ```text
//! DATA/ovn/ nb.db nb.sock  sb.db sb.sock  southbound.pem  *.pid *.log
//! ```

mod southbound;

use crate::{
    clock,
    config::{OvnServerConfig, TlsFiles},
    data::DataDir,
    exec,
};
use anyhow::{Context, Result};
use lenticular_agent::daemon::Daemon;
use lenticular_api::App;
use lenticular_control::observe::port;
use lenticular_model::{Cause, PortId};
use lenticular_ovn::{
    ovsdb::Remote,
    sync::{self, Settings, Status, Update},
};
use lenticular_store::Store;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::{
    mpsc::{self, UnboundedReceiver},
    watch,
};

const SCHEMAS: &str = "/usr/share/ovn";
const DIR_VARIABLES: &[&str] =
    &["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVN_RUNDIR", "OVN_LOGDIR", "OVN_DBDIR"];
/// The pause before a refused write of OVN's reports is repeated.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The directory of the OVN daemons' files, in a data directory.
pub(crate) fn dir(data: &Path) -> PathBuf {
    data.join("ovn")
}

/// Whether every part of OVN that a machine needs is installed.
pub(crate) fn is_installed() -> bool {
    let programs =
        ["ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-vswitchd", "ovn-northd", "ovn-controller"];
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
    let is_there = |program: &&str| places.iter().any(|place| Path::new(place).join(program).exists());
    programs.iter().all(is_there) && Path::new(SCHEMAS).join("ovn-nb.ovsschema").exists()
}

/// Starts the missing daemons, and keeps the northbound database equal to State from now on.
///
/// # Errors
/// OVN is not installed, or a database cannot be made.
pub(crate) fn start(data: &DataDir, config: &OvnServerConfig, app: &App) -> Result<()> {
    let dir = dir(&data.path(""));
    let remotes = match &config.northbound {
        Some(northbound) => {
            let tls = config.northbound_tls.as_ref().map(TlsFiles::read).transpose()?;
            Remote::list(northbound, tls.as_ref())?
        }
        None => {
            serve(&dir, config.southbound_listen.is_some())?;
            vec![Remote::Unix(dir.join("nb.sock"))]
        }
    };
    let serves = config.northbound.is_none();
    let (app, ca, at) = (app.clone(), data.path("ca.crt"), config.southbound_listen);
    tokio::spawn(async move {
        let mut leaderships = app.store.leaderships();
        while let Some(epoch) = leaderships.next().await {
            let listen = async {
                if serves {
                    southbound::listen(&dir, &ca, at, &app).await;
                }
            };
            tokio::join!(follow(&app.store, remotes.clone(), epoch), listen);
        }
    });
    Ok(())
}

/// Keeps the northbound database equal to State, and State to the database's reports, until the leadership ends.
async fn follow(store: &Store, remotes: Vec<Remote>, epoch: u64) {
    // Subscribes before it reads the state, so that no commit is missed.
    let commits = forward(store);
    let state = store.state();
    let settings = Settings { remotes, epoch, cloud: state.incarnation };
    let (told, news) = mpsc::unbounded_channel();
    // The receiver ends with the leadership.
    let ports = Box::new(move |ports| drop(told.send(ports)));
    let (status, _) = watch::channel(Status::default());
    let mut entropy = clock::entropy();
    let random = Box::new(move || entropy().iter().fold(0, |n: u64, byte| n << 8 ^ u64::from(*byte)));
    // If another leader took over, the store says so, too, and this leadership ends.
    let synced = sync::run(settings, state, commits, ports, status, random);
    let _ = tokio::join!(synced, note_plugs(store, news));
}

fn forward(store: &Store) -> UnboundedReceiver<Update> {
    let mut commits = store.subscribe();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(commit) = commits.recv().await {
            let update = Update { state: commit.state.clone(), changes: commit.changes.clone() };
            if sender.send(update).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Keeps both databases and northd running.
fn serve(dir: &Path, for_hosts: bool) -> Result<()> {
    anyhow::ensure!(
        is_installed(),
        "OVN is not installed (Debian: tools/install ovn); without --network ovn the cloud does without"
    );
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let dir = dir.canonicalize()?;
    for name in ["nb", "sb"] {
        let (file, schema) = (dir.join(format!("{name}.db")), format!("{SCHEMAS}/ovn-{name}.ovsschema"));
        if !file.exists() {
            exec::run("ovsdb-tool", &["create", &file.display().to_string(), &schema], &[])?;
        }
    }
    for daemon in daemons(&dir, for_hosts) {
        tokio::spawn(daemon.keep(watch::channel(0).0));
    }
    Ok(())
}

fn daemons(dir: &Path, for_hosts: bool) -> Vec<Daemon> {
    let file = |name: String| dir.join(name).display().to_string();
    let daemon = |name: &'static str, program: &'static str, mut args: Vec<String>| {
        args.push(format!("--unixctl={}", file(format!("{name}.ctl"))));
        args.push(format!("--log-file={}", file(format!("{name}.log"))));
        args.extend(["-vconsole:emer", "-vsyslog:emer", "--no-chdir"].map(str::to_owned));
        Daemon { name, program, args, dir: dir.to_owned(), dir_variables: DIR_VARIABLES }
    };
    let remote = |name: &str| format!("--remote=punix:{}", file(format!("{name}.sock")));
    // Hosts have a separate server, which relays. It must not relay the lock that tells northd whether it may
    // work.
    let relayed = [format!("relay:OVN_Southbound:unix:{}", file("sb.sock".to_owned()))];
    let relayed = relayed.into_iter().chain(southbound::RELAY_WORDS.map(str::to_owned)).collect();
    let relay = for_hosts.then(|| daemon("ovsdb-relay", "ovsdb-server", relayed));
    let database = |which: &str, name: &str| format!("--ovn{which}-db=unix:{}", file(format!("{name}.sock")));
    let all = [
        daemon("ovsdb-nb", "ovsdb-server", vec![file("nb.db".to_owned()), remote("nb")]),
        daemon("ovsdb-sb", "ovsdb-server", vec![file("sb.db".to_owned()), remote("sb")]),
        daemon("ovn-northd", "ovn-northd", vec![database("nb", "nb"), database("sb", "sb")]),
    ];
    all.into_iter().chain(relay).collect()
}

/// Ends the daemons of a data directory after its control plane has ended.
///
/// # Errors
/// A daemon does not end.
pub(crate) async fn end(data: &Path) -> std::io::Result<usize> {
    lenticular_agent::daemon::end_all(&dir(data), &["ovn-northd"]).await
}

/// Writes OVN's reports about ports into the store, until they end.
async fn note_plugs(store: &Store, mut news: UnboundedReceiver<Vec<(PortId, bool)>>) {
    let mut pending: BTreeMap<PortId, bool> = BTreeMap::new();
    while let Some(first) = news.recv().await {
        pending.extend(first);
        while !pending.is_empty() {
            while let Ok(more) = news.try_recv() {
                pending.extend(more);
            }
            let state = store.state();
            pending.retain(|id, up| state.ports.get(id).is_some_and(|port| port.plugged != *up));
            let ports: Vec<(PortId, bool)> = pending.iter().map(|(id, up)| (*id, *up)).collect();
            if ports.is_empty() {
                break;
            }
            let cause =
                Cause { actor: "ovn".to_owned(), request_id: String::new(), why: "ports plugged".to_owned() };
            let written = store.transact(cause, move |txn| {
                port::plugged(txn, &ports);
                Ok(())
            });
            match written.await {
                Ok(()) => pending.clear(),
                Err(error) => {
                    if news.is_closed() {
                        return;
                    }
                    tracing::warn!(%error, "what OVN says of ports is not written yet; it is tried again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_reaches_the_databases() {
        let all = daemons(Path::new("/d/ovn"), true);
        let listening = |name: &str| {
            let daemon = all.iter().find(|daemon| daemon.name == name).unwrap();
            daemon.args.iter().filter(|arg| arg.starts_with("--remote=")).cloned().collect::<Vec<_>>()
        };
        assert_eq!(listening("ovsdb-nb"), ["--remote=punix:/d/ovn/nb.sock"]);
        assert_eq!(listening("ovsdb-sb"), ["--remote=punix:/d/ovn/sb.sock"]);
        assert_eq!(listening("ovsdb-relay"), ["--remote=db:OVN_Southbound,SB_Global,connections"]);
        assert_eq!(daemons(Path::new("/d/ovn"), false).len(), 3);
    }
}
