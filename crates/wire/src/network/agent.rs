//! A host's network agent as Neutron shows it.

use lenticular_model::{State, Timestamp, host::host::Host};
use serde_json::{Value, json};

/// A time in the format of agents: without a zone, and with a blank between day and hour.
fn plain(time: Timestamp) -> String {
    time.iso().replace('T', " ").trim_end_matches('Z').to_owned()
}

/// The agent of a host, which connects its ports.
pub fn view(state: &State, host: &Host) -> Value {
    let heard = state.heartbeats.get(&host.id).map(|c| c.at);
    let seen = heard.or(host.updated_at).unwrap_or(host.created_at);
    json!({
        "id": host.id,
        "agent_type": "OVN Controller agent",
        "binary": "ovn-controller",
        "topic": "n/a",
        "host": host.name,
        "availability_zone": host.zone,
        "alive": host.is_up() && host.network_trouble().is_none(),
        "admin_state_up": host.is_enabled(),
        "description": host.network_trouble().unwrap_or_default(),
        "configurations": {},
        "resources_synced": null,
        "created_at": plain(host.created_at),
        "started_at": plain(host.created_at),
        "heartbeat_timestamp": plain(seen),
    })
}
