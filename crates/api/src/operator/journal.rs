//! The journal for operators: who changed a server, when, by which request, and which fields changed.

use crate::{
    ctx::Ctx,
    fault::Handled,
    operator::{find, host_name},
    respond::json,
};
use axum::extract::Path;
use lenticular_control::command::host::enrolment;
use lenticular_model::{
    Cause, ImageId, Kind, ServerId, State, UserId,
    compute::{
        disk::Disk,
        server::{Server, Shelf},
    },
    error::{Error, Result},
    network::port::Port,
    policy::{self, Action},
};
use lenticular_store::HistoryEntry;
use lenticular_wire::operator::{Change, JournalLine};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// The fields of a new server that the journal shows; the others are the same for every new server.
const TOLD_OF_NEW: &[&str] = &["status", "host", "flavor", "image"];

/// `GET /operator/v1/servers/{server}/journal`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let server = find(&ctx, &text)?;
    let state = &ctx.state;
    let history = ctx.app.store.history(Kind::Server, &server.id.to_string()).await?;
    let mut lines = journal(state, history, &*server, |before, after| changes(state, before, after))?;
    for port in state.ports_of_server(server.id) {
        let history = ctx.app.store.history(Kind::Port, &port.id.to_string()).await?;
        let of_port = journal(state, history, &**port, |before, after| addresses(server.id, before, after))?;
        add(&mut lines, of_port);
    }
    if let Some(disk) = state.root_disk(server.id) {
        let history = ctx.app.store.history(Kind::Disk, &disk.id.to_string()).await?;
        add(&mut lines, journal(state, history, &**disk, generations)?);
    }
    json(200, &lines.into_values().collect::<Vec<_>>())
}

/// Adds the changes of another record to the lines of the same commits.
fn add(lines: &mut BTreeMap<u64, JournalLine>, more: BTreeMap<u64, JournalLine>) {
    for (seq, line) in more.into_iter().filter(|(_, line)| !line.changes.is_empty()) {
        match lines.get_mut(&seq) {
            Some(known) => known.changes.extend(line.changes),
            None => drop(lines.insert(seq, line)),
        }
    }
}

/// The right to write a disk that moved on.
fn generations(before: Option<&Disk>, after: &Disk) -> Vec<Change> {
    let generation = |disk: &Disk| disk.generation.to_string();
    let from = before.map(generation);
    from.and_then(|from| change("disk generation", Some(from), Some(generation(after)))).into_iter().collect()
}

/// `GET /operator/v1/refusals`: agents that were refused for security reasons.
pub async fn refusals(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    let history = ctx.app.store.history(Kind::Refusal, enrolment::REFUSALS).await?;
    json(200, &history.into_iter().map(|entry| line(&ctx.state, entry, Vec::new())).collect::<Vec<_>>())
}

/// A record's journal by commit. The store keeps the record before each commit. The record after a commit is the
/// record before the next.
fn journal<R: DeserializeOwned>(
    state: &State,
    mut history: Vec<HistoryEntry>,
    present: &R,
    changes: impl Fn(Option<&R>, &R) -> Vec<Change>,
) -> Result<BTreeMap<u64, JournalLine>> {
    // The snapshot has the current record. A commit after the snapshot would be compared with the wrong record.
    history.retain(|entry| entry.seq <= state.seq);
    let read = |entry: &HistoryEntry| entry.before.as_deref().map(serde_json::from_str::<R>).transpose();
    let records: Vec<Option<R>> =
        history.iter().map(read).collect::<Result<_, _>>().map_err(Error::internal)?;
    let after = |n: usize| records.get(n + 1).map_or(Some(present), Option::as_ref);
    let lines = history.into_iter().enumerate().map(|(n, entry)| {
        let changed = after(n).map(|after| changes(records[n].as_ref(), after));
        (entry.seq, line(state, entry, changed.unwrap_or_default()))
    });
    Ok(lines.collect())
}

fn line(state: &State, entry: HistoryEntry, changes: Vec<Change>) -> JournalLine {
    let Cause { actor, request_id, why } = entry.cause;
    JournalLine {
        seq: entry.seq,
        at: entry.at.iso(),
        by: name_of(state, &actor),
        actor,
        request_id,
        why,
        changes,
    }
}

/// The name of a user, a host or a part of the control plane; for a deleted user, the id.
fn name_of(state: &State, actor: &str) -> String {
    if let Some(host) = actor.strip_prefix("host/") {
        return format!("host {host}");
    }
    let user = actor.parse().ok().and_then(|id: UserId| state.users.get(&id));
    user.map_or_else(|| actor.to_owned(), |user| user.name.clone())
}

/// The changed facts of a server that operators ask about.
fn changes(state: &State, before: Option<&Server>, after: &Server) -> Vec<Change> {
    let facts_before = before.map(|server| facts(state, server));
    let mut changes = Vec::new();
    for (n, (what, to)) in facts(state, after).into_iter().enumerate() {
        let from = match &facts_before {
            Some(facts) => facts[n].1.clone(),
            None if TOLD_OF_NEW.contains(&what) => None,
            None => continue,
        };
        changes.extend(change(what, from, to));
    }
    let Some(before) = before else { return changes };
    let keys: BTreeSet<&String> = before.metadata.keys().chain(after.metadata.keys()).collect();
    for key in keys {
        let value = |server: &Server| server.metadata.get(key).cloned();
        changes.extend(change(&format!("metadata {key}"), value(before), value(after)));
    }
    if before.interfaces != after.interfaces {
        changes.extend(change("interfaces", None, Some("changed".to_owned())));
    }
    if before.guest_password != after.guest_password {
        changes.extend(change("guest password", None, Some("changed".to_owned())));
    }
    changes
}

