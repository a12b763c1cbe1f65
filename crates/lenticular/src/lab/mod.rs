//! A cloud of several hosts on one machine: each host is a network namespace with its own agent, state directory and
//! guests, on a bridge that only this machine has.
//!
//! ```text
//!   clients ─▶ 127.0.0.1:9170 ┌─────────────┐ 10.199.N.1:9171
//!                             │control plane│───── bridge ─┬──────────────┬─ …
//!                             └─────────────┘         10.199.N.11    10.199.N.12
//!                                                    ┌────────────┐ ┌────────────┐
//!                                                    │host-1 agent│ │host-2 agent│   network namespaces
//!                                                    └────────────┘ └────────────┘
//! ```

pub(crate) mod network;

use crate::{
    command::down::GUEST_GRACE,
    config::NetworkKind,
    exec,
    lab::network::{Wires, ip, open_up},
    ovn,
    process::{end_process, process_runs},
};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long hosts have to join and to finish their probe.
const JOIN_WITHIN: Duration = Duration::from_secs(120);
/// The number of hosts that fit into the lab's address range.
const HOSTS_MAX: u8 = 200;
/// The lab's note, in its directory.
const FILE: &str = "lab.json";
const CONTROL_PLANE: &str = "control-plane";

/// The commands for a lab.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Makes a cloud of several hosts on this machine. Needs root.
    Up(LabUp),
    /// Ends the lab with its guests, and leaves nothing behind.
    Down,
    /// Starts processes of the lab that have ended: all, or one (`control-plane`, `host-1`, …).
    Start {
        /// What to start.
        names: Vec<String>,
    },
    /// Boots a host: its guests, its switch and its agent end, and its agent starts with another boot id. The file
    /// `facts-next.json` in the host's directory becomes its `facts.json`.
    Reboot {
        /// The host.
        name: String,
        /// Does it before the command ends. The host's agent ends with the command that ordered it.
        #[arg(long, hide = true)]
        now: bool,
    },
    /// Lists the lab's processes, and says which of them run.
    Status,
}

/// The options of a lab.
#[derive(Debug, Args)]
pub(crate) struct LabUp {
    /// How many hosts.
    #[arg(long, default_value_t = 3)]
    hosts: u8,
    /// The address for clients.
    #[arg(long, default_value = "127.0.0.1:9170")]
    listen: SocketAddr,
    /// The network driver; OVN if it is installed.
    #[arg(long, value_enum)]
    network: Option<NetworkKind>,
}

/// A lab.
#[derive(Debug, Serialize, Deserialize)]
struct Lab {
    /// The network devices on this machine: the bridge between the hosts first, then one for each host.
    links: Vec<String>,
    /// The network namespaces, one for each host.
    namespaces: Vec<String>,
    /// The lab's processes, by name.
    processes: BTreeMap<String, Process>,
}

/// A process of a lab.
#[derive(Debug, Serialize, Deserialize)]
struct Process {
    command: Vec<String>,
    log: PathBuf,
    pid: u32,
}

/// Carries a command out.
///
/// # Errors
/// The lab does not exist, or exists already; the user has no permission; a tool is missing. Unfinished work is
/// undone.
pub(crate) fn run(dir: &Path, command: &LabCommand, out: &mut impl Write) -> Result<()> {
    match command {
        LabCommand::Up(args) => {
            anyhow::ensure!(
                rustix::process::geteuid().is_root(),
                "a lab needs root: it makes network namespaces"
            );
            anyhow::ensure!((1..=HOSTS_MAX).contains(&args.hosts), "a lab has 1 to {HOSTS_MAX} hosts");
            let file = dir.join(FILE);
            anyhow::ensure!(!file.exists(), "there is a lab in {}; end it with `lab down`", dir.display());
            let foreign = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
            anyhow::ensure!(!foreign, "{} holds something else; name another with --data", dir.display());
            fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
            let dir = dir.canonicalize()?;
            let made = up(&dir, args, out);
            if made.is_err() {
                // The first error is more useful than an error of the clean-up.
                let _ = down(&dir, &mut std::io::sink());
            }
            made
        }
        LabCommand::Down => alone(dir, |dir| down(dir, out)),
        LabCommand::Start { names } => alone(dir, |dir| start(dir, names, out)),
        LabCommand::Reboot { name, now: true } => alone(dir, |dir| reboot(dir, name)),
        LabCommand::Reboot { name, now: false } => reboot_later(&known(dir)?, name, out),
        LabCommand::Status => status(&known(dir)?, out),
    }
}

