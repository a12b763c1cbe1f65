//! The list of images: filters, order and pages.
//!
//! Filters follow Glance's API reference, "List images": attributes are compared whole, `in:` names several
//! values, times take `gt:`, `gte:`, `eq:`, `neq:`, `lt:` and `lte:`. A filter that Glance does not know is a
//! property of the image.

use crate::{ctx::Ctx, fault::Handled, page, query::Query, respond::json};
use lenticular_model::{
    Timestamp,
    error::{Error, Result},
    image::{Image, MemberStatus, Visibility},
    policy::{self, Action},
};
use lenticular_wire::{
    image::{self as wire, visibility_of},
    request::text_bool,
};
use serde_json::{Value, json};
use std::{cmp::Ordering, sync::Arc};

/// The default length of a page: Glance's `limit_param_default`.
const PAGE: usize = 25;

/// `GET /v2/images`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::ImageRead, None)?;
    let query = &ctx.query;
    let filter = Filter::read(query)?;
    let order = ctx.state.images_newest_first();
    let mut found: Vec<Arc<Image>> = order.filter(|i| filter.matches(&ctx, i)).cloned().collect();
    if let Some(keys) = sort_keys(query)? {
        found.sort_by(|a, b| {
            keys.iter().map(|k| k.compare(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        });
    }
    let limit = match query.number("limit")? {
        Some(_) => page::limit(query)?,
        None => PAGE,
    };
    let mut paged = query.clone();
    paged.0.retain(|(name, _)| name != "limit");
    paged.0.push(("limit".to_owned(), limit.to_string()));
    let (found, more) = page::cut(found, &paged, |i| i.id.to_string())?;
    let text =
        |name: &str| if name.is_empty() { "/v2/images".to_owned() } else { format!("/v2/images?{name}") };
    let first = query
        .0
        .iter()
        .filter(|(n, _)| n != "marker")
        .map(|(n, v)| format!("{}={}", crate::query::encode(n), crate::query::encode(v)));
    let mut body = json!({
        "images": found.iter().map(|i| wire::image(i)).collect::<Vec<_>>(),
        "first": text(&first.collect::<Vec<_>>().join("&")),
        "schema": "/v2/schemas/images",
    });
    if let Some(last) = found.last().filter(|_| more) {
        body["next"] = json!(page::next("/v2/images", query, &last.id.to_string()));
    }
    json(200, &body)
}

/// Query parameters that are no attribute of an image.
const NOT_ATTRIBUTES: &[&str] = &[
    "limit",
    "marker",
    "sort",
    "sort_key",
    "sort_dir",
    "visibility",
    "os_hidden",
    "tag",
    "size_min",
    "size_max",
    "member_status",
    "created_at",
    "updated_at",
];

const STATUSES: &[&str] = &[
    "queued",
    "saving",
    "active",
    "deactivated",
    "killed",
    "deleted",
    "pending_delete",
    "importing",
    "uploading",
];

/// Attributes that accept an operator before the value.
const WITH_OPERATORS: &[&str] = &["id", "name", "status", "container_format", "disk_format"];

/// The filters of a listing.
struct Filter {
    visibility: Option<Visibility>,
    all: bool,
    /// What the caller's project must have said to an image that is shared with it; `None` anything.
    member_status: Option<MemberStatus>,
    hidden: bool,
    size: (u64, u64),
    tags: Vec<String>,
    times: Vec<TimeFilter>,
    /// Attributes, each with its allowed values.
    attributes: Vec<(String, Vec<String>)>,
}

impl Filter {
    fn read(query: &Query) -> Result<Self> {
        let bad = |why: String| Err(Error::invalid(why));
        if query.get("changes-since").is_some() {
            return bad("The \"changes-since\" filter is no longer available on v2.".to_owned());
        }
        let member_status = query.get("member_status").unwrap_or("accepted");
        let member_status = match (member_status, wire::member_status_of(member_status)) {
            ("all", _) => None,
            (_, Some(status)) => Some(status),
            (other, None) => return bad(format!("Invalid status: {other}")),
        };
        let word = query.get("visibility");
        let visibility = match word {
            None | Some("all") => None,
            Some(word) => match visibility_of(word) {
                None => return bad(format!("Invalid visibility value: {word}")),
                known => known,
            },
        };
        let mut attributes = Vec::new();
        for (name, value) in query.0.iter().filter(|(name, _)| !NOT_ATTRIBUTES.contains(&name.as_str())) {
            attributes.push((name.clone(), values(name, value)?));
        }
        let mut times = Vec::new();
        for name in ["created_at", "updated_at"] {
            for value in query.all(name) {
                times.push(TimeFilter::read(name, value)?);
            }
        }
        Ok(Self {
            visibility,
            all: word == Some("all"),
            member_status,
            hidden: query.flag("os_hidden")?.unwrap_or(false),
            size: (query.number("size_min")?.unwrap_or(0), query.number("size_max")?.unwrap_or(u64::MAX)),
            tags: query.all("tag").map(str::to_owned).collect(),
            times,
            attributes,
        })
    }

    fn matches(&self, ctx: &Ctx, image: &Image) -> bool {
        let own = image.owner.is_some() && image.owner == ctx.caller.project_id();
        let listed = match self.visibility {
            // Community images are listed only if the query asks for them.
            None => image.visibility != Visibility::Community || own || self.all,
            Some(wanted) => image.visibility == wanted,
        };
        let project = ctx.caller.project_id();
        let seen = match image.membership(&ctx.state, project).filter(|_| !own && !ctx.caller.is_admin()) {
            Some(member) => self.member_status.is_none_or(|wanted| member.status == wanted),
            None => ctx.caller.is_admin() || image.is_open_to(&ctx.state, project),
        };
        let size = image.data().map_or(0, |d| d.size);
        listed
            && seen
            && image.hidden == self.hidden
            && (self.size.0..=self.size.1).contains(&size)
            && self.tags.iter().all(|t| image.tags.contains(t))
            && self.times.iter().all(|time| time.matches(image))
            && (self.attributes.is_empty() || self.by_attributes(image))
    }

    fn by_attributes(&self, image: &Image) -> bool {
        let view = wire::image(image);
        self.attributes.iter().all(|(name, wanted)| match &view[name] {
            Value::String(s) => wanted.contains(s),
            Value::Null => false,
            other => wanted.iter().any(|w| w.eq_ignore_ascii_case(&other.to_string())),
        })
    }
}

/// The allowed values of an attribute. Glance must accept each value.
fn values(name: &str, text: &str) -> Result<Vec<String>> {
    let bad = |why: String| Err(Error::invalid(why));
    let found = match text.split_once(':').filter(|_| WITH_OPERATORS.contains(&name)) {
        Some(("in", list)) => split(name, list)?,
        Some(("eq", value)) => vec![value.to_owned()],
        Some((operator, _)) => return bad(format!("Unable to filter by unknown operator '{operator}'.")),
        None => vec![text.to_owned()],
    };
    let number = |value: &String| value.parse::<u64>().is_ok();
    let fits = match name {
        "status" => match found.iter().find(|s| !STATUSES.contains(&s.as_str())) {
            Some(bad_status) => return bad(format!("Invalid image status: {bad_status}")),
            None => true,
        },
        "min_ram" | "min_disk" | "size" | "virtual_size" => found.iter().all(number),
        "protected" => match text_bool(text) {
            Some(flag) => return Ok(vec![flag.to_string()]),
            None => false,
        },
        _ => true,
    };
    if !fits {
        return bad(format!("Unable to filter on '{name}': the value '{text}' does not fit it."));
    }
    Ok(found)
}

/// The values of `in:`, separated by commas. Values in double quotes may hold commas.
fn split(name: &str, list: &str) -> Result<Vec<String>> {
    let bad = || Error::invalid(format!("Invalid filter value {list} for '{name}': the quotes do not pair."));
    let (mut found, mut rest) = (Vec::new(), list);
    loop {
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(bad)?,
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        if value.contains('"') {
            return Err(bad());
        }
        found.push(value.to_owned());
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(found),
            None => return Err(bad()),
        }
    }
}

