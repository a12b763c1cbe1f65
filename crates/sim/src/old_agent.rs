//! Agents of version 2: their messages, written and read in that version.

use crate::world::World;
use lenticular_model::{
    compute::server::{Server, Wanted},
    host::{evidence::NETWORK, observation::Observation},
};
use lenticular_wire::agent::{Facts, Orders, Registration, Report, read_registration, v2};
use serde_json::{Value, json};

/// The registration as a version 2 agent sends it.
fn hello(registration: &Registration) -> Value {
    let Facts { boot_id, address, peer_address, capacity, hypervisor, .. } = &registration.facts;
    let mut hypervisor = json!(hypervisor);
    let network = registration.evidence.iter().find(|seen| seen.check == NETWORK);
    hypervisor["wiring"]["trouble"] = json!(network.and_then(|seen| seen.trouble.clone()));
    json!({
        "version": v2::VERSION, "host_name": registration.host_name, "boot_id": boot_id, "address": address,
        "peer_address": peer_address, "zone": registration.zone, "capacity": capacity,
        "hypervisor": hypervisor, "incarnation": registration.incarnation,
        "applied_upto": registration.applied_upto, "inventory": without_layouts(&registration.inventory),
    })
}

/// Version 2 has no layouts.
fn without_layouts(guests: &[Observation]) -> Vec<Observation> {
    guests.iter().map(|seen| Observation { layout: 0, ..seen.clone() }).collect()
}

/// The report as a version 2 agent sends it.
fn report(report: &Report) -> Value {
    json!({
        "session": report.session, "number": report.number, "incarnation": report.incarnation,
        "observations": without_layouts(&report.guests),
    })
}

impl World {
    /// An operator updates the agent of a host that has or gets servers which the older agent cannot run.
    pub(crate) fn update_agent(&mut self, n: usize) {
        let state = &self.plane.published;
        let id = self.hosts[n].id.filter(|_| self.hosts[n].is_old);
        let newer = |server: &Server| {
            let stands = matches!(server.wanted, Wanted::Paused | Wanted::Suspended);
            stands || state.disks_of_server(server.id).count() > 1
        };
        if id.is_some_and(|id| state.servers.values().any(|s| s.hosts().any(|host| host == id) && newer(s))) {
            self.hosts[n].is_old = false;
            self.kill_agent(n, 1_000);
        }
    }

    /// The registration as the control plane reads it.
    pub(crate) fn registration_on_wire(&mut self, n: usize, said: Registration) -> Registration {
        let body = if self.hosts[n].is_old { hello(&said) } else { json!(said) };
        self.read("a registration", read_registration(&body)).unwrap_or(said)
    }

    /// The report as the control plane reads it.
    pub(crate) fn report_on_wire(&mut self, n: usize, said: &Report) -> Report {
        let body = if self.hosts[n].is_old { report(said) } else { json!(said) };
        self.read("a report", serde_json::from_value(body).map_err(|e| e.to_string())).unwrap_or(said.clone())
    }

    /// The orders as the agent reads them.
    pub(crate) fn orders_on_wire(&mut self, n: usize, orders: Orders) -> Orders {
        if !self.hosts[n].is_old {
            return orders;
        }
        self.coverage.note("agent", "version 2");
        let body = json!(v2::OrdersV2::from(orders.clone()));
        self.read("orders", serde_json::from_value(body).map_err(|e| e.to_string())).unwrap_or(orders)
    }

    fn read<T>(&mut self, what: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|why| self.violate(0, format!("{what} cannot be read: {why}"))).ok()
    }
}
