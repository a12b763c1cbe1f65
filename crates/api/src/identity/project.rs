//! Projects.

use super::{auth::projects_of, domain_of_new, field, filter, id, missing, name, reached, required};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    page,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::identity;
use lenticular_model::{
    DomainId, ProjectId,
    error::{Error, Result},
    identity::Project,
    policy::{Action, Scope},
};
use lenticular_wire::{
    identity::{self as wire, extra_of},
    request::envelope,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const KNOWN: &[&str] = &[
    "id",
    "name",
    "description",
    "enabled",
    "domain_id",
    "parent_id",
    "is_domain",
    "tags",
    "options",
    "links",
];

/// The most tags of a project, as in Keystone.
const TAGS_MAX: usize = 80;

/// The filters for projects, beside their tags.
const FILTERS: &[&str] = &["name", "domain_id", "parent_id", "enabled", "is_domain", "description"];

/// `GET /v3/projects`
pub async fn list(ctx: Ctx) -> Handled {
    let reach = reached(&ctx, Action::ProjectRead)?;
    let query = &ctx.query;
    let wanted = |p: &&Arc<Project>| reach.covers(&p.domain_id) && filter::tags_match(query, &p.tags);
    let projects = ctx.state.projects.values().filter(wanted).map(|p| wire::project(ctx.url(), p)).collect();
    let (found, _) = page::cut(filter::chosen(query, projects, FILTERS)?, query, filter::id)?;
    json(200, &wire::listing(ctx.url(), "projects", found))
}

/// `GET /v3/projects/{id}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id: ProjectId = id("project", &text)?;
    let own = ctx.caller.project_id() == Some(id)
        || projects_of(&ctx.state, ctx.caller.user_id).iter().any(|p| p.id == id);
    if !own {
        identity::govern::governed_project(&ctx.state, &ctx.caller, Action::ProjectRead, id)?;
    }
    let project = ctx.state.projects.get(&id).ok_or_else(|| missing("project", &text))?;
    json(200, &json!({"project": wire::project(ctx.url(), project)}))
}

/// The id of a project's parent: another project, or its domain.
fn parent_of(project: &Project) -> String {
    project.parent_id.map_or(project.domain_id.to_string(), |parent| parent.to_string())
}

/// The project's fields in a request.
struct Asked {
    name: Option<String>,
    description: Option<String>,
    enabled: Option<bool>,
    domain_id: Option<DomainId>,
    parent: Option<String>,
    tags: Option<Vec<String>>,
    extra: std::collections::BTreeMap<String, Value>,
}

fn read(fields: &Map<String, Value>) -> Result<Asked> {
    Ok(Asked {
        name: name(fields, 64)?,
        description: field(fields, "description")?,
        enabled: field(fields, "enabled")?,
        domain_id: field(fields, "domain_id")?,
        parent: field(fields, "parent_id")?,
        tags: tags(fields)?,
        extra: extra_of(fields, KNOWN),
    })
}

/// Reads the tags: few, each once, and only tags that fit into a path and into a list in a query.
pub fn tags(fields: &Map<String, Value>) -> Result<Option<Vec<String>>> {
    let Some(tags) = field::<Vec<String>>(fields, "tags")? else { return Ok(None) };
    let bad = |why: String| Err(Error::invalid(format!("Invalid input for field 'tags': {why}.")));
    if tags.len() > TAGS_MAX {
        return bad(format!("a project has at most {TAGS_MAX}"));
    }
    for (i, tag) in tags.iter().enumerate() {
        let legal = |c: char| !matches!(c, '/' | ',') && !c.is_control();
        if !(1..=255).contains(&tag.chars().count()) || !tag.chars().all(legal) {
            return bad(format!("{tag:?} does not have 1 to 255 characters, none of them '/' or ','"));
        }
        if tags[..i].contains(tag) {
            return bad(format!("{tag:?} is there twice"));
        }
    }
    Ok(Some(tags))
}

