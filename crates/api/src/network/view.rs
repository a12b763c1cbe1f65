//! Listings as Neutron gives them: filters by any attribute, chosen fields, order and pages.

use crate::{app::json, ctx::Ctx, fault::Handled, page};
use lenticular_model::error::{Error, Result};
use serde_json::{json, Value};

const OWN: &[&str] = &[
    "fields",
    "limit",
    "marker",
    "page_reverse",
    "sort_key",
    "sort_dir",
    "tags",
    "tags-any",
    "not-tags",
    "not-tags-any",
];

/// Answers a listing of rendered resources.
pub fn listing(ctx: &Ctx, collection: &str, path: &str, mut items: Vec<Value>) -> Handled {
    items.retain(|item| matches(ctx, item));
    sort(ctx, &mut items)?;
    let id = |item: &Value| item["id"].as_str().unwrap_or("").to_owned();
    let paged = ctx.query.get("limit").is_some() || ctx.query.get("marker").is_some();
    let (mut items, more) = if paged { page::cut(items, &ctx.query, id)? } else { (items, false) };
    let backwards = ctx.query.flag("page_reverse")? == Some(true);
    let (first, last) = (items.first().map(id), items.last().map(id));
    // A page before the marker is found backwards, and shown forwards.
    if backwards {
        items.reverse();
    }
    choose_fields(ctx, &mut items);
    let mut body = json!({ (collection): items });
    if paged {
        let links = links(ctx, path, first, last.filter(|_| more), backwards);
        if !links.is_empty() {
            body[format!("{collection}_links")] = json!(links);
        }
    }
    json(200, &body)
}

/// Where the pages before and behind this one are. `first` and `last` are in the order in which they were found.
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

/// Answers one rendered resource with the fields asked for.
pub fn one(ctx: &Ctx, name: &str, item: Value) -> Handled {
    let mut items = vec![item];
    choose_fields(ctx, &mut items);
    json(200, &json!({ (name): items.pop() }))
}

fn matches(ctx: &Ctx, item: &Value) -> bool {
    let query = &ctx.query;
    let names = query.0.iter().map(|(name, _)| name.as_str()).filter(|name| !OWN.contains(name));
    let mut by_fields =
        names.filter(|name| *name != "fixed_ips" && *name != "project_id" && *name != "tenant_id");
    let equal = |wanted: &str, value: &Value| match value {
        Value::String(s) => s == wanted,
        Value::Bool(b) => lenticular_wire::request::text_bool(wanted) == Some(*b),
        Value::Null => wanted.is_empty(),
        Value::Array(list) => list.iter().any(|v| v == wanted),
        other => *other.to_string() == *wanted,
    };
    by_fields.all(|name| match item.get(name) {
        // An attribute that the caller may not see, or that does not exist, filters nothing out.
        None => true,
        Some(value) => query.all(name).any(|wanted| equal(wanted, value)),
    }) && ["project_id", "tenant_id"].iter().all(|name| {
        query.get(name).is_none()
            || query.all(name).any(|wanted| item["project_id"] == wanted.replace('-', ""))
    }) && fixed_ips(ctx, item)
        && tags(ctx, item)
}

/// Of several values under one key any will do; of several keys each must.
fn fixed_ips(ctx: &Ctx, item: &Value) -> bool {
    let key = |wanted: &str| wanted.split_once('=').map(|(key, _)| key.to_owned());
    let all = || ctx.query.all("fixed_ips");
    all().all(|one| all().filter(|other| key(other) == key(one)).any(|wanted| fixed_ip(item, wanted)))
}

/// `fixed_ips=subnet_id=…`, `fixed_ips=ip_address=…`, `fixed_ips=ip_address_substr=…`
fn fixed_ip(item: &Value, wanted: &str) -> bool {
    let Some((key, value)) = wanted.split_once('=') else { return false };
    item["fixed_ips"].as_array().into_iter().flatten().any(|ip| match key {
        "ip_address_substr" => ip["ip_address"].as_str().is_some_and(|a| a.contains(value)),
        key => ip[key] == value,
    })
}

fn tags(ctx: &Ctx, item: &Value) -> bool {
    let has = |tag: &str| item["tags"].as_array().is_some_and(|list| list.iter().any(|t| t == tag));
    let list = |name: &str| ctx.query.get(name).map(|text| text.split(',').collect::<Vec<_>>());
    list("tags").is_none_or(|l| l.iter().all(|t| has(t)))
        && list("tags-any").is_none_or(|l| l.iter().any(|t| has(t)))
        && list("not-tags").is_none_or(|l| !l.iter().all(|t| has(t)))
        && list("not-tags-any").is_none_or(|l| !l.iter().any(|t| has(t)))
}

fn sort(ctx: &Ctx, items: &mut [Value]) -> Result<()> {
    let keys: Vec<&str> = ctx.query.all("sort_key").collect();
    let dirs: Vec<&str> = ctx.query.all("sort_dir").collect();
    if let Some(bad) = keys.iter().find(|k| items.first().is_some_and(|item| item.get(**k).is_none())) {
        return Err(
            Error::invalid(format!("{bad} is an invalid attribute for sort key.")).coded("HTTPBadRequest")
        );
    }
    let text = |item: &Value, key: &str| match &item[key] {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    let compare = |a: &Value, b: &Value, key: &str| match (a[key].as_i64(), b[key].as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => text(a, key).cmp(&text(b, key)),
    };
    items.sort_by(|a, b| {
        for (i, key) in keys.iter().enumerate() {
            let ordering = compare(a, b, key);
            let ordering = if dirs.get(i) == Some(&"desc") { ordering.reverse() } else { ordering };
            if ordering.is_ne() {
                return ordering;
            }
        }
        text(a, "id").cmp(&text(b, "id"))
    });
    if ctx.query.flag("page_reverse")? == Some(true) {
        items.reverse();
    }
    Ok(())
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
