//! The operators' API: where servers are, why they are there, and what happened.

mod disk;
mod enrol;
mod explain;
pub mod fence;
mod host;
mod journal;
mod plan;
mod plan_view;
mod project;
mod readiness;
mod route;
mod rule;
mod server;
mod status;

use crate::{app::App, ctx::Ctx, fault::Handled, respond::json, routes::Routes};
use lenticular_model::{
    HostId, ServerId, State,
    compute::server::Server,
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::operator::{
    AdmitAsk, CordonAsk, DiskView, EnforceAsk, EnrolAsk, EnrolToken, Explanation, FenceAsk, HostDetail,
    HostView, JournalLine, LabelAsk, Nothing, OverrideAsk, PlanAsk, PlanView, PurgeAsk, Purged, ReasonAsk,
    RestoreAsk, ResumeAsk, RetireAsk, RetiredView, RuleAsk, RuleEffects, RuleView, SkipAsk, StatusView,
    Where,
};
use route::Route;
use std::sync::Arc;

/// The routes.
pub fn routes() -> Routes<App> {
    route::router(table())
}

/// The document that describes the routes.
async fn openapi(_: axum::extract::State<App>) -> Handled {
    json(200, &route::document(table())?)
}

fn table() -> Vec<Route> {
    host_routes().into_iter().chain(plan_routes()).collect()
}

fn plan_routes() -> Vec<Route> {
    vec![
        Route::get("list_plans", "/operator/v1/plans", plan::list)
            .query("all", "boolean", "True to see plans that ended, too.")
            .lists::<PlanView>("Plans, the newest first."),
        Route::post("start_plan", "/operator/v1/plans", plan::start)
            .asks::<PlanAsk>()
            .answers::<PlanView>(201, "A plan that moves servers; with dry_run what it would do."),
        Route::get("show_plan", "/operator/v1/plans/{plan}", plan::show)
            .query("steps", "string", "`open` to see open steps alone, without the pace.")
            .answers::<PlanView>(200, "A plan, its steps, and its pace."),
        Route::post("pause_plan", "/operator/v1/plans/{plan}/pause", plan::pause)
            .asks::<ReasonAsk>()
            .answers::<PlanView>(200, "A plan begins no more moves."),
        Route::post("resume_plan", "/operator/v1/plans/{plan}/resume", plan::resume)
            .asks::<ResumeAsk>()
            .answers::<PlanView>(200, "A plan that was paused or halted goes on."),
        Route::post("skip_server", "/operator/v1/plans/{plan}/skip", plan::skip)
            .asks::<SkipAsk>()
            .answers::<PlanView>(200, "A plan leaves a server where it is, or no longer does."),
        Route::post("abort_plan", "/operator/v1/plans/{plan}/abort", plan::abort)
            .answers::<PlanView>(200, "A plan ends before it is done."),
        Route::post("freeze_plans", "/operator/v1/freeze", plan::freeze)
            .asks::<ReasonAsk>()
            .answers::<Nothing>(200, "No plan begins a move any more."),
        Route::post("thaw_plans", "/operator/v1/thaw", plan::thaw).answers::<Nothing>(200, "Plans go on."),
    ]
}

fn host_routes() -> Vec<Route> {
    vec![
        Route::get("describe", "/operator/v1/openapi.json", openapi).tells_everyone("This document."),
        Route::get("where_server", "/operator/v1/servers/{server}/where", server::whereabouts)
            .answers::<Where>(200, "Where a server is, and where it was."),
        Route::get("explain_server", "/operator/v1/servers/{server}/explain", explain::explain)
            .query("host", "string", "Only this host of those that there are now.")
            .query("hosts", "integer", "At most so many hosts of those that there are now.")
            .answers::<Explanation>(200, "Why a server is where it is, or nowhere."),
        Route::get("journal_server", "/operator/v1/servers/{server}/journal", journal::show)
            .lists::<JournalLine>("All that ever changed a server."),
        Route::post("restore_disk", "/operator/v1/servers/{server}/disks/restore", disk::restore)
            .asks::<RestoreAsk>()
            .lists::<DiskView>("A server goes back to a disk that it left behind; its other such disks."),
        Route::post("fence_host", "/operator/v1/hosts/{host}/fence", fence::declare)
            .asks::<FenceAsk>()
            .answers::<HostView>(200, "A host is declared off, or no longer."),
        Route::get("list_hosts", "/operator/v1/hosts", host::list).lists::<HostView>("All hosts."),
        Route::get("show_host", "/operator/v1/hosts/{host}", host::show)
            .answers::<HostDetail>(200, "All that is known of a host."),
        Route::post("check_host", "/operator/v1/hosts/{host}/check", host::check)
            .answers::<HostDetail>(202, "A host measures its facts and tests itself again."),
        Route::post("canary_host", "/operator/v1/hosts/{host}/canary", host::canary)
            .answers::<HostDetail>(202, "A host proves that it can run a guest."),
        Route::post("give_up_disk", "/operator/v1/disks/{disk}/give-up", disk::give_up)
            .answers::<Nothing>(200, "A disk that no record explains is given up."),
        Route::post("enrol_host", "/operator/v1/hosts/enrol", enrol::enrol)
            .asks::<EnrolAsk>()
            .answers::<EnrolToken>(201, "A token with which a host joins."),
        Route::post("retire_host", "/operator/v1/hosts/{host}/retire", enrol::retire)
            .asks::<RetireAsk>()
            .answers::<RetiredView>(200, "A host is taken out for good."),
        Route::post("override_host", "/operator/v1/hosts/{host}/override", host::overrule)
            .asks::<OverrideAsk>()
            .answers::<HostDetail>(
                200,
                "One line of a host's readiness is overruled for a time, or no longer.",
            ),
        Route::post("admit_host", "/operator/v1/hosts/{host}/admit", host::admit)
            .asks::<AdmitAsk>()
            .answers::<HostDetail>(200, "A host is admitted in spite of its siblings."),
        Route::post("cordon_host", "/operator/v1/hosts/{host}/cordon", host::cordon)
            .asks::<CordonAsk>()
            .answers::<HostDetail>(200, "A host takes no more servers, or does again."),
        Route::post("label_host", "/operator/v1/hosts/{host}/labels", host::label)
            .asks::<LabelAsk>()
            .answers::<HostDetail>(200, "A host has other labels."),
        Route::post("undrain_host", "/operator/v1/hosts/{host}/undrain", host::undrain)
            .answers::<HostDetail>(200, "A host's drain ends, and the host has the setting of before."),
        Route::get("status", "/operator/v1/status", status::show)
            .answers::<StatusView>(200, "Which hosts take servers, and why others do not."),
        Route::get("list_rules", "/operator/v1/rules", rule::list)
            .lists::<RuleView>("All rules about hosts."),
        Route::post("add_rule", "/operator/v1/rules", rule::add)
            .asks::<RuleAsk>()
            .answers::<RuleEffects>(201, "A rule, and the hosts that it closes."),
        Route::post("enforce_rule", "/operator/v1/rules/{rule}/enforce", rule::enforce)
            .asks::<EnforceAsk>()
            .answers::<RuleEffects>(200, "A draft is in force, and closes hosts."),
        Route::post("remove_rule", "/operator/v1/rules/{rule}/remove", rule::remove)
            .answers::<Nothing>(200, "A rule is removed."),
        Route::post("purge_project", "/operator/v1/projects/{project}/purge", project::purge)
            .asks::<PurgeAsk>()
            .answers::<Purged>(200, "Removes what a project has, and the project; says what is left."),
        Route::get("list_refusals", "/operator/v1/refusals", journal::refusals)
            .lists::<JournalLine>("Agents that were refused for the sake of security."),
    ]
}

/// Finds a server by its id, or by a name that only one server has.
pub(super) fn find(ctx: &Ctx, text: &str) -> Result<Arc<Server>> {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    if let Some(server) = text.parse().ok().and_then(|id: ServerId| ctx.state.servers.get(&id)) {
        return Ok(server.clone());
    }
    let mut named = ctx.state.servers.values().filter(|s| s.name == text);
    match (named.next(), named.next()) {
        (Some(server), None) => Ok(server.clone()),
        (None, _) => Err(Error::not_found("Server", text)),
        _ => Err(Error::conflict(format!("Several servers are called {text}; name one by its id."))),
    }
}

pub(super) fn host_name(state: &State, id: Option<HostId>) -> Option<String> {
    id.map(|id| state.hosts.get(&id).map_or_else(|| id.to_string(), |h| h.name.clone()))
}
