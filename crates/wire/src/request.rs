//! Reading requests: typed fields out of JSON, with every refusal naming the field.

use crate::microversion::{Field, Microversion};
use lenticular_model::error::{Error, Result};
use serde::de::DeserializeOwned;
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

/// Refuses fields that the version spoken does not have.
pub fn check_version(fields: &Map<String, Value>, table: &[Field], version: Microversion) -> Result<()> {
    let late = table.iter().find(|field| !field.is_in(version) && fields.contains_key(field.name));
    match late {
        Some(field) => Err(unexpected(field.name)),
        None => Ok(()),
    }
}

fn unexpected(name: &str) -> Error {
    Error::invalid(format!("Additional properties are not allowed ('{name}' was unexpected)"))
}

/// Reads an object into a type that knows all its fields.
pub fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| {
        let text = error.to_string();
        match text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
            Some(name) => unexpected(name),
            None => Error::invalid(format!("Invalid input for field/attribute: {text}.")),
        }
    })
}

/// A name: 1 to 255 characters, not only blanks, none of them a control character.
pub fn check_name(field: &str, name: &str) -> Result<()> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > 255 || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "Invalid input for field/attribute {field}. Value: {name:?}. It must have 1 to 255 printable characters."
        )));
    }
    Ok(())
}

/// A text of at most `max` characters.
pub fn check_text(field: &str, text: &str, max: usize) -> Result<()> {
    if text.chars().count() > max {
        return Err(Error::invalid(format!(
            "Invalid input for {field}. It exceeds maximum length of {max}."
        )));
    }
    Ok(())
}

/// Reads a flag as old clients send it: true, "True", "yes", 1, …
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

/// Reads a flag out of a text (`True`, `yes`, `on`, `1`, …).
pub fn text_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// For `deserialize_with`: a flag as old clients send it.
pub fn de_bool<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<bool, D::Error> {
    let value = <Value as serde::Deserialize>::deserialize(d)?;
    lenient_bool(&value).ok_or_else(|| serde::de::Error::custom(format!("{value} is not of type 'boolean'")))
}

/// For `deserialize_with`: a number as old clients send it, also as a text.
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

/// For `deserialize_with`: a field that may be null is told from one that is not there.
pub fn de_present<'de, T, D>(d: D) -> std::result::Result<Option<Option<T>>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::<T>::deserialize(d).map(Some)
}

use serde::Deserialize as _;