fn known(dir: &Path) -> Result<PathBuf> {
    let file = dir.join(FILE);
    anyhow::ensure!(file.exists(), "there is no lab in {}; make one with `lab up`", dir.display());
    Ok(dir.canonicalize()?)
}

impl Lab {
    fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes the note before each thing is made, so that `down` always finds the thing.
    fn write(&self, dir: &Path) -> Result<()> {
        let (path, new) = (dir.join(FILE), dir.join("lab.json.new"));
        fs::write(&new, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// Asks the lab's own control plane, even if the caller has other clouds configured.
fn ask(dir: &Path, binary: &str, args: &[&str]) -> Result<serde_json::Value> {
    let clouds = dir.join("clouds.yaml");
    let env = [("OS_CLIENT_CONFIG_FILE", clouds.as_os_str()), ("OS_CLOUD", OsStr::new("lenticular"))];
    serde_json::from_str(&exec::run(binary, args, &env)?).context("the control plane's answer cannot be read")
}

/// A number for the lab's names and addresses; it depends on the directory only.
fn tag(dir: &Path) -> u16 {
    let bytes = dir.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0x9dc5_u16, |hash, byte| (hash ^ u16::from(*byte)).wrapping_mul(0x0193))
}

/// A range that is unused on this machine.
fn free_range(tag: u16) -> Result<u8> {
    let used = ip("-o -4 address show")?;
    let free = (0..=255_u8).map(|n| n.wrapping_add(tag.to_le_bytes()[0]));
    free.into_iter()
        .find(|n| !used.contains(&format!(" 10.199.{n}.")))
        .context("all of 10.199.0.0/16 is in use on this machine")
}

/// Changes a lab while nobody else does.
fn alone(dir: &Path, change: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let dir = known(dir)?;
    let path = dir.join("lab.lock");
    let lock = fs::File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    lock.lock().with_context(|| format!("{} cannot be locked", path.display()))?;
    change(&known(&dir)?)
}

fn up(dir: &Path, args: &LabUp, out: &mut impl Write) -> Result<()> {
    let tag = tag(dir);
    let by_default = if ovn::is_installed() { NetworkKind::Ovn } else { NetworkKind::User };
    let wires = Wires { tag, range: free_range(tag)?, network: args.network.unwrap_or(by_default) };
    let mut lab = Lab { links: wires.links(), namespaces: Vec::new(), processes: BTreeMap::new() };
    lab.write(dir)?;
    wires.make()?;
    let binary = std::env::current_exe()?.display().to_string();
    start_control_plane(dir, &mut lab, &binary, args.listen, wires)?;
    for n in 1..=args.hosts {
        add_host(dir, &mut lab, &binary, n, wires)?;
        writeln!(out, "host-{n} is at {}", wires.address(n))?;
    }
    wait_for_hosts(dir, &binary, usize::from(args.hosts))?;
    if let Some(external) = wires.external() {
        writeln!(out, "physical network external is {external}, with this machine at its first address")?;
    }
    let clouds = dir.join("clouds.yaml");
    writeln!(
        out,
        "\nThe lab is up, with {} hosts.\n\n    export OS_CLIENT_CONFIG_FILE={} OS_CLOUD=lenticular\n    openstack \
         hypervisor list\n    {binary} --data {dir} lab status\n    {binary} --data {dir} lab down",
        args.hosts,
        clouds.display(),
        dir = dir.display()
    )?;
    Ok(())
}

fn start_control_plane(
    dir: &Path,
    lab: &mut Lab,
    binary: &str,
    listen: SocketAddr,
    wires: Wires,
) -> Result<()> {
    let agents = wires.agents();
    let config = dir.join("server.toml");
    let text = format!(
        "data = {:?}\nlisten = \"{listen}\"\nagent_listen = \"{agents}\"\n{}",
        dir.display().to_string(),
        wires.server_config()
    );
    fs::write(&config, text).with_context(|| format!("{} cannot be written", config.display()))?;
    let command =
        vec![binary.to_owned(), "server".to_owned(), "--config".to_owned(), config.display().to_string()];
    launch(dir, lab, CONTROL_PLANE, command)?;
    wait(Duration::from_secs(30), || {
        anyhow::ensure!(
            runs(lab, CONTROL_PLANE),
            "the control plane ended; see {}",
            log_of(dir, CONTROL_PLANE).display()
        );
        Ok(dir.join("lenticular.pid").exists().then_some(()))
    })
    .context("the control plane does not come up")
}

fn add_host(dir: &Path, lab: &mut Lab, binary: &str, n: u8, wires: Wires) -> Result<()> {
    let (name, namespace, agents) = (format!("host-{n}"), wires.namespace(n), wires.agents());
    lab.namespaces.push(namespace.clone());
    lab.links.extend(wires.links_of(n));
    lab.write(dir)?;
    wires.make_host(n)?;
    let state = state_of(dir, &name);
    fs::create_dir_all(&state).with_context(|| format!("{} cannot be made", state.display()))?;
    let token = ask(dir, binary, &["host", "enrol", &name, "--json"])?;
    let token = token["token"].as_str().context("the enrolment gave no token")?.to_owned();
    let (join, state) = (format!("https://{agents}"), state.display().to_string());
    let config = dir.join(format!("{name}.toml"));
    let reboot = [binary, "--data", &dir.display().to_string(), "lab", "reboot", &name];
    fs::write(&config, format!("[actions.reboot]\ncommand = {reboot:?}\n"))
        .with_context(|| format!("{} cannot be written", config.display()))?;
    let config = config.display().to_string();
    let words = [
        "ip", "netns", "exec", &namespace, binary, "agent", "--config", &config, "--name", &name, "--state",
        &state, "--join", &join, "--token", &token,
    ];
    let words = words.map(str::to_owned).into_iter().chain(wires.agent_words(n));
    launch(dir, lab, &name, words.collect())
}

fn state_of(dir: &Path, host: &str) -> PathBuf {
    dir.join("hosts").join(host)
}

fn log_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.log"))
}

fn launch(dir: &Path, lab: &mut Lab, name: &str, command: Vec<String>) -> Result<()> {
    let log = log_of(dir, name);
    let pid = exec::spawn_detached(&command, &log)?;
    lab.processes.insert(name.to_owned(), Process { command, log, pid });
    lab.write(dir)
}

fn runs(lab: &Lab, name: &str) -> bool {
    lab.processes.get(name).is_some_and(|process| process_runs(process.pid))
}

fn wait_for_hosts(dir: &Path, binary: &str, count: usize) -> Result<()> {
    let done = wait(JOIN_WITHIN, || {
        let list = ask(dir, binary, &["host", "list", "--json"])?;
        let up = list.as_array().map_or(0, |list| list.iter().filter(|host| host["state"] == "up").count());
        Ok((up >= count).then_some(()))
    });
    done.context("the hosts do not all come up; their logs stand beside lab.json")
}

#[expect(clippy::disallowed_methods, reason = "other processes can only be looked at again and again")]
fn wait<T>(most: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + most;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < end, "it took longer than {} s", most.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn start(dir: &Path, names: &[String], out: &mut impl Write) -> Result<()> {
    let mut lab = Lab::read(dir)?;
    if let Some(name) = names.iter().find(|name| !lab.processes.contains_key(*name)) {
        anyhow::bail!(
            "the lab has no {name}; it has {}",
            lab.processes.keys().cloned().collect::<Vec<_>>().join(", ")
        );
    }
    // The control plane's name also comes first in the alphabet.
    let ended: Vec<String> = lab.processes.keys().filter(|name| !runs(&lab, name)).cloned().collect();
    for name in ended.into_iter().filter(|name| names.is_empty() || names.contains(name)) {
        let command = lab.processes.get(&name).map(|p| p.command.clone()).unwrap_or_default();
        launch(dir, &mut lab, &name, command)?;
        writeln!(out, "{name} is started")?;
    }
    Ok(())
}

/// Has another process boot a host, and does not wait for it.
fn reboot_later(dir: &Path, name: &str, out: &mut impl Write) -> Result<()> {
    need_host(&Lab::read(dir)?, name)?;
    let binary = std::env::current_exe()?.display().to_string();
    let words = [&binary, "--data", &dir.display().to_string(), "lab", "reboot", "--now", name];
    exec::spawn_detached(&words, &log_of(dir, "reboot"))?;
    writeln!(out, "{name} boots")?;
    Ok(())
}

fn need_host(lab: &Lab, name: &str) -> Result<()> {
    let is_host = name != CONTROL_PLANE && lab.processes.contains_key(name);
    anyhow::ensure!(is_host, "the lab has no host {name}");
    Ok(())
}

fn reboot(dir: &Path, name: &str) -> Result<()> {
    let mut lab = Lab::read(dir)?;
    need_host(&lab, name)?;
    let process = lab.processes.get(name).context("the host has no agent")?;
    let (pid, command, state) = (process.pid, process.command.clone(), state_of(dir, name));
    end_process(pid)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // A host that goes down does not wait for its guests.
    runtime.block_on(lenticular_agent::power_off(&state, Duration::ZERO))?;
    runtime.block_on(lenticular_agent::end_switch(&state))?;
    let (facts, next) = (state.join("facts.json"), state.join("facts-next.json"));
    if next.exists() {
        fs::rename(&next, &facts)?;
    }
    let text = fs::read_to_string(&facts).unwrap_or_else(|_| "{}".to_owned());
    let mut said: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", facts.display()))?;
    let said = said.as_object_mut().with_context(|| format!("{} is damaged", facts.display()))?;
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    said.insert("boot_id".to_owned(), format!("lab-{:016x}", u64::from_le_bytes(random)).into());
    fs::write(&facts, serde_json::to_vec(said)?)?;
    launch(dir, &mut lab, name, command)
}

fn status(dir: &Path, out: &mut impl Write) -> Result<()> {
    let lab = Lab::read(dir)?;
    for (name, process) in &lab.processes {
        let state = if process_runs(process.pid) { "runs" } else { "has ended" };
        writeln!(out, "{name}: process {} {state}, log {}", process.pid, process.log.display())?;
    }
    Ok(())
}

/// Removes everything that was made. Returns the first error, after the rest was removed.
fn down(dir: &Path, out: &mut impl Write) -> Result<()> {
    let lab = Lab::read(dir)?;
    let mut trouble = Ok(());
    let mut note = |result: Result<()>| {
        if trouble.is_ok() {
            trouble = result;
        }
    };
    // Agents first: they should not notice the control plane's end.
    for process in lab.processes.values().rev() {
        note(end_process(process.pid));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for name in lab.processes.keys().filter(|name| *name != CONTROL_PLANE) {
        let stopped = runtime.block_on(lenticular_agent::power_off(&state_of(dir, name), GUEST_GRACE));
        note(stopped.map(drop).with_context(|| format!("the guests of {name} could not be stopped")));
        let ended = runtime.block_on(lenticular_agent::end_switch(&state_of(dir, name)));
        note(ended.map(drop).with_context(|| format!("the switch of {name} could not be ended")));
    }
    let ended = runtime.block_on(ovn::end(dir));
    note(ended.map(drop).context("OVN's databases could not be ended"));
    note(open_up(&lab.links));
    // A namespace's own devices go some time after the namespace, so the visible ones are removed first.
    for link in lab.links.iter().rev().filter(|link| Path::new("/sys/class/net").join(link).exists()) {
        note(ip(&format!("link delete {link}")).map(drop));
    }
    let there = ip("netns list")?;
    for namespace in lab.namespaces.iter().filter(|name| there.split_whitespace().any(|word| word == *name)) {
        note(ip(&format!("netns delete {namespace}")).map(drop));
    }
    trouble?;
    fs::remove_dir_all(dir).with_context(|| format!("{} could not be removed", dir.display()))?;
    writeln!(out, "The lab of {} is gone.", dir.display())?;
    Ok(())
}
