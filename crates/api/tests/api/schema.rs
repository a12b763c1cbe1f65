//! Checks JSON against a schema of an OpenAPI document, as far as the operators' API uses schemas.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Checks that a value has the types and the members that the schema describes: all required members, and no
/// unknown ones.
///
/// # Errors
/// The value does not match; the message says where.
pub fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolve(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().any(|choice| check(document, choice, value, at).is_ok());
        return fits.then_some(()).ok_or_else(|| format!("{at}: {value} fits none of {choices:?}"));
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => Vec::from_iter(one.as_str()),
    };
    // A composition has no type.
    if !types.is_empty() && !types.iter().any(|name| is_of(value, name)) {
        return Err(format!("{at}: {value} is none of {types:?}"));
    }
    match value {
        Value::Object(members) => match schema.get("additionalProperties") {
            Some(each) => members
                .iter()
                .try_for_each(|(name, member)| check(document, each, member, &format!("{at}.{name}"))),
            None => check_members(document, schema, members, at),
        },
        Value::Array(items) => {
            let each = schema["prefixItems"].as_array();
            if each.is_some_and(|each| each.len() != items.len()) {
                return Err(format!("{at}: has {} items", items.len()));
            }
            items.iter().enumerate().try_for_each(|(n, item)| {
                check(document, each.map_or(&schema["items"], |each| &each[n]), item, &format!("{at}[{n}]"))
            })
        }
        _ => Ok(()),
    }
}

fn resolve<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            document.pointer(reference.trim_start_matches('#')).expect("the reference leads somewhere")
        }
        None => schema,
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => name == "number" || name == "integer" && !number.is_f64(),
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    }
}

fn check_members(
    document: &Value,
    schema: &Value,
    members: &Map<String, Value>,
    at: &str,
) -> Result<(), String> {
    let described = described(document, schema);
    for (name, (_, required)) in &described {
        if *required && !members.contains_key(*name) {
            return Err(format!("{at}: {name} is missing"));
        }
    }
    members.iter().try_for_each(|(name, member)| match described.get(name.as_str()) {
        Some((schema, _)) => check(document, schema, member, &format!("{at}.{name}")),
        None => Err(format!("{at}: {name} is not described")),
    })
}

/// The members that a schema describes, with those of its parts, and whether each is required.
fn described<'d>(document: &'d Value, schema: &'d Value) -> BTreeMap<&'d str, (&'d Value, bool)> {
    let schema = resolve(document, schema);
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let mut found: BTreeMap<_, _> = parts.flat_map(|part| described(document, part)).collect();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let own = schema["properties"].as_object().into_iter().flatten();
    found.extend(own.map(|(name, schema)| (name.as_str(), (schema, required.contains(&name.as_str())))));
    found
}

#[test]
fn an_answer_that_is_not_as_described_is_found() {
    let document = json!({"components": {"schemas": {
        "Base": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
        "Host": {"allOf": [{"$ref": "#/components/schemas/Base"}, {"type": "object", "properties": {
            "room": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": ["number", "null"]}]},
            "base": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Base"}]},
            "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        }}]},
    }}});
    let said =
        |value: Value| check(&document, &document["components"]["schemas"]["Host"], &value, "host").err();
    assert_eq!(said(json!({"id": "1", "room": [1, 0.5], "base": {"id": "2"}, "counts": {"a": 1}})), None);
    assert_eq!(said(json!({"id": "1", "room": [1, null], "base": null})), None);
    for wrong in [
        json!({}),
        json!({"id": 1}),
        json!({"id": "1", "colour": "blue"}),
        json!({"id": "1", "room": [1]}),
        json!({"id": "1", "room": [1, "much"]}),
        json!({"id": "1", "base": {}}),
        json!({"id": "1", "counts": {"a": 0.5}}),
    ] {
        assert!(said(wrong.clone()).is_some(), "{wrong}");
    }
}
