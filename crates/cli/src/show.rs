//! How answers are printed.

use anyhow::Result;
use comfy_table::{presets::UTF8_FULL_CONDENSED, Table};
use lenticular_wire::operator::{
    DiskView, EnrolToken, Explanation, HostDetail, HostView, JournalLine, ProjectThing, RetiredView, Where,
};
use std::{collections::BTreeMap, io::Write};

fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(head);
    table
}

/// Where a server is.
pub fn whereabouts(w: &Where, out: &mut impl Write) -> Result<()> {
    let mut table = table(["", ""]);
    let none = || "-".to_owned();
    table.add_row(["server", &format!("{} ({})", w.name, w.id)]);
    table.add_row(["status", &format!("{}, wanted {}", w.status, w.wanted)]);
    table.add_row(["assigned to", &w.host.clone().unwrap_or_else(none)]);
    table.add_row(["runs there", if w.powered { "yes, when last seen" } else { "no, when last seen" }]);
    table.add_row(["host heard of", &w.host_heard_at.clone().unwrap_or_else(none)]);
    if let Some(since) = &w.host_silent_since {
        table.add_row(["host silent since", since]);
    }
    table.add_row(["disk generation", &w.disk_generation.to_string()]);
    table.add_row(["addresses", &w.addresses.join(" ")]);
    if let Some(forward) = &w.ssh_forward {
        let (host, port) = forward.rsplit_once(':').unwrap_or((forward, "22"));
        table.add_row(["ssh", &format!("ssh -p {port} lenticular@{host}")]);
    }
    if let Some(m) = &w.moving {
        table.add_row(["moving to", &format!("{} ({}): {}", m.to, m.status, m.step)]);
        let (done, all) = (m.bytes.0 >> 20, m.bytes.1 >> 20);
        let end = m.expected_end.clone().unwrap_or_else(none);
        let dirty = m.dirty_bytes_per_s >> 20;
        table.add_row(["progress", &format!("{done} of {all} MiB, {dirty} MiB/s rewritten, over at {end}")]);
        table.add_row(["given up at", &m.deadline]);
    }
    for disk in &w.left_behind {
        let fate = disk.kept_until.as_ref().map_or("to be removed".to_owned(), |t| format!("kept until {t}"));
        let what = format!("{}, generation {}, {fate} ({})", disk.host, disk.generation, disk.why);
        table.add_row(["disk left on", &what]);
    }
    for (until, host) in &w.history {
        table.add_row([&format!("until {until}"), host]);
    }
    Ok(writeln!(out, "{table}")?)
}

/// A text of somebody else's as it may stand on a terminal.
pub fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// What a project has.
pub fn things(things: &[ProjectThing], out: &mut impl Write) -> Result<()> {
    let mut table = table(["what", "id", "name", "why it is still there"]);
    for thing in things {
        let (name, why) = (printable(&thing.name), printable(thing.why.as_deref().unwrap_or_default()));
        table.add_row([&thing.noun, &thing.id, &name, &why]);
    }
    Ok(writeln!(out, "{table}")?)
}

/// Disks that a server left behind.
pub fn disks(disks: &[DiskView], out: &mut impl Write) -> Result<()> {
    let mut table = table(["disk", "host", "generation", "kept until", "why"]);
    for d in disks {
        let kept = d.kept_until.clone().unwrap_or_else(|| "to be removed".to_owned());
        table.add_row([&d.id, &d.host, &d.generation.to_string(), &kept, &d.why]);
    }
    Ok(writeln!(out, "{table}")?)
}

/// Why a server is where it is.
pub fn explanation(e: &Explanation, out: &mut impl Write) -> Result<()> {
    match &e.chosen {
        Some(host) => writeln!(out, "{} ({}) was placed on {host}.", e.name, e.id)?,
        None => writeln!(out, "{} ({}) found no host.", e.name, e.id)?,
    }
    let mut table = table(["host", "verdict", "why"]);
    for (host, weight) in &e.accepted {
        table.add_row([host, "passed", &format!("weight {weight:.3}")]);
    }
    let more = e.accepted_count.saturating_sub(e.accepted.len());
    if more > 0 {
        table.add_row([format!("{more} more"), "passed".into(), "with less weight".into()]);
    }
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for refusal in &e.refused {
        *named.entry(&refusal.filter).or_default() += refusal.hosts.len();
        for host in &refusal.hosts {
            table.add_row([host, &format!("refused by {}", refusal.filter), &refusal.reason]);
        }
    }
    for (filter, count) in &e.counts {
        let more = count.saturating_sub(named.get(filter.as_str()).copied().unwrap_or_default());
        if more > 0 {
            table.add_row([format!("{more} more"), format!("refused by {filter}"), String::new()]);
        }
    }
    writeln!(out, "{table}")?;
    filters(e, out)
}

