//! What a project's servers used in a period, as Nova counts: hours, and hours times each resource.
//!
//! As in Nova, a server counts with the flavor that it has, or had at its end, for its whole life.

use lenticular_model::{ProjectId, Timestamp, compute::server::Server};
use serde_json::{Value, json};

/// A period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its beginning.
    pub start: Timestamp,
    /// Its end.
    pub stop: Timestamp,
}

impl Period {
    /// The hours in the period for which the server existed after its first start.
    pub fn hours_of(&self, server: &Server) -> f64 {
        let Some(launched) = server.launched_at else { return 0.0 };
        let ended = server.terminated_at.unwrap_or(self.stop).min(self.stop);
        ended.since_ms(launched.max(self.start)).max(0) as f64 / 3_600_000.0
    }

    /// True if the server existed in the period.
    pub fn has(&self, server: &Server) -> bool {
        server.launched_at.is_some_and(|at| at <= self.stop)
            && server.terminated_at.is_none_or(|at| at >= self.start)
    }
}

fn disk_gb(server: &Server) -> u32 {
    server.size.disk_gb + server.size.ephemeral_gb
}

/// The usage of one project's servers.
pub fn usage(
    project: ProjectId,
    servers: &[&Server],
    period: Period,
    now: Timestamp,
    detailed: bool,
) -> Value {
    let sum = |amount: &dyn Fn(&Server) -> u32| -> f64 {
        servers.iter().map(|server| period.hours_of(server) * f64::from(amount(server))).sum()
    };
    let mut view = json!({
        "tenant_id": project,
        "start": period.start.iso_naive_us(),
        "stop": period.stop.iso_naive_us(),
        "total_hours": sum(&|_| 1),
        "total_vcpus_usage": sum(&|server| server.size.vcpus),
        "total_memory_mb_usage": sum(&|server| server.size.ram_mb),
        "total_local_gb_usage": sum(&disk_gb),
    });
    if detailed {
        view["server_usages"] = servers.iter().map(|server| one(server, period, now)).collect();
    }
    view
}

fn one(server: &Server, period: Period, now: Timestamp) -> Value {
    let until = server.terminated_at.unwrap_or(now);
    json!({
        "instance_id": server.id,
        "name": server.name,
        "tenant_id": server.project_id,
        "flavor": server.flavor_name,
        "vcpus": server.size.vcpus,
        "memory_mb": server.size.ram_mb,
        "local_gb": disk_gb(server),
        "hours": period.hours_of(server),
        "started_at": server.launched_at.map(Timestamp::iso_naive_us),
        "ended_at": server.terminated_at.map(Timestamp::iso_naive_us),
        "state": if server.terminated_at.is_some() { "terminated" } else { server.vm_state() },
        "uptime": server.launched_at.map_or(0, |at| until.since_ms(at).max(0) / 1_000),
    })
}