/// A comparison with one of the image's times.
struct TimeFilter {
    updated: bool,
    allowed: fn(Ordering) -> bool,
    than: Timestamp,
}

impl TimeFilter {
    fn read(name: &str, text: &str) -> Result<Self> {
        // A time contains colons, and may have no operator.
        let (operator, time) = match Timestamp::parse(text) {
            Some(_) => ("eq", text),
            None => text.split_once(':').unwrap_or(("eq", text)),
        };
        let allowed: fn(Ordering) -> bool = match operator {
            "eq" => Ordering::is_eq,
            "neq" => Ordering::is_ne,
            "gt" => Ordering::is_gt,
            "gte" => Ordering::is_ge,
            "lt" => Ordering::is_lt,
            "lte" => Ordering::is_le,
            _ => {
                let why = format!("Unable to filter by unknown operator '{operator}'.");
                return Err(Error::invalid(why));
            }
        };
        let than = Timestamp::parse(time).ok_or_else(|| {
            Error::invalid(format!("Invalid time '{time}' for {name}: it must be ISO 8601."))
        })?;
        Ok(Self { updated: name == "updated_at", allowed, than })
    }

    fn matches(&self, image: &Image) -> bool {
        let time = if self.updated { image.updated_at.unwrap_or(image.created_at) } else { image.created_at };
        // Glance shows whole seconds, so clients compare whole seconds.
        (self.allowed)(time.unix_s().cmp(&self.than.unix_s()))
    }
}

