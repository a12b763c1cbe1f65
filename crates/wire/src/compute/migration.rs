//! Migrations as Nova shows them: all of them for operators, and a server's migrations in progress.

use crate::microversion::Microversion;
use lenticular_model::compute::migration::{Migration, MoveProgress, Phase, Purpose};
use serde_json::{Value, json};

/// A migration in `GET /os-migrations`.
pub fn view(m: &Migration, version: Microversion, url: &str) -> Value {
    let mut out = common(m, version);
    out["instance_uuid"] = json!(m.server_id);
    out["old_instance_type_id"] = json!(number_of(m.old_flavor.as_str()));
    out["new_instance_type_id"] = json!(number_of(m.new_flavor.as_str()));
    out["dest_host"] = json!(m.to_name);
    if version.has(23) {
        out["migration_type"] = json!(m.purpose.name());
        if is_live_under_way(m) {
            let href = |base: &str| format!("{base}/servers/{}/migrations/{}", m.server_id, m.number);
            out["links"] = json!([
                {"rel": "self", "href": href(&format!("{url}/compute/v2.1"))},
                {"rel": "bookmark", "href": href(&format!("{url}/compute"))},
            ]);
        }
    }
    out
}

/// A live migration in progress, in `GET /servers/{id}/migrations`, with the transferred bytes.
pub fn of_server(m: &Migration, seen: Option<&MoveProgress>, version: Microversion) -> Value {
    let mut out = common(m, version);
    out["server_uuid"] = json!(m.server_id);
    out["dest_host"] = json!(m.to_name);
    for (name, bytes) in [("memory", seen.map(|s| s.memory)), ("disk", seen.map(|s| s.disk))] {
        let [total, processed, remaining] = bytes.unwrap_or_default();
        for (what, value) in [("total", total), ("processed", processed), ("remaining", remaining)] {
            out[format!("{name}_{what}_bytes")] = json!(value);
        }
    }
    out
}

/// True for the migrations that `GET /servers/{id}/migrations` lists.
pub fn is_live_under_way(m: &Migration) -> bool {
    let moves = matches!(m.phase, Phase::Preparing | Phase::Moving | Phase::Withdrawing { .. });
    moves && m.purpose == Purpose::LiveMigrate
}

fn common(m: &Migration, version: Microversion) -> Value {
    let mut out = json!({
        "id": m.number,
        "status": m.phase.name(m.purpose),
        "source_compute": m.from_name,
        "source_node": m.from_name,
        "dest_compute": m.to_name,
        "dest_node": m.to_name,
        "created_at": m.created_at.iso_naive_us(),
        "updated_at": m.updated_at.map(|at| at.iso_naive_us()),
    });
    if version.has(59) {
        out["uuid"] = json!(m.id);
    }
    if version.has(80) {
        out["user_id"] = json!(m.user_id);
        out["project_id"] = json!(m.project_id);
    }
    out
}

/// A flavor's id as a number, for old clients; `None` if the id is no number.
fn number_of(flavor: &str) -> Option<u64> {
    flavor.parse().ok()
}
