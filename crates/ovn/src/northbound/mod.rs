//! The northbound rows of a State: pure.
//!
//! ```text
//! record ──changed──▶ keys (dirty) ──▶ rows (a file for each noun) ──▶ operations (diff) ◀── database (actual)
//! ```
//!
//! A row is identified by its table and by the id under [`ID`] in its `external_ids`. A row belongs to exactly one
//! key, and refers to other rows by those ids. A change of State dirties keys. The rows of those keys are compared
//! with the database's rows. The work is the same for an empty, an old or a half-written database, or beside rows
//! of other writers.

pub mod actual;
mod address_group;
pub mod diff;
pub mod dirty;
mod filter;
mod floating_ip;
pub mod key;
mod network;
mod port;
mod probe;
mod qos_policy;
mod router;
pub mod row;
pub mod schema;
mod security_group;
mod subnet;

pub use actual::Actual;
pub use key::Key;
pub use row::{Membership, Row, RowId};
pub use schema::Table;

use lenticular_model::State;

/// The key of our rows' ids in `external_ids`.
pub const ID: &str = "lenticular:id";

/// The rows of a key; none if the key's record does not exist.
pub fn rows_of(state: &State, key: Key) -> Vec<Row> {
    match key {
        Key::Filter => filter::rows(),
        Key::ProbeNetwork => probe::network_rows(),
        Key::Network(id) => network::rows(state, id),
        Key::Subnet(id) => subnet::rows(state, id),
        Key::AddressGroup(id) => address_group::rows(state, id),
        Key::SecurityGroup(id) => security_group::rows(state, id),
        Key::Router(id) => router::rows(state, id),
        Key::Port(id) => port::rows(state, id),
        Key::FloatingIp(id) => floating_ip::rows(state, id),
        Key::Probe(id) => probe::host_rows(state, id),
    }
}

/// Every key of a State.
pub fn all_keys(state: &State) -> Vec<Key> {
    let mut keys = vec![Key::Filter, Key::ProbeNetwork];
    keys.extend(state.networks.keys().copied().map(Key::Network));
    keys.extend(state.subnets.keys().copied().map(Key::Subnet));
    keys.extend(state.address_groups.keys().copied().map(Key::AddressGroup));
    keys.extend(state.security_groups.keys().copied().map(Key::SecurityGroup));
    keys.extend(state.routers.keys().copied().map(Key::Router));
    keys.extend(state.ports.keys().copied().map(Key::Port));
    keys.extend(state.floating_ips.keys().copied().map(Key::FloatingIp));
    keys.extend(state.hosts.keys().copied().map(Key::Probe));
    keys
}