struct SortKey {
    name: String,
    ascending: bool,
}

impl SortKey {
    fn compare(&self, a: &Image, b: &Image) -> Ordering {
        let size = |i: &Image| i.data().map(|d| d.size);
        let ordering = match self.name.as_str() {
            "name" => a.name.cmp(&b.name),
            "status" => a.status().cmp(b.status()),
            "container_format" => a.container_format.cmp(&b.container_format),
            "disk_format" => a.disk_format.cmp(&b.disk_format),
            "size" => size(a).cmp(&size(b)),
            "id" => a.id.cmp(&b.id),
            "updated_at" => a.updated_at.cmp(&b.updated_at),
            _ => a.created_at.cmp(&b.created_at),
        };
        if self.ascending { ordering } else { ordering.reverse() }
    }
}

const SORT_KEYS: &[&str] =
    &["name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"];

/// The requested order: `sort=key:dir,…`, or `sort_key` and `sort_dir`.
fn sort_keys(query: &Query) -> Result<Option<Vec<SortKey>>> {
    let dirs: Vec<&str> = query.all("sort_dir").collect();
    let keys: Vec<&str> = query.all("sort_key").collect();
    let pairs: Vec<(String, String)> = match query.get("sort") {
        Some(_) if !keys.is_empty() || !dirs.is_empty() => {
            return Err(Error::invalid("Old and new sorting syntax cannot be combined"));
        }
        Some(sort) => sort
            .split(',')
            .map(|part| part.split_once(':').map_or((part, "desc"), |p| p))
            .map(|(k, d)| (k.to_owned(), d.to_owned()))
            .collect(),
        None => keys
            .iter()
            .enumerate()
            .map(|(i, k)| {
                ((*k).to_owned(), dirs.get(i).or(dirs.last()).copied().unwrap_or("desc").to_owned())
            })
            .collect(),
    };
    if let Some(dir) = dirs.iter().find(|dir| !["asc", "desc"].contains(*dir)) {
        return Err(Error::invalid(format!("Invalid sort direction: {dir}")));
    }
    if dirs.len() > 1 && dirs.len() != keys.len() {
        return Err(Error::invalid("Number of sort dirs does not match the number of sort keys"));
    }
    if let Some((key, dir)) =
        pairs.iter().find(|(k, d)| !SORT_KEYS.contains(&k.as_str()) || !["asc", "desc"].contains(&d.as_str()))
    {
        return Err(Error::invalid(format!("Unsupported sort: {key}:{dir}.")));
    }
    let keys: Vec<SortKey> =
        pairs.into_iter().map(|(name, dir)| SortKey { name, ascending: dir == "asc" }).collect();
    Ok((!keys.is_empty()).then_some(keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_glance_reads_them() {
        let read = |text: &str| Filter::read(&Query::parse(Some(text)));
        let named = |text: &str| read(text).unwrap().attributes.remove(0).1;
        assert_eq!(named("name=plain"), ["plain"]);
        assert_eq!(named("name=eq:a:b"), ["a:b"]);
        assert_eq!(named("name=in:a,\"b,c\",d"), ["a", "b,c", "d"]);
        assert_eq!(named("os_distro=a:b"), ["a:b"]);
        assert_eq!(named("protected=1"), ["true"]);
        for bad in [
            "name=like:a",
            "name=in:\"a",
            "name=in:a\"b",
            "status=nosuch",
            "status=in:active,nosuch",
            "visibility=nobody",
            "member_status=perhaps",
            "changes-since=2026-01-01",
            "size_min=few",
            "min_ram=much",
            "protected=perhaps",
            "os_hidden=perhaps",
            "created_at=after:2026-01-01T00:00:00Z",
            "created_at=gt:yesterday",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_order_is_said_in_one_way() {
        let read = |text: &str| sort_keys(&Query::parse(Some(text)));
        assert_eq!(read("sort=name:asc,size").unwrap().map(|keys| keys.len()), Some(2));
        for bad in [
            "sort=name&sort_key=size",
            "sort=name&sort_dir=asc",
            "sort=colour",
            "sort_key=name&sort_dir=up",
            "sort_dir=up",
            "sort_key=name&sort_key=size&sort_key=id&sort_dir=asc&sort_dir=desc",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
