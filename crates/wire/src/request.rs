//! Reads requests: typed fields from JSON. Every refusal names the field.

use crate::microversion::{Field, Microversion};
use lenticular_model::error::{Error, Result};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::{Map, Value};

/// The object under the one key that a request's body must have (`{"server": {…}}`).
pub fn envelope(body: Value, key: &str) -> Result<Map<String, Value>> {
    let Value::Object(mut body) = body else {
        return Err(Error::invalid("The request's body must be a JSON object."));
    };
    match body.remove(key) {
        Some(Value::Object(inner)) => Ok(inner),
        Some(_) => {
            Err(Error::invalid(format!("Invalid input for field/attribute {key}. It must be an object.")))
        }
        None => Err(Error::invalid(format!("'{key}' is a required property"))),
    }
}

/// Refuses fields that the requested version does not have.
pub fn check_version(fields: &Map<String, Value>, table: &[Field], version: Microversion) -> Result<()> {
    let late = table.iter().find(|field| !field.is_in(version) && fields.contains_key(field.name));
    match late {
        Some(field) => Err(unexpected(field.name)),
        None => Ok(()),
    }
}

/// The error for an unknown field.
pub fn unexpected(name: &str) -> Error {
    Error::invalid(format!("Additional properties are not allowed ('{name}' was unexpected)"))
}

/// Reads an object into a type that knows all its fields.
pub fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T> {
    read_value("", Value::Object(fields))
}

/// Reads the value of one field; without a name, a whole object.
pub fn read_value<T: DeserializeOwned>(field: &str, value: Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let text = error.inner().to_string();
        let named = |prefix: &str| text.strip_prefix(prefix)?.split('`').next();
        match (named("unknown field `"), named("missing field `")) {
            (Some(name), _) => unexpected(name),
            (None, Some(name)) => Error::invalid(format!("'{name}' is a required property")),
            (None, None) => {
                let place = place_of(field, error.path());
                Error::invalid(format!("Invalid input for field/attribute {place}: {text}."))
            }
        }
    })
}

/// The name of the invalid field, and the place in it.
fn place_of(field: &str, path: &serde_path_to_error::Path) -> String {
    match (field, path.iter().next()) {
        (_, None) => field.to_owned(),
        ("", _) => path.to_string(),
        // An index in a list follows the list's name directly.
        (_, Some(serde_path_to_error::Segment::Seq { .. })) => format!("{field}{path}"),
        _ => format!("{field}.{path}"),
    }
}

/// The value under the only key that a request's body may have.
pub fn sole_value(body: Value, key: &str) -> Result<Value> {
    let Value::Object(mut body) = body else {
        return Err(Error::invalid("The request's body must be a JSON object."));
    };
    let value = body.remove(key).ok_or_else(|| Error::invalid(format!("'{key}' is a required property")))?;
    match body.keys().next() {
        Some(other) => Err(unexpected(other)),
        None => Ok(value),
    }
}

/// The object under the only key that a request's body may have.
pub fn sole(body: Value, key: &str) -> Result<Map<String, Value>> {
    match sole_value(body, key)? {
        Value::Object(inner) => Ok(inner),
        _ => Err(Error::invalid(format!("Invalid input for field/attribute {key}. It must be an object."))),
    }
}

/// Invisible characters that are not control characters: they would make two names look the same.
const UNSEEN: &[std::ops::RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{e000}'..='\u{f8ff}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{e0000}'..='\u{10ffff}',
];

/// Whether a character is visible, or a blank between visible characters.
fn is_printable(c: char) -> bool {
    !c.is_control() && !UNSEEN.iter().any(|range| range.contains(&c))
}

/// Checks a name by Nova's rules: 1 to 255 printable characters, no blank at either end.
pub fn check_name(field: &str, name: &str) -> Result<()> {
    let length = name.chars().count();
    if !(1..=255).contains(&length) || !name.chars().all(is_printable) || name.trim() != name {
        return Err(Error::invalid(format!(
            "Invalid input for field/attribute {field}. Value: {name:?}. It must have 1 to 255 printable characters. \
             It can not start or end with whitespace."
        )));
    }
    Ok(())
}

/// Checks a description by Nova's rules: printable characters.
pub fn check_description(text: &str, max: usize) -> Result<()> {
    check_text("description", text, max)?;
    match text.chars().all(is_printable) {
        true => Ok(()),
        false => Err(Error::invalid(
            "Invalid input for field/attribute description. It must have printable characters alone, on one line.",
        )),
    }
}

