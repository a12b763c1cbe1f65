//! Deleted servers, read from the store.

use crate::ctx::Ctx;
use lenticular_model::{
    Kind, ProjectId, ServerId, Timestamp,
    compute::server::Server,
    error::{Error, Result},
};

/// How many deleted servers are read at once.
const AT_ONCE: usize = 1_000;

fn read(ctx: &Ctx, doc: &str) -> Result<Option<Server>> {
    let server = Server::past(serde_json::from_str(doc).map_err(Error::internal)?);
    // A server that was deleted after this request began still exists in the request's snapshot.
    Ok((!ctx.state.servers.contains_key(&server.id)).then_some(server))
}

/// All deleted servers.
pub async fn all(ctx: &Ctx, mut take: impl FnMut(Server)) -> Result<()> {
    let mut after: Option<String> = None;
    loop {
        let page = ctx.app.store.list(Kind::PastServer, "", after.as_deref(), AT_ONCE, true).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (_, doc) in &page {
            read(ctx, doc)?.into_iter().for_each(&mut take);
        }
    }
}

/// A project's servers that were deleted at this time or later, the latest first.
pub async fn of_project_since(
    ctx: &Ctx,
    project: ProjectId,
    since: Timestamp,
    mut take: impl FnMut(Server),
) -> Result<()> {
    let prefix = format!("{project}/");
    let oldest = format!("{prefix}{:020}", since.0.max(0));
    let mut after: Option<String> = None;
    loop {
        let page = ctx.app.store.list(Kind::PastServerOf, &prefix, after.as_deref(), AT_ONCE, true).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (key, doc) in &page {
            if *key < oldest {
                return Ok(());
            }
            let id: ServerId = serde_json::from_str(doc).map_err(Error::internal)?;
            if let Some(past) = ctx.app.store.get(Kind::PastServer, &id.to_string()).await? {
                read(ctx, &past)?.into_iter().for_each(&mut take);
            }
        }
    }
}

/// The servers of all projects that were deleted at this time or later. Reads of each project no more than these.
pub async fn of_all_since(ctx: &Ctx, since: Timestamp, mut take: impl FnMut(Server)) -> Result<()> {
    let mut after: Option<String> = None;
    loop {
        // The keys begin with the project, so the last key before a project's is the next project's.
        let page = ctx.app.store.list(Kind::PastServerOf, "", after.as_deref(), 1, true).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        let project = last.split('/').next().unwrap_or_default().to_owned();
        if let Ok(project) = project.parse() {
            of_project_since(ctx, project, since, &mut take).await?;
        }
        after = Some(format!("{project}/"));
    }
}