fn change(what: &str, from: Option<String>, to: Option<String>) -> Option<Change> {
    (from != to).then(|| Change { what: what.to_owned(), from, to })
}

/// The facts of a server that operators ask about, always in the same order.
fn facts(state: &State, server: &Server) -> Vec<(&'static str, Option<String>)> {
    let image = |id: ImageId| {
        let name = state.images.get(&id).and_then(|image| image.name.clone());
        name.unwrap_or_else(|| id.to_string())
    };
    let shelf = server.shelf.as_deref().map(|shelf| match shelf {
        Shelf::Saving { image_id, .. } => format!("being saved as image {}", image(*image_id)),
        Shelf::Offloaded { image_id } => format!("saved as image {}", image(*image_id)),
    });
    let fault = server.fault.as_ref().map(|fault| format!("{}: {}", fault.code, fault.message));
    let tags: Vec<&str> = server.tags.iter().map(String::as_str).collect();
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    vec![
        ("status", text(server.status())),
        ("host", host_name(state, server.host_id)),
        ("flavor", text(&server.flavor_name)),
        ("image", Some(image(server.image_id))),
        ("task", server.task.as_ref().map(|task| task.action.name().to_owned())),
        ("wanted", Some(format!("{:?}", server.wanted).to_lowercase())),
        ("guest", text(if server.powered { "running" } else { "off" })),
        ("starts", Some(server.boot.to_string())),
        ("moving to", host_name(state, server.ticket.as_ref().map(|ticket| ticket.to))),
        ("way back to", host_name(state, server.unconfirmed.as_ref().map(|last| last.from))),
        ("shelf", shelf),
        ("fault", fault),
        ("name", text(&server.name)),
        ("description", server.description.clone()),
        ("zone asked for", server.wanted_zone.clone()),
        ("locked by", text(server.locked_by())),
        ("tags", text(&tags.join(", "))),
        ("ssh", server.ssh_forward.clone()),
    ]
}

/// The addresses that a server got or lost by a change of a port.
fn addresses(server: ServerId, before: Option<&Port>, after: &Port) -> Vec<Change> {
    let of_server = |port: &Port| {
        let addresses = port.fixed_ips.iter().map(|ip| ip.ip_address.to_string());
        let addresses: Vec<String> = addresses.filter(|_| port.device_id == server.to_string()).collect();
        Some(addresses.join(" ")).filter(|text| !text.is_empty())
    };
    change("addresses", before.and_then(of_server), of_server(after)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::Timestamp;

    fn server(change: impl FnOnce(&mut serde_json::Value)) -> Server {
        let mut doc = serde_json::json!({
            "id": "11111111-1111-4111-8111-111111111111", "created_at": 1, "project_id": "0".repeat(32),
            "user_id": "0".repeat(32), "name": "web", "hostname": "web", "flavor_id": "1", "flavor_name": "m1",
            "size": {"vcpus": 1, "ram_mb": 1, "disk_gb": 1}, "image_id": "22222222-2222-4222-8222-222222222222",
            "base": "", "base_format": "raw", "reservation_id": "r-1", "host_id": null,
            "wanted": "running", "boot": 1, "boot_style": "hard", "condition": "building",
        });
        change(&mut doc);
        serde_json::from_value(doc).unwrap()
    }

    fn told(changes: Vec<Change>) -> Vec<String> {
        let none = || "none".to_owned();
        let text = |c: Change| {
            format!("{}: {} → {}", c.what, c.from.unwrap_or_else(none), c.to.unwrap_or_else(none))
        };
        changes.into_iter().map(text).collect()
    }

    #[test]
    fn a_journal_says_what_each_commit_changed() {
        let mut state = State::new(Default::default(), Timestamp(0));
        state.seq = 9;
        let built = server(|_| {});
        let active = server(|doc| {
            doc["condition"] = "active".into();
            doc["flavor_name"] = "m2".into();
            doc["metadata"] = serde_json::json!({"role": "db"});
        });
        let entry = |seq, actor: &str, before: Option<&Server>| HistoryEntry {
            seq,
            at: Timestamp(0),
            cause: Cause { actor: actor.to_owned(), ..Cause::default() },
            before: before.map(|server| serde_json::to_string(server).unwrap()),
        };
        let history = vec![
            entry(1, "controller", None),
            entry(2, "host/h1", Some(&built)),
            entry(3, "u", Some(&active)),
            entry(10, "u", Some(&built)),
        ];
        let lines =
            journal(&state, history, &active, |before, after| changes(&state, before, after)).unwrap();
        let lines: Vec<JournalLine> = lines.into_values().collect();
        assert_eq!(
            lines.iter().map(|line| line.seq).collect::<Vec<_>>(),
            [1, 2, 3],
            "10 is later than the state"
        );
        assert_eq!(
            lines.iter().map(|line| line.by.as_str()).collect::<Vec<_>>(),
            ["controller", "host h1", "u"]
        );
        let image = built.image_id.to_string();
        let new = ["status: none → BUILD", "flavor: none → m1", &format!("image: none → {image}")];
        assert_eq!(told(lines[0].changes.clone()), new);
        let changed = ["status: BUILD → ACTIVE", "flavor: m1 → m2", "metadata role: none → db"];
        assert_eq!(told(lines[1].changes.clone()), changed);
        assert_eq!(told(lines[2].changes.clone()), [""; 0], "the commit changed nothing that is told");
    }
}