/// Checks that a text has at most `max` characters.
pub fn check_text(field: &str, text: &str, max: usize) -> Result<()> {
    if text.chars().count() > max {
        return Err(Error::invalid(format!(
            "Invalid input for {field}. It exceeds maximum length of {max}."
        )));
    }
    Ok(())
}

/// Reads a boolean in all forms that old clients send: true, "True", "yes", 1, …
pub fn lenient_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::Number(n) => match n.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(s) => text_bool(s),
        _ => None,
    }
}

/// Reads a boolean from a text (`True`, `yes`, `on`, `1`, …).
pub fn text_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// For `deserialize_with`: a boolean in all forms that old clients send.
pub fn de_bool<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<bool, D::Error> {
    let value = <Value as serde::Deserialize>::deserialize(d)?;
    lenient_bool(&value).ok_or_else(|| serde::de::Error::custom(format!("{value} is not of type 'boolean'")))
}

/// For `deserialize_with`: a number, which old clients may send as a text.
pub fn de_number<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<u32, D::Error> {
    let value = <Value as serde::Deserialize>::deserialize(d)?;
    let number = match &value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    };
    number
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| serde::de::Error::custom(format!("{value} is not of type 'integer' in range")))
}

/// For `deserialize_with`: a field that may be absent, but not null.
pub fn de_given<'de, T, D>(d: D) -> std::result::Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(d).map(Some)
}

/// For `deserialize_with`: distinguishes null from an absent field.
pub fn de_present<'de, T, D>(d: D) -> std::result::Result<Option<Option<T>>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::<T>::deserialize(d).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        #[serde(rename = "name")]
        _name: String,
        #[serde(rename = "groups", default)]
        _groups: Vec<Group>,
        #[serde(rename = "count", default, deserialize_with = "de_number")]
        _count: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Group {
        #[serde(rename = "name")]
        _name: String,
    }

    #[test]
    fn names_are_printable_and_begin_and_end_with_what_is_seen() {
        for good in ["a", "a b", "é", "日本", "a\u{a0}b", "m1.🚀", &"x".repeat(255)] {
            assert!(check_name("name", good).is_ok(), "{good:?}");
        }
        let unseen =
            ["\u{200b}", "\u{feff}", "\u{202e}", "\u{ad}", "\u{2028}", "\u{e000}", "\n", "\t", "\u{7f}"];
        for bad in unseen {
            assert!(check_name("name", &format!("a{bad}b")).is_err(), "{bad:?}");
            assert!(check_description(&format!("a{bad}b"), 255).is_err(), "{bad:?}");
        }
        for bad in ["", " ", " a", "a ", "\u{3000}a", "a\u{a0}", &"x".repeat(256)] {
            assert!(check_name("name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_body_has_one_key() {
        assert!(sole(json!({"server": {}}), "server").is_ok());
        for bad in
            [json!({}), json!([]), json!(null), json!({"server": 1}), json!({"server": {}, "colour": 1})]
        {
            assert!(sole(bad.clone(), "server").is_err(), "{bad}");
        }
    }

    #[test]
    fn every_refusal_names_the_field() {
        let why = |body: Value| {
            let Value::Object(fields) = body else { unreachable!() };
            read::<Asked>(fields).unwrap_err().message.to_string()
        };
        assert!(why(json!({"name": 1})).starts_with("Invalid input for field/attribute name: "));
        assert!(
            why(json!({"name": "a", "count": "x"})).starts_with("Invalid input for field/attribute count: ")
        );
        let nested = json!({"name": "a", "groups": [{"name": "b"}, {"name": null}]});
        assert!(why(nested).starts_with("Invalid input for field/attribute groups[1].name: "));
        assert_eq!(why(json!({})), "'name' is a required property");
        assert!(why(json!({"name": "a", "colour": 1})).contains("'colour' was unexpected"));
        let value = |field: &str, value| read_value::<Vec<String>>(field, value).unwrap_err().message;
        assert!(value("tags", json!(["a", 1])).starts_with("Invalid input for field/attribute tags[1]: "));
        assert!(value("tags", json!(1)).starts_with("Invalid input for field/attribute tags: "));
    }
}
