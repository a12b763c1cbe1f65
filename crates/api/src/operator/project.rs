//! The operators' API for projects: a project's resources, and their removal in a working order.

use crate::{body::Message, ctx::Ctx, fault::Handled, respond::json};
use axum::extract::Path;
use lenticular_control::command::identity::{
    purge as project,
    thing::{Thing, things},
};
use lenticular_model::{
    ProjectId, State, Txn,
    compute::server::Wanted,
    error::{Error, Result},
    identity::Project,
    policy::{self, Action, Caller, Scope},
};
use lenticular_wire::operator::{ProjectThing, PurgeAsk, Purged};
use std::{collections::BTreeMap, sync::Arc};

/// How many resources one request removes at most; the client repeats the request for the rest.
const BATCH: usize = 100;

/// Finds a project by its id, or by a name that only one project has.
fn find(ctx: &Ctx, text: &str) -> Result<Arc<Project>> {
    policy::check(&ctx.caller, Action::ProjectPurge, None)?;
    if let Some(project) = text.parse().ok().and_then(|id: ProjectId| ctx.state.projects.get(&id)) {
        return Ok(project.clone());
    }
    let mut named = ctx.state.projects.values().filter(|p| p.name == text);
    match (named.next(), named.next()) {
        (Some(project), None) => Ok(project.clone()),
        (None, _) => Err(Error::not_found("Project", text)),
        _ => Err(Error::conflict(format!("Several projects are called {text}; name one by its id."))),
    }
}

fn view((thing, name): &(Thing, String), why: Option<String>) -> ProjectThing {
    ProjectThing { noun: thing.noun().to_owned(), id: thing.id(), name: name.clone(), why }
}

/// Whether a server is being deleted; its host still must confirm.
fn goes(state: &State, thing: &Thing) -> bool {
    match thing {
        Thing::Server(id) => state.servers.get(id).is_some_and(|s| s.wanted == Wanted::Absent),
        _ => false,
    }
}

/// `POST /operator/v1/projects/{project}/purge`: removes each resource in a separate transaction, and returns the
/// rest with reasons.
pub async fn purge(ctx: Ctx, Path(text): Path<String>, Message(ask): Message<PurgeAsk>) -> Handled {
    let of = find(&ctx, &text)?;
    if ctx.caller.project_id() == Some(of.id) && !ask.dry_run && !ask.keep_project {
        let why = format!(
            "You are logged in to project {}, so it cannot be removed. Log in to another project, or keep \
             this one (--keep-project).",
            of.id
        );
        return Err(Error::conflict(why).into());
    }
    let all = things(&ctx.state, of.id);
    let mut refused = BTreeMap::new();
    let mut tried = Vec::new();
    if !ask.dry_run {
        for (thing, name) in all.iter().filter(|(thing, _)| !goes(&ctx.state, thing)) {
            if tried.len() == BATCH {
                break;
            }
            let (remove, id) = (*thing, of.id);
            let act_and_purge = move |txn: &mut Txn<'_>, caller: &Caller| {
                // An operator of the system acts in the project for the removal.
                let acting = Caller { scope: Scope::Project(id), ..caller.clone() };
                project::purge(txn, &acting, remove)
            };
            match ctx.commit("project purge", act_and_purge).await {
                Ok(()) => tried.push((*thing, name.clone())),
                // A resource that was removed together with an earlier one is no error.
                Err(error) => drop(refused.insert(thing.id(), error.message.to_string())),
            }
        }
    }
    let state = ctx.app.store.state();
    let now = things(&state, of.id);
    let is_left = |thing: &Thing| now.iter().any(|(left, _)| left == thing);
    let why = |thing: &Thing| match goes(&state, thing) {
        true => Some("Its host has not confirmed yet that it is gone.".to_owned()),
        false => refused.get(&thing.id()).cloned(),
    };
    let untried = |(thing, _): &(Thing, String)| !refused.contains_key(&thing.id());
    json(
        200,
        &Purged {
            id: of.id.to_string(),
            name: of.name.clone(),
            removed: tried.iter().filter(|(thing, _)| !is_left(thing)).map(|one| view(one, None)).collect(),
            left: now.iter().map(|one| view(one, why(&one.0))).collect(),
            under_way: !ask.dry_run && now.iter().any(untried),
        },
    )
}
