//! Neutron's listings: filters by any attribute, chosen fields, order and pages.

use super::{fields::bad, filters::Filters};
use crate::{ctx::Ctx, fault::Handled, limits::PAGE_MAX, page, query::Query, respond::json};
use lenticular_model::error::{Error, Result};
use serde_json::{Value, json};

/// The sort keys of every resource, beside the fields of a create request.
const SORTED_BY: &[&str] =
    &["id", "name", "status", "project_id", "tenant_id", "created_at", "updated_at", "revision_number"];

/// A kind of listing.
pub struct Listed<'a> {
    /// The name of the list in the body.
    pub many: &'a str,
    /// The path.
    pub path: &'a str,
    /// Sort keys that are valid even if the list is empty.
    pub fields: &'a [&'a str],
    /// The error for an id that does not exist.
    pub missing: fn(&str) -> Error,
}

impl<'a> Listed<'a> {
    /// A listing of objects that clients only read.
    pub fn plain(many: &'a str, path: &'a str) -> Self {
        let missing = |id: &str| Error::not_found("Resource", id).coded("HTTPNotFound");
        Self { many, path, fields: &[], missing }
    }
}

/// Answers a listing of rendered resources.
pub fn listing(ctx: &Ctx, listed: &Listed<'_>, mut items: Vec<Value>) -> Handled {
    check(ctx, listed, items.first())?;
    let filters = Filters::read(&ctx.query, listed.many)?;
    let limit = limit(&ctx.query)?;
    let marker = ctx.query.get("marker").filter(|marker| limit.is_some() && !marker.is_empty());
    items.retain(|item| marker.is_some_and(|marker| item["id"] == marker) || filters.match_item(item));
    let backwards = ctx.query.get("page_reverse").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    sort(ctx, &mut items, backwards);
    if let Some(marker) = marker {
        let at = items.iter().position(|item| item["id"] == marker);
        items.drain(..=at.ok_or_else(|| (listed.missing)(marker))?);
    }
    let more = limit.is_some_and(|limit| items.len() > limit);
    items.truncate(limit.unwrap_or(items.len()));
    let id = |item: &Value| item["id"].as_str().unwrap_or("").to_owned();
    let (first, last) = (items.first().map(id), items.last().map(id));
    // The page before a marker is searched backwards, and shown forwards.
    if backwards {
        items.reverse();
    }
    choose_fields(ctx, &mut items);
    let mut body = json!({ (listed.many): items });
    if limit.is_some() {
        let links = links(ctx, listed.path, first, last.filter(|_| more), backwards);
        if !links.is_empty() {
            body[format!("{}_links", listed.many)] = json!(links);
        }
    }
    json(200, &body)
}

/// Refuses parameters that the resource does not have; `some` is a sample of the resource.
fn check(ctx: &Ctx, listed: &Listed<'_>, some: Option<&Value>) -> Result<()> {
    let given = |name| ctx.query.all(name).filter(|value| !value.is_empty()).collect::<Vec<&str>>();
    let (keys, dirs) = (given("sort_key"), given("sort_dir"));
    if keys.len() != dirs.len() {
        return Err(bad("The number of sort_keys and sort_dirs must be same"));
    }
    let known = |key: &str| {
        SORTED_BY.contains(&key) || listed.fields.contains(&key) || some.is_some_and(|s| s.get(key).is_some())
    };
    if let Some(key) = keys.into_iter().find(|key| !known(key)) {
        return Err(bad(format!("['{key}'] is invalid attribute for sort_keys")));
    }
    if let Some(dir) = dirs.into_iter().find(|dir| !matches!(*dir, "asc" | "desc")) {
        let why = format!("['{dir}'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'");
        return Err(bad(why));
    }
    Ok(())
}

/// The requested length of the page; `None`, and also 0 in the query, means everything. Without a limit, a marker
/// has no effect.
fn limit(query: &Query) -> Result<Option<usize>> {
    let Some(text) = query.get("limit") else { return Ok(None) };
    let wrong = || {
        let why = format!("Bad limit request: Limit must be an integer 0 or greater and not '{text}'.");
        Error::invalid(why).coded("BadRequest")
    };
    let limit: u64 = text.trim().parse().map_err(|_| wrong())?;
    Ok(Some(usize::try_from(limit).map_or(PAGE_MAX, |limit| limit.min(PAGE_MAX))).filter(|limit| *limit > 0))
}

/// Links to the previous and the next page. `first` and `last` are in the order of the search.
fn links(ctx: &Ctx, path: &str, first: Option<String>, last: Option<String>, backwards: bool) -> Vec<Value> {
    let url = format!("{}/network/v2.0/{path}", ctx.url());
    let mut query = ctx.query.clone();
    query.0.retain(|(name, _)| name != "page_reverse");
    let first = first.filter(|_| ctx.query.get("marker").is_some());
    let (previous, next) = if backwards { (last, first) } else { (first, last) };
    let mut links = Vec::new();
    links.extend(next.map(|id| json!({"rel": "next", "href": page::next(&url, &query, &id)})));
    links.extend(previous.map(|id| {
        json!({"rel": "previous", "href": format!("{}&page_reverse=True", page::next(&url, &query, &id))})
    }));
    links
}

/// Answers one rendered resource with the requested fields.
pub fn one(ctx: &Ctx, name: &str, item: Value) -> Handled {
    let mut items = vec![item];
    choose_fields(ctx, &mut items);
    json(200, &json!({ (name): items.pop() }))
}

fn sort(ctx: &Ctx, items: &mut [Value], backwards: bool) {
    let given = |name| ctx.query.all(name).filter(|value| !value.is_empty());
    let keys: Vec<(&str, bool)> = given("sort_key").zip(given("sort_dir").map(|dir| dir == "desc")).collect();
    let text = |item: &Value, key: &str| match &item[key] {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    let compare = |a: &Value, b: &Value, key: &str| match (a[key].as_i64(), b[key].as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => text(a, key).cmp(&text(b, key)),
    };
    items.sort_by(|a, b| {
        for (key, down) in &keys {
            let ordering = compare(a, b, key);
            let ordering = if *down { ordering.reverse() } else { ordering };
            if ordering.is_ne() {
                return ordering;
            }
        }
        text(a, "id").cmp(&text(b, "id"))
    });
    if backwards {
        items.reverse();
    }
}

fn choose_fields(ctx: &Ctx, items: &mut [Value]) {
    let fields: Vec<&str> = ctx.query.all("fields").filter(|f| !f.is_empty()).collect();
    if fields.is_empty() {
        return;
    }
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.retain(|key, _| fields.contains(&key.as_str()));
    }
}
