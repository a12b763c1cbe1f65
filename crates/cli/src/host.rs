//! Hosts: `lenticular host`.

use crate::{
    CloudArgs, Unsuccessful,
    client::{Client, escape},
    cloud,
    enrol::{self, EnrolCommand},
    plan::{StartArgs, start},
    table::{Screen, Table, always, dropped},
};
use anyhow::{Context, Result};
use clap::Subcommand;
use lenticular_wire::operator::{
    AdmitAsk, CordonAsk, FenceAsk, HostDetail, HostView, LabelAsk, OverrideAsk, PackagesView,
};
use std::{io::Write, time::Duration};

/// The commands for hosts.
#[derive(Debug, Clone, Subcommand)]
pub enum HostCommand {
    /// Lists hosts: the resources of each, the servers' usage, and whether the host accepts more servers.
    List {
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Shows one host: its servers, arriving servers, and disks that were left behind.
    Show {
        /// Its name.
        name: String,
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Has a host measure its facts and test itself again, as at a start of its agent.
    Check {
        /// Its name.
        name: String,
        /// Waits until the host has done it, and shows the host.
        #[arg(long)]
        wait: bool,
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Has a host run a canary: a small guest that is built, reached, suspended, resumed and removed.
    Canary {
        /// Its name.
        name: String,
        /// Waits until the canary has ended, and shows the host. The exit status is 2 if the host failed, and 3 if it has
        /// not ended in five minutes.
        #[arg(long)]
        wait: bool,
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Enrolment and retirement.
    #[command(flatten)]
    Enrol(EnrolCommand),
    /// Declares a host to be off: it counts as down, and its servers can be evacuated.
    Fence {
        /// Its name.
        name: String,
        /// The host's disks are lost, so its servers can only be made again from their images. Only for a silent host.
        #[arg(long)]
        disks_lost: bool,
        /// Switches the host off first, with this fencing driver of the control plane's configuration.
        #[arg(long, value_name = "DRIVER")]
        by: Option<String>,
    },
    /// Withdraws the declaration that a host is off.
    Unfence {
        /// Its name.
        name: String,
    },
    /// Admits a host as it is now, although its siblings run newer software. Rules still hold.
    Admit {
        /// Its name.
        name: String,
        /// The reason. It is shown with the host.
        #[arg(long)]
        reason: String,
    },
    /// Labels a host with what you know of it: its rack, its power supply, anything.
    Label {
        /// Its name.
        name: String,
        /// NAME=VALUE; NAME= removes the label. May be repeated.
        #[arg(required = true)]
        labels: Vec<String>,
    },
    /// Keeps new servers away from a host; its servers run on.
    Cordon {
        /// Its name.
        name: String,
        /// The reason, for people.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Ends the cordon: the host takes servers again, if it is ready.
    Uncordon {
        /// Its name.
        name: String,
    },
    /// Moves all servers of a host away, and keeps new ones from it. See `lenticular plan show`.
    Drain {
        /// Its name.
        name: String,
        /// How, and how fast.
        #[command(flatten)]
        args: StartArgs,
    },
    /// Boots a host by a plan: its guests leave it or are brought to rest, its action 'reboot' runs, and it proves itself. See
    /// `lenticular plan show`.
    Reboot {
        /// Its name.
        name: String,
        /// What becomes of its guests: they move away, their memory is saved on its disk, or they are stopped.
        #[arg(long, default_value = "move", value_parser = ["move", "suspend", "stop"])]
        guests: String,
        /// An action that the host runs before it boots. More than once: several, in this order.
        #[arg(long, value_name = "ACTION")]
        run: Vec<String>,
        /// What the host should be afterwards, such as kernel=6.1.119-1. If it is so already, nothing is done.
        #[arg(long, value_name = "NAME=VERSION")]
        expect: Option<String>,
        /// How, and how fast.
        #[command(flatten)]
        args: StartArgs,
    },
    /// Has a host run actions that its own configuration allows, by a plan, and prove itself. See `lenticular plan show`.
    Run {
        /// Its name.
        name: String,
        /// The actions, in their order.
        #[arg(required = true)]
        actions: Vec<String>,
        /// What becomes of its guests: they run on, they move away, their memory is saved on its disk, or they are stopped.
        #[arg(long, default_value = "stay", value_parser = ["stay", "move", "suspend", "stop"])]
        guests: String,
        /// What the host should be afterwards, such as agent=0.2.0. If it is so already, nothing is done.
        #[arg(long, value_name = "NAME=VERSION")]
        expect: Option<String>,
        /// How, and how fast.
        #[command(flatten)]
        args: StartArgs,
    },
    /// Starts the servers of a host that are in error and do not run, one first. See `lenticular plan show`.
    Recover {
        /// Its name.
        name: String,
        /// How.
        #[command(flatten)]
        args: StartArgs,
    },
    /// Ends a drain or a reboot, if one is under way: the host has the setting of before. Nothing is moved back.
    Undrain {
        /// Its name.
        name: String,
    },
    /// Overrules one line of a host's readiness (see `host show`) for a time: the host takes servers.
    Override {
        /// Its name.
        name: String,
        /// The line's name: 'rule bad-kernel'.
        line: String,
        /// The reason. It is shown with the host until the override ends.
        #[arg(long, required_unless_present = "end")]
        reason: Option<String>,
        /// How long, in hours; at most 24.
        #[arg(long, value_name = "HOURS", default_value_t = 4.0)]
        hours: f64,
        /// Ends the override.
        #[arg(long, conflicts_with_all = ["reason", "hours"])]
        end: bool,
    },
    /// Removes a disk that no record explains, and the guest that may run on it.
    GiveUp {
        /// The disk's id, from `host show`.
        disk: String,
    },
}

/// Answers a question about hosts, or carries out an action.
///
/// # Errors
/// The cloud cannot be reached, or refuses.
pub fn host(command: &HostCommand, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::login(&cloud::find(cloud)?)?;
    let mut screen = Screen::new(out);
    match command {
        HostCommand::List { json } => list_all(&client, *json, &mut screen),
        HostCommand::Show { name, json } => {
            let host = client.get::<HostDetail>(&format!("/operator/v1/hosts/{}", escape(name)))?;
            match json {
                true => screen.json(&host),
                false => show(&host, &mut screen),
            }
        }
        HostCommand::Check { name, wait, json } => {
            let (host, _) = tell(&client, name, &CHECK, *wait)?;
            show_told(&host, *wait, *json, &mut screen)
        }
        HostCommand::Canary { name, wait, json } => {
            let (host, number) = tell(&client, name, &CANARY, *wait)?;
            show_told(&host, *wait, *json, &mut screen)?;
            if *wait { need_passed(&host, number) } else { Ok(()) }
        }
        HostCommand::Enrol(command) => enrol::enrol(command, &client, &mut screen),
        HostCommand::Fence { name, disks_lost, by } => {
            let ask = FenceAsk { disks_lost: *disks_lost, lift: false, driver: by.clone() };
            fence(&client, name, &ask, &mut screen)
        }
        HostCommand::Unfence { name } => {
            fence(&client, name, &FenceAsk { disks_lost: false, lift: true, driver: None }, &mut screen)
        }
        HostCommand::Override { name, line, reason, hours, end } => {
            let (line, for_s) = (line.clone(), (hours * 3_600.0) as i64);
            let ask = OverrideAsk { line, reason: reason.clone().filter(|_| !*end), for_s };
            let path = format!("/operator/v1/hosts/{}/override", escape(name));
            show(&client.post::<HostDetail>(&path, &ask)?, &mut screen)
        }
        HostCommand::Admit { name, reason } => {
            let path = format!("/operator/v1/hosts/{}/admit", escape(name));
            show(&client.post::<HostDetail>(&path, &AdmitAsk { reason: reason.clone() })?, &mut screen)
        }
        HostCommand::Label { name, labels } => label(&client, name, labels, &mut screen),
        HostCommand::Cordon { name, reason } => {
            cordon(&client, name, &CordonAsk { cordoned: true, reason: reason.clone() }, &mut screen)
        }
        HostCommand::Uncordon { name } => {
            cordon(&client, name, &CordonAsk { cordoned: false, reason: None }, &mut screen)
        }
        HostCommand::Drain { name, args } => {
            start(&client, args, &mut screen, |ask| ask.drain = Some(name.clone()))
        }
        HostCommand::Reboot { name, guests, run, expect, args } => start(&client, args, &mut screen, |ask| {
            (ask.reboot, ask.guests) = (Some(name.clone()), Some(guests.clone()));
            (ask.actions, ask.expect) = (run.clone(), expect.clone());
        }),
        HostCommand::Run { name, actions, guests, expect, args } => {
            start(&client, args, &mut screen, |ask| {
                (ask.run, ask.guests) = (Some(name.clone()), Some(guests.clone()));
                (ask.actions, ask.expect) = (actions.clone(), expect.clone());
            })
        }
        HostCommand::Recover { name, args } => {
            start(&client, args, &mut screen, |ask| ask.recover = Some(name.clone()))
        }
        HostCommand::Undrain { name } => {
            let path = format!("/operator/v1/hosts/{}/undrain", escape(name));
            list(&[client.post::<HostDetail>(&path, &serde_json::json!({}))?.host], &mut screen)
        }
        HostCommand::GiveUp { disk } => give_up(&client, disk, &mut screen),
    }
}

/// How often an outcome is asked for, in milliseconds.
const LOOK_EVERY_MS: u64 = 250;

/// Looks at a host until it has done what it was told. Fails if it has not in this time.
fn wait_for(
    client: &Client,
    path: &str,
    ms_max: u64,
    is_done: impl Fn(&HostDetail) -> bool,
) -> Result<HostDetail> {
    let mut host = client.get::<HostDetail>(path)?;
    for _ in 0..ms_max / LOOK_EVERY_MS {
        if is_done(&host) {
            return Ok(host);
        }
        #[expect(clippy::disallowed_methods, reason = "the host tells the cloud, not this, that it is done")]
        std::thread::sleep(Duration::from_millis(LOOK_EVERY_MS));
        host = client.get::<HostDetail>(path)?;
    }
    let why =
        format!("Host {} has not done it yet. See whether it is up: lenticular host list", host.host.name);
    Err(Unsuccessful::Waiting(why).into())
}

/// What a host is told to do about itself: the last word of its path, how long it may take, and how often it was told to
/// and has done it.
struct Task {
    word: &'static str,
    ms_max: u64,
    asked: fn(&HostDetail) -> u64,
    done: fn(&HostDetail) -> u64,
}

const CHECK: Task =
    Task { word: "check", ms_max: 120_000, asked: |host| host.checks_asked, done: |host| host.checks_done };
const CANARY: Task = Task {
    word: "canary",
    ms_max: 300_000,
    asked: |host| host.canaries_asked,
    done: |host| host.canaries_ended,
};

/// Tells a host to do this, and perhaps waits until it is done. Returns the host, and the number
/// that the host was told.
fn tell(client: &Client, name: &str, task: &Task, wait: bool) -> Result<(HostDetail, u64)> {
    let path = format!("/operator/v1/hosts/{}", escape(name));
    let mut host = client.post::<HostDetail>(&format!("{path}/{}", task.word), &serde_json::json!({}))?;
    let asked = (task.asked)(&host);
    if wait {
        host = wait_for(client, &path, task.ms_max, |host| (task.done)(host) >= asked)?;
    }
    Ok((host, asked))
}

/// Shows a host that was told to do something. Without a wait there is nothing to show yet.
fn show_told<W: Write>(host: &HostDetail, wait: bool, json: bool, screen: &mut Screen<W>) -> Result<()> {
    match (json, wait) {
        (true, _) => screen.json(host),
        (false, true) => show(host, screen),
        (false, false) => {
            screen.line("The host is told to do it. Look at the result with `lenticular host show`.")
        }
    }
}

/// Fails if the host did not pass the canary with this number.
fn need_passed(host: &HostDetail, canary: u64) -> Result<()> {
    if host.canaries_passed >= canary {
        return Ok(());
    }
    let name = &host.host.name;
    let found = host.checks.iter().find(|(check, ..)| check == CANARY.word);
    Err(match found.and_then(|(_, trouble, _)| trouble.as_ref()) {
        Some(why) => Unsuccessful::Refused(format!("Host {name} has not passed: {why}")),
        None => Unsuccessful::Waiting(format!(
            "How the canary of host {name} ended is not known. Run another one."
        )),
    }
    .into())
}

/// Sets labels, each `NAME=VALUE`.
fn label<W: Write>(client: &Client, name: &str, labels: &[String], screen: &mut Screen<W>) -> Result<()> {
    let split = |label: &String| {
        let (name, value) = label
            .split_once('=')
            .with_context(|| format!("'{label}' is no label: write NAME=VALUE, or NAME= to remove it"))?;
        anyhow::Ok((name.to_owned(), value.to_owned()))
    };
    let ask = LabelAsk { labels: labels.iter().map(split).collect::<Result<_>>()? };
    let path = format!("/operator/v1/hosts/{}/labels", escape(name));
    show(&client.post::<HostDetail>(&path, &ask)?, screen)
}

fn cordon<W: Write>(client: &Client, name: &str, ask: &CordonAsk, screen: &mut Screen<W>) -> Result<()> {
    let path = format!("/operator/v1/hosts/{}/cordon", escape(name));
    list(&[client.post::<HostDetail>(&path, ask)?.host], screen)
}

fn fence<W: Write>(client: &Client, name: &str, ask: &FenceAsk, screen: &mut Screen<W>) -> Result<()> {
    let path = format!("/operator/v1/hosts/{}/fence", escape(name));
    list(&[client.post::<HostView>(&path, ask)?], screen)
}

fn give_up<W: Write>(client: &Client, disk: &str, screen: &mut Screen<W>) -> Result<()> {
    let path = format!("/operator/v1/disks/{}/give-up", escape(disk));
    client.post::<serde_json::Value>(&path, &serde_json::json!({}))?;
    screen.line("The disk's host is told to remove it.")
}

fn list_all<W: Write>(client: &Client, json: bool, screen: &mut Screen<W>) -> Result<()> {
    let hosts = client.get::<Vec<HostView>>("/operator/v1/hosts")?;
    if json { screen.json(&hosts) } else { list(&hosts, screen) }
}

fn list<W: Write>(hosts: &[HostView], screen: &mut Screen<W>) -> Result<()> {
    let mut table = Table::new(&[
        always("host"),
        always("state"),
        dropped(1, "why"),
        always("servers"),
        always("vcpus"),
        always("memory MiB"),
        dropped(2, "disk GiB"),
        dropped(3, "zone"),
        dropped(4, "hypervisor"),
        dropped(5, "certificate ends"),
    ]);
    let share = |(taken, all): (u64, u64)| format!("{taken} of {all}");
    for h in hosts {
        table.row([
            &h.name,
            &h.state,
            h.reason.as_deref().unwrap_or_default(),
            &h.servers.to_string(),
            &share(h.vcpus),
            &share(h.memory_mb),
            &share(h.disk_gb),
            &h.zone,
            &h.hypervisor,
            h.certificate_ends.as_deref().unwrap_or_default(),
        ]);
    }
    table.print(screen)
}

fn show<W: Write>(detail: &HostDetail, screen: &mut Screen<W>) -> Result<()> {
    let host = &detail.host;
    list(std::slice::from_ref(host), screen)?;
    let mut table = Table::pairs();
    table.row(["id", &host.id]);
    table.row(["zone", &host.zone]);
    table.row(["aggregates", &detail.aggregates.join(" ")]);
    table.row(["hypervisor", &host.hypervisor]);
    table.row(["cpu", &detail.cpu_model]);
    table.row(["address", &detail.address]);
    table.row(["for other hosts", &detail.peer_address]);
    table.row(["boot id", &detail.boot_id]);
    table.row(["kernel", &detail.kernel]);
    table.row(["agent", &format!("{} (protocol {})", detail.agent, detail.protocol)]);
    for (name, version) in detail.versions.iter().filter(|(name, _)| *name != "agent") {
        let version = if version.is_empty() { "not installed" } else { version };
        table.row([&format!("version of {name}"), version]);
    }
    if let Some(packages) = &detail.packages {
        table.row(["packages", &packages_text(packages)]);
    }
    for (name, value) in &detail.labels {
        table.row([&format!("label {name}"), value]);
    }
    table.row(["admitted", detail.admitted.as_deref().unwrap_or("no")]);
    for line in &detail.readiness {
        let overruled = line
            .overruled
            .as_ref()
            .map(|one| format!("; overruled until {} by {}: {}", one.until, one.by, one.reason));
        table.row([&line.name, &format!("{}{}", line.text, overruled.unwrap_or_default())]);
    }
    for (check, trouble, since) in &detail.checks {
        let result = trouble.as_deref().unwrap_or("passed");
        table.row([&format!("check {check}"), &format!("{result}, since {since}")]);
    }
    if !detail.actions.is_empty() {
        table.row(["allows the actions", &detail.actions.join(" ")]);
    }
    if let Some((name, stands, output)) = &detail.last_action {
        table.row(["last action", &format!("{name}: {stands}")]);
        output.lines().for_each(|line| {
            table.row(["", line]);
        });
    }
    table.row(["last heard of", detail.heard_at.as_deref().unwrap_or("-")]);
    table.row(["certificate ends", host.certificate_ends.as_deref().unwrap_or("-")]);
    if let Some(fence) = &detail.fence {
        table.row(["off", fence]);
    }
    for (id, name, status) in &detail.servers_here {
        table.row(["server", &format!("{name} ({id}), {status}")]);
    }
    for (id, name) in &detail.coming {
        table.row(["server on its way here", &format!("{name} ({id})")]);
    }
    for (disk, server, fate) in &detail.left_behind {
        table.row(["disk left behind", &format!("{disk} of server {server}, {fate}")]);
    }
    table.print(screen)
}

fn packages_text(packages: &PackagesView) -> String {
    let PackagesView { digest, installed, updates, security_updates } = packages;
    let updates = match (updates, security_updates) {
        (Some(updates), Some(security)) => format!("{updates} updates wait, {security} of them for security"),
        _ => "which updates wait is not known".to_owned(),
    };
    format!("{installed} installed (digest {digest}), {updates}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_wire::operator::{OverrideView, ReadinessLine};

    fn view(name: &str, state: &str, reason: Option<&str>) -> HostView {
        HostView {
            id: "7d1f0c52-8a64-4e0b-b1d7-3c9e5a2f6b80".to_owned(),
            name: name.to_owned(),
            zone: "east-1".to_owned(),
            state: state.to_owned(),
            reason: reason.map(str::to_owned),
            hypervisor: "qemu/kvm".to_owned(),
            vcpus: (118, 512),
            memory_mb: (241_664, 515_072),
            disk_gb: (1_820, 7_152),
            servers: 37,
            certificate_ends: Some("2027-02-28T08:00:00Z".to_owned()),
        }
    }

    #[test]
    fn hosts_are_a_table() {
        let up = [view("rack-1-host-07", "up", None), view("rack-1-host-08", "up", None)];
        insta::assert_snapshot!("hosts_that_are_up", Screen::printed(|screen| list(&up, screen)));
        let trouble = [
            view("rack-1-host-07", "up", None),
            view("rack-1-host-08", "disabled", Some("waits for new memory, ticket 4711")),
            view("rack-2-host-11", "silent", Some("since 2026-11-30T09:58:40Z")),
            view("rack-2-host-12", "out of order", Some("/dev/kvm is not there. Load kvm_intel or kvm_amd.")),
        ];
        insta::assert_snapshot!("hosts_with_trouble", Screen::printed(|screen| list(&trouble, screen)));
    }

    #[test]
    fn a_host_is_shown_with_all_that_is_there() {
        let server = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        let detail = HostDetail {
            host: view("rack-1-host-07", "off", Some("since 2026-11-30T10:00:00Z")),
            address: "10.20.1.7".to_owned(),
            peer_address: "10.20.1.7:9172".to_owned(),
            boot_id: "c0a8f3de-52b1-4a77-9e60-1b2d3c4e5f60".to_owned(),
            kernel: "6.1.0-28-amd64".to_owned(),
            agent: "0.1.0".to_owned(),
            protocol: 3,
            versions: [("kernel", "6.1.115-1"), ("qemu", "10.0.2")].map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            packages: Some(PackagesView {
                digest: "9f86d081884c7d65".to_owned(),
                installed: 612,
                updates: Some(14),
                security_updates: Some(3),
            }),
            labels: [("rack".to_owned(), "r1".to_owned())].into(),
            admitted: Some("at 2026-11-30T08:00:00Z".to_owned()),
            readiness: vec![ReadinessLine {
                name: "rule bad-kernel".to_owned(),
                text: "kernel 6.1.115-1 is denied by rule bad-kernel: guests lose time".to_owned(),
                overruled: Some(OverrideView {
                    host: "rack-1-host-07".to_owned(),
                    line: "rule bad-kernel".to_owned(),
                    reason: "the only host with a GPU".to_owned(),
                    by: "admin".to_owned(),
                    until: "2026-11-30T18:00:00Z".to_owned(),
                }),
            }],
            checks: vec![
                ("hypervisor".to_owned(), None, "2026-11-30T08:00:00Z".to_owned()),
                ("network".to_owned(), Some("br-int is gone".to_owned()), "2026-11-30T09:00:00Z".to_owned()),
            ],
            checks_asked: 1,
            checks_done: 1,
            canaries_asked: 0,
            canaries_ended: 0,
            canaries_passed: 0,
            actions: vec!["reboot".to_owned()],
            last_action: Some((
                "reboot".to_owned(),
                "'systemctl' failed with exit status 1".to_owned(),
                "Failed to set wall message, ignoring\nAccess denied\n".to_owned(),
            )),
            cpu_model: "AMD EPYC 9354P 32-Core Processor".to_owned(),
            heard_at: Some("2026-11-30T09:58:40Z".to_owned()),
            fence: Some(
                "declared off, and its disks lost, at 2026-11-30T10:00:00Z by the driver pdu: outlet 14 is off, 0.0 A"
                    .to_owned(),
            ),
            aggregates: vec!["ssd".to_owned(), "gpu".to_owned()],
            servers_here: vec![(
                "11e4a1f0-6b1c-4c53-9f7d-2d5a8c0b9e31".to_owned(),
                "web-1".to_owned(),
                "ACTIVE".to_owned(),
            )],
            coming: vec![server("22e4a1f0-6b1c-4c53-9f7d-2d5a8c0b9e31", "a-server-with-a-long-name-of-63-characters")],
            left_behind: vec![(
                "5b9c7a0e-3f61-4b0c-9d0e-8a6f1c2b4d5e".to_owned(),
                "33e4a1f0-6b1c-4c53-9f7d-2d5a8c0b9e31".to_owned(),
                "kept until 2026-12-07T09:15:22Z".to_owned(),
            )],
        };
        insta::assert_snapshot!(Screen::printed(|screen| show(&detail, screen)));
    }
}