/// What every filter says now.
fn filters(e: &Explanation, out: &mut impl Write) -> Result<()> {
    if e.now.is_empty() {
        return Ok(());
    }
    writeln!(out, "If it were placed now, of {} hosts:", e.now_count)?;
    let mut table = table(["host", "weight", "filter", "says"]);
    for word in &e.now {
        let weight = word.weight.map_or_else(|| "-".to_owned(), |weight| format!("{weight:.3}"));
        for (n, (filter, refusal)) in word.words.iter().enumerate() {
            let (host, weight) = if n == 0 { (word.host.as_str(), weight.as_str()) } else { ("", "") };
            table.add_row([host, weight, filter, refusal.as_deref().unwrap_or("passes")]);
        }
    }
    let more = e.now_count.saturating_sub(e.now.len());
    if more > 0 {
        table.add_row([format!("{more} more"), String::new(), String::new(), String::new()]);
    }
    Ok(writeln!(out, "{table}")?)
}

/// What changed a server.
pub fn journal(lines: &[JournalLine], out: &mut impl Write) -> Result<()> {
    let mut table = table(["commit", "at", "by", "request", "what for"]);
    for line in lines {
        table.add_row([&line.seq.to_string(), &line.at, &line.actor, &line.request_id, &line.why]);
    }
    Ok(writeln!(out, "{table}")?)
}

/// A token for a host, and what to do with it.
pub fn token(made: &EnrolToken, out: &mut impl Write) -> Result<()> {
    writeln!(out, "{}\n", made.token)?;
    let name = made.name.as_ref().map(|name| format!(" --name {name}")).unwrap_or_default();
    writeln!(out, "It lets one host in, until {}. On that host:\n", made.expires_at)?;
    let (join, token) = (&made.join, &made.token);
    Ok(writeln!(
        out,
        "    lenticular agent --join {join} --state /var/lib/lenticular-agent{name} --token {token}"
    )?)
}

/// A host that was retired.
pub fn retired(retired: &RetiredView, out: &mut impl Write) -> Result<()> {
    writeln!(out, "The host {} is retired: the control plane takes its certificate no more.", retired.name)?;
    for server in &retired.lost {
        writeln!(out, "Server {server} lost its disk with it, and is in error.")?;
    }
    Ok(())
}

/// All hosts.
pub fn hosts(hosts: &[HostView], out: &mut impl Write) -> Result<()> {
    let mut table = table([
        "host",
        "zone",
        "state",
        "why",
        "runs",
        "vcpus",
        "memory MiB",
        "disk GiB",
        "servers",
        "certificate ends",
    ]);
    let share = |(taken, all): (u64, u64)| format!("{taken} of {all}");
    for h in hosts {
        table.add_row([
            h.name.clone(),
            h.zone.clone(),
            h.state.clone(),
            h.reason.clone().unwrap_or_default(),
            h.hypervisor.clone(),
            share(h.vcpus),
            share(h.memory_mb),
            share(h.disk_gb),
            h.servers.to_string(),
            h.certificate_ends.clone().unwrap_or_default(),
        ]);
    }
    Ok(writeln!(out, "{table}")?)
}

/// All that is known of one host.
pub fn host(detail: &HostDetail, out: &mut impl Write) -> Result<()> {
    hosts(std::slice::from_ref(&detail.host), out)?;
    let mut table = table(["", ""]);
    let none = || "-".to_owned();
    table.add_row(["id", &detail.host.id]);
    table.add_row(["address", &detail.address]);
    table.add_row(["for other hosts", &detail.peer_address]);
    table.add_row(["boot id", &detail.boot_id]);
    table.add_row(["cpu", &detail.cpu_model]);
    table.add_row(["heard of", &detail.heard_at.clone().unwrap_or_else(none)]);
    if let Some(fence) = &detail.fence {
        table.add_row(["off", fence]);
    }
    table.add_row(["aggregates", &detail.aggregates.join(" ")]);
    for (id, name, status) in &detail.servers_here {
        table.add_row(["server", &format!("{name} ({id}), {status}")]);
    }
    for (id, name) in &detail.coming {
        table.add_row(["on its way here", &format!("{name} ({id})")]);
    }
    for (disk, server, fate) in &detail.left_behind {
        table.add_row(["disk left behind", &format!("{disk} of server {server}, {fate}")]);
    }
    Ok(writeln!(out, "{table}")?)
}
