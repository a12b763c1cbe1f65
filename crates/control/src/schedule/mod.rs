//! Where a server goes: filters and weighers over all hosts, under the names that Nova's operators know.
//!
//! A decision looks at every host, so what is costly is done once: the request is read into a [`facts::Facts`], filters
//! over what hosts have in common are asked once for each class of host ([`class`]), and words are found only for the
//! few refusals that a verdict keeps. [`explain`] asks every filter about every host, for people.

mod class;
mod explain;
mod extra_specs;
mod facts;
mod filter;
mod host;
mod image;
mod verdict;
mod weigh;

pub use explain::{explain, HostWord, Word};
pub use extra_specs::matches;
pub use verdict::{Refusal, Verdict, ACCEPTED_MAX, SAMPLES_MAX};
pub use weigh::Weigher;

use facts::{Facts, HostFacts};
use filter::Filter;
use lenticular_model::{
    compute::{
        flavor::Size,
        server::{Hints, Server},
    },
    image::Image,
    HostId, ProjectId, ServerGroupId, ServerId, State,
};
use std::{collections::BTreeMap, sync::Arc};
use verdict::Refused;
use weigh::Passed;

/// What a server needs of its host.
#[derive(Debug, Clone, Default)]
pub struct RequestSpec {
    /// What it takes.
    pub size: Option<Size>,
    /// The zone its owner asked for.
    pub zone: Option<String>,
    /// The one host that an operator asked for.
    pub host: Option<String>,
    /// The CPU architecture that its disk is for, if that is known of more than its image.
    pub arch: Option<String>,
    /// Whose it is.
    pub project: Option<ProjectId>,
    /// Which server it is, if it is one already: its own place in its group does not count.
    pub server: Option<ServerId>,
    /// The server group that it belongs to.
    pub group: Option<ServerGroupId>,
    /// What its owner told the scheduler.
    pub hints: Hints,
    /// The image it is made from, if that is still there.
    pub image: Option<Arc<Image>>,
    /// What its flavor asks of hosts.
    pub extra_specs: Arc<BTreeMap<String, String>>,
    /// Where it comes from, if it moves.
    pub moves: Option<Moves>,
}

/// What a server that moves needs of its target beside what a new one does.
#[derive(Debug, Clone)]
pub struct Moves {
    /// Where it is.
    pub from: HostId,
    /// True if it runs on while it moves.
    pub live: bool,
    /// True if it may stay there.
    pub may_stay: bool,
    /// What it takes there now.
    pub has: Size,
}

impl RequestSpec {
    /// What a server that is there needs, wherever it goes: all that held when it was made.
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
            ..Self::default()
        }
    }
}

/// Chooses a host. Pure: the same state and ask give the same verdict.
pub fn schedule(state: &State, ask: &RequestSpec) -> (Option<HostId>, Verdict) {
    let facts = read(state, ask);
    let mut passed: Vec<Passed<'_>> = Vec::with_capacity(state.host_table().hosts.len());
    let mut refused = Refused::default();
    facts.each_host(|seen| match judge(&facts, seen) {
        None => passed.push(Passed::of(seen)),
        Some(filter) => refused.note(filter, *seen.id),
    });
    let accepted_count = passed.len();
    let best = weigh::best(&passed, ACCEPTED_MAX);
    let chosen = best.first().map(|(id, _)| *id);
    (chosen, verdict::verdict(&facts, &best, accepted_count, &refused))
}

/// Reads a request, and asks the filters over classes.
fn read<'a>(state: &'a State, ask: &'a RequestSpec) -> Facts<'a> {
    let mut facts = Facts::new(state, ask);
    facts.classes = class::judge_all(&facts);
    facts
}

/// The first filter that refuses a host, if any. Its reason is looked for only if somebody is told.
#[inline]
fn judge(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Option<Filter> {
    macro_rules! first {
        ($($filter:ident $judge:ident)*) => {
            $(if host::$judge(facts, seen).is_err() { return Some(Filter::$filter); })*
        };
    }
    first!(Compute compute ForcedHost forced);
    if let Some((filter, _)) = &seen.class.refused {
        return Some(*filter);
    }
    first!(
        SourceHost source Reach reachable SameHost same_host DifferentHost different_host Affinity affinity
        AntiAffinity anti_affinity Vcpus vcpus Memory memory Disk disk
    );
    None
}
