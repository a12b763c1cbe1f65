//! The filters of Keystone's lists: attributes, compared whole or in part (`name__contains`), and a project's
//! tags.
//!
//! As in Keystone, unknown parameters are ignored.

use crate::query::Query;
use lenticular_model::error::{Error, Result};
use lenticular_wire::request::text_bool;
use serde_json::Value;

/// The items of a list that match a query.
///
/// # Errors
/// The value of a flag is neither true nor false.
pub fn chosen(query: &Query, items: Vec<Value>, attributes: &[&str]) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for item in items {
        if matches(query, &item, attributes)? {
            found.push(item);
        }
    }
    Ok(found)
}

/// The id of an item, for the markers of pages.
pub fn id(item: &Value) -> String {
    item["id"].as_str().unwrap_or_default().to_owned()
}

/// Whether an item of a list has the query's values of the attributes that the list can be filtered by.
///
/// # Errors
/// The value of a flag is neither true nor false.
fn matches(query: &Query, item: &Value, attributes: &[&str]) -> Result<bool> {
    for (name, wanted) in &query.0 {
        let (attribute, comparator) = name.split_once("__").unwrap_or((name, "equals"));
        if !attributes.contains(&attribute) {
            continue;
        }
        let fits = match &item[attribute] {
            Value::Bool(flag) => *flag == read_flag(name, wanted)?,
            Value::String(text) => compare(comparator, text, wanted),
            _ => false,
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a project's tags match a query.
pub fn tags_match(query: &Query, tags: &[String]) -> bool {
    let asked = |name: &str| -> Option<Vec<String>> {
        query.get(name).map(|list| list.split(',').map(str::to_owned).collect())
    };
    let has = |tag: &String| tags.contains(tag);
    asked("tags").is_none_or(|all| all.iter().all(has))
        && asked("tags-any").is_none_or(|any| any.iter().any(has))
        && asked("not-tags").is_none_or(|all| !all.iter().all(has))
        && asked("not-tags-any").is_none_or(|any| !any.iter().any(has))
}

fn read_flag(name: &str, text: &str) -> Result<bool> {
    let flag = if text.is_empty() { Some(true) } else { text_bool(text) };
    flag.ok_or_else(|| {
        Error::invalid(format!("Invalid value '{text}' for {name}: it must be true or false."))
    })
}

/// Keystone's comparisons of text. Comparisons that begin with `i` ignore case.
fn compare(comparator: &str, text: &str, wanted: &str) -> bool {
    if let Some(comparator) = comparator.strip_prefix('i') {
        return compare(comparator, &text.to_lowercase(), &wanted.to_lowercase());
    }
    match comparator {
        "equals" => text == wanted,
        "contains" => text.contains(wanted),
        "startswith" => text.starts_with(wanted),
        "endswith" => text.ends_with(wanted),
        // A comparison that Keystone does not know filters nothing.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn items_are_compared_as_keystone_compares() {
        let item = json!({"name": "Apple tree", "enabled": true, "domain_id": null});
        let fits = |text: &str| {
            let attributes = ["name", "enabled", "domain_id"];
            matches(&Query::parse(Some(text)), &item, &attributes)
        };
        for yes in [
            "",
            "name=Apple+tree",
            "name__iequals=apple+TREE",
            "name__contains=ple",
            "name__istartswith=apple",
            "name__endswith=tree",
            "enabled",
            "enabled=1",
            "colour=red",
            "name__sounds=so",
        ] {
            assert!(fits(yes).unwrap(), "{yes}");
        }
        for no in
            ["name=apple", "name__contains=PLE", "name__startswith=tree", "enabled=false", "domain_id=x"]
        {
            assert!(!fits(no).unwrap(), "{no}");
        }
        assert!(fits("enabled=perhaps").is_err());
    }

    #[test]
    fn tags_are_asked_for_and_excluded() {
        let tags = ["a".to_owned(), "b".to_owned()];
        let fits = |text: &str| tags_match(&Query::parse(Some(text)), &tags);
        for yes in ["tags=a,b", "tags-any=b,c", "not-tags=a,c", "not-tags-any=c,d", "tags=a&not-tags-any=c"] {
            assert!(fits(yes), "{yes}");
        }
        for no in ["tags=a,c", "tags-any=c", "not-tags=a,b", "not-tags-any=b,c"] {
            assert!(!fits(no), "{no}");
        }
    }
}
