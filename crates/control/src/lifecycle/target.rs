//! What a server needs of the host that it moves to, for the scheduler.

use crate::schedule::{Moves, Planned, RequestSpec};
use lenticular_model::{
    State,
    compute::{
        migration::{FlavorSnapshot, Purpose},
        server::{Server, Wanted},
    },
    host::host::{PROTOCOL_WITH_DISKS, PROTOCOL_WITH_SUSPEND},
};

/// The request for a server's target: what it asked for at its creation, and what a move adds.
pub fn spec(state: &State, server: &Server, snapshot: &FlavorSnapshot, purpose: Purpose) -> RequestSpec {
    let from = server.host_id.unwrap_or_default();
    let source = state.hosts.get(&from);
    let whole = RequestSpec::of_server(state, server);
    let live = purpose == Purpose::LiveMigrate;
    let newer = live && (server.layout > 1 || server.wanted == Wanted::Paused);
    let protocol = if newer { PROTOCOL_WITH_DISKS.max(PROTOCOL_WITH_SUSPEND) } else { whole.protocol };
    RequestSpec {
        size: Some(snapshot.size),
        protocol,
        extra_specs: snapshot.extra_specs.clone(),
        arch: source.map(|host| host.hypervisor.arch.clone()).filter(|arch| !arch.is_empty()),
        moves: Some(Moves {
            from,
            live,
            may_stay: purpose == Purpose::Resize,
            has: server.size,
            planned: Planned::default(),
        }),
        ..whole
    }
}
