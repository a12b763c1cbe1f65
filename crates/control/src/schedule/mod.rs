//! The scheduler: it places a server by filters and weighers over all hosts, under Nova's names.
//!
//! A decision looks at every host, so costly work is done once. [`facts::Facts`] holds the parsed request. Filters
//! over shared properties run once for each class of host ([`class`]). Texts are made only for the few refusals
//! that a verdict keeps. [`explain`] checks every filter on every host, for people.

mod class;
mod explain;
mod extra_specs;
mod facts;
mod filter;
mod host;
mod image;
mod verdict;
mod weigh;

pub use explain::{HostWord, Word, explain};
pub use extra_specs::matches;
pub use verdict::{ACCEPTED_MAX, Refusal, SAMPLES_MAX, Verdict};
pub use weigh::Weigher;

use facts::Facts;
use lenticular_model::{
    AggregateId, HostId, ProjectId, ServerGroupId, ServerId, State,
    compute::{
        disk::DiskKind,
        flavor::Size,
        server::{Hints, Server},
    },
    host::host::PROTOCOL_WITH_DISKS,
    image::Image,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use verdict::Refused;
use weigh::Passed;

/// A server's requirements for its host.
#[derive(Debug, Clone, Default)]
pub struct RequestSpec {
    /// The resources that it takes.
    pub size: Option<Size>,
    /// The requested zone.
    pub zone: Option<String>,
    /// The host that an operator requested.
    pub host: Option<String>,
    /// The CPU architecture of its disk, if it is known from more than the image.
    pub arch: Option<String>,
    /// Its project.
    pub project: Option<ProjectId>,
    /// The server, if it exists already: its own place in its group does not count.
    pub server: Option<ServerId>,
    /// The server group that it belongs to.
    pub group: Option<ServerGroupId>,
    /// The scheduler hints.
    pub hints: Hints,
    /// The image that it is made from, if the image still exists.
    pub image: Option<Arc<Image>>,
    /// The flavor's requirements for hosts.
    pub extra_specs: Arc<BTreeMap<String, String>>,
    /// The oldest version of the agent protocol whose agents can run it.
    pub protocol: u32,
    /// The details of a move, if it moves.
    pub moves: Option<Moves>,
}

/// The additional requirements of a move.
#[derive(Debug, Clone)]
pub struct Moves {
    /// The present host.
    pub from: HostId,
    /// True if the guest runs on during the move.
    pub live: bool,
    /// True if the server may stay on its present host.
    pub may_stay: bool,
    /// The resources that it takes on its present host.
    pub has: Size,
    /// What the plan that moves it adds.
    pub planned: Planned,
}

/// What a plan requires of a target.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// The aggregate that the target must be in, if the plan names one.
    pub to: Option<AggregateId>,
    /// Hosts that take part in as many moves as the plan's limits permit.
    pub busy: BTreeSet<HostId>,
}

impl RequestSpec {
    /// The requirements of an existing server, wherever it goes: the same as at its creation.
    pub fn of_server(state: &State, server: &Server) -> Self {
        Self {
            size: Some(server.size),
            zone: server.wanted_zone.clone(),
            project: Some(server.project_id),
            server: Some(server.id),
            group: server.server_group,
            hints: server.hints.as_deref().cloned().unwrap_or_default(),
            image: state.images.get(&server.image_id).cloned(),
            extra_specs: server.extra_specs.clone(),
            protocol: if several_disks(state, server) { PROTOCOL_WITH_DISKS } else { 0 },
            ..Self::default()
        }
    }
}

/// True if a server has several disks, or will have them: its records are written after its host is chosen.
fn several_disks(state: &State, server: &Server) -> bool {
    match state.disks_of_server(server.id).count() {
        0 => DiskKind::all_of(&server.size).count() > 1,
        disks => disks > 1,
    }
}

/// Chooses a host. Pure: the same State and request give the same verdict.
pub fn schedule(state: &State, ask: &RequestSpec) -> (Option<HostId>, Verdict) {
    let facts = read(state, ask);
    let mut passed: Vec<Passed<'_>> = Vec::with_capacity(state.host_table().hosts.len());
    let mut refused = Refused::default();
    facts.each_host(|seen| match host::judge(&facts, seen) {
        None => passed.push(Passed::of(seen)),
        Some(filter) => refused.note(filter, *seen.id),
    });
    let accepted_count = passed.len();
    let best = weigh::best(&passed, ACCEPTED_MAX);
    let chosen = best.first().map(|(id, _)| *id);
    (chosen, verdict::verdict(&facts, &best, accepted_count, &refused))
}

/// Reads a request, and runs the class filters.
fn read<'a>(state: &'a State, ask: &'a RequestSpec) -> Facts<'a> {
    let mut facts = Facts::new(state, ask);
    facts.classes = class::judge_all(&facts);
    facts
}