/// `POST /v3/projects`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let fields = envelope(body, "project")?;
    if fields.get("is_domain") == Some(&Value::Bool(true)) {
        return Err(Error::invalid("Projects that act as domains are not supported; create a domain.").into());
    }
    let asked = read(&fields)?;
    let name = asked.name.clone().ok_or_else(|| required("name"))?;
    let project = ctx
        .commit("project create", move |txn, caller| {
            // The parent may be a domain's id, which means the domain itself.
            let parent_domain =
                asked.parent.as_deref().map(DomainId::from).filter(|d| txn.domains.contains_key(d));
            let parent_id = match (&asked.parent, &parent_domain) {
                (Some(text), None) => Some(id::<ProjectId>("project", text)?),
                _ => None,
            };
            let of_parent = parent_id.and_then(|p| txn.projects.get(&p)).map(|p| p.domain_id.clone());
            let of_parent = of_parent.filter(|_| !matches!(caller.scope, Scope::Domain(_)));
            if let (Some(domain), Some(parent)) = (&asked.domain_id, &parent_domain)
                && domain != parent
            {
                return Err(Error::invalid("The domain 'parent_id' is another one than 'domain_id'."));
            }
            let domain_id = asked.domain_id.or(parent_domain).or(of_parent);
            let project = Project {
                id: ProjectId::from_random(txn.random()),
                created_at: txn.now,
                updated_at: None,
                domain_id: domain_id.unwrap_or_else(|| domain_of_new(caller)),
                name,
                description: asked.description.unwrap_or_default(),
                enabled: asked.enabled.unwrap_or(true),
                tokens_void_before: Default::default(),
                parent_id,
                tags: asked.tags.unwrap_or_default(),
                extra: asked.extra,
                unknown: Default::default(),
            };
            identity::project::put(txn, caller, project.clone())?;
            Ok(project)
        })
        .await?;
    json(201, &json!({"project": wire::project(ctx.url(), &project)}))
}

/// `PATCH /v3/projects/{id}`
pub async fn update(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let id: ProjectId = id("project", &text)?;
    let fields = envelope(body, "project")?;
    let asked = read(&fields)?;
    let project = ctx
        .commit("project update", move |txn, caller| {
            let old = identity::govern::governed_project(txn, caller, Action::ProjectWrite, id)?;
            let mut project = Project::clone(&old);
            if fields.get("parent_id").is_some_and(|parent| *parent != parent_of(&project)) {
                return Err(Error::forbidden("Update of `parent_id` is not allowed."));
            }
            if fields.get("is_domain").is_some_and(|flag| *flag != false) {
                return Err(Error::invalid("Update of `is_domain` is not allowed."));
            }
            if asked.domain_id.as_ref().is_some_and(|d| *d != project.domain_id) {
                return Err(Error::invalid("A project cannot be moved to another domain."));
            }
            project.name = asked.name.unwrap_or(project.name);
            project.description = asked.description.unwrap_or(project.description);
            project.enabled = asked.enabled.unwrap_or(project.enabled);
            project.tags = asked.tags.unwrap_or(project.tags);
            project.extra.extend(asked.extra);
            project.updated_at = Some(txn.now);
            identity::project::put(txn, caller, project.clone())?;
            Ok(project)
        })
        .await?;
    json(200, &json!({"project": wire::project(ctx.url(), &project)}))
}

/// `DELETE /v3/projects/{id}`
pub async fn delete(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id: ProjectId = id("project", &text)?;
    ctx.commit("project delete", move |txn, caller| identity::project::delete(txn, caller, id)).await?;
    empty(204)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_few_and_can_stand_in_a_path() {
        let read = |value: Value| tags(&Map::from_iter([("tags".to_owned(), value)]));
        assert_eq!(read(json!(["a", "b c"])).unwrap(), Some(vec!["a".to_owned(), "b c".to_owned()]));
        assert_eq!(read(json!([])).unwrap(), Some(Vec::new()));
        let many: Vec<String> = (0..=TAGS_MAX).map(|i| i.to_string()).collect();
        for bad in [
            json!(["a/b"]),
            json!(["a,b"]),
            json!([""]),
            json!(["a", "a"]),
            json!(["a\0"]),
            json!(many),
            json!([1]),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
