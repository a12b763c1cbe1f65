//! The values of columns: atoms, sets and maps, to and from JSON (RFC 7047, section 5.1).

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A real number with a total order, so that sets can hold it.
#[derive(Debug, Clone, Copy)]
pub struct Real(pub f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Real {}
impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Real {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Atom {
    /// An integer.
    Integer(i64),
    /// A real number.
    Real(Real),
    /// True or false.
    Boolean(bool),
    /// A text.
    String(String),
    /// A row.
    Uuid(Uuid),
    /// A row that the same transaction inserts under this name.
    Named(String),
}

impl From<&str> for Atom {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}
impl From<String> for Atom {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}
impl From<i64> for Atom {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}
impl From<bool> for Atom {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}
impl From<Uuid> for Atom {
    fn from(row: Uuid) -> Self {
        Self::Uuid(row)
    }
}

/// The value of a row's column. A scalar is a set of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datum {
    /// A set.
    Set(BTreeSet<Atom>),
    /// A map.
    Map(BTreeMap<Atom, Atom>),
}

/// The error: JSON that is no value of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an OVSDB value")]
pub struct BadValue(pub String);

impl Atom {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Integer(number) => json!(number),
            Self::Real(number) => json!(number.0),
            Self::Boolean(truth) => json!(truth),
            Self::String(text) => json!(text),
            Self::Uuid(row) => json!(["uuid", row]),
            Self::Named(name) => json!(["named-uuid", name]),
        }
    }

    /// From JSON.
    ///
    /// # Errors
    /// It is no atom.
    pub fn from_json(value: &Value) -> Result<Self, BadValue> {
        let bad = || BadValue(value.to_string());
        match value {
            Value::Bool(truth) => Ok(Self::Boolean(*truth)),
            Value::String(text) => Ok(Self::String(text.clone())),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Ok(Self::Integer(number)),
                None => number.as_f64().map(|n| Self::Real(Real(n))).ok_or_else(bad),
            },
            Value::Array(pair) => match &pair[..] {
                [Value::String(tag), Value::String(row)] if tag == "uuid" => {
                    row.parse().map(Self::Uuid).map_err(|_| bad())
                }
                [Value::String(tag), Value::String(name)] if tag == "named-uuid" => {
                    Ok(Self::Named(name.clone()))
                }
                _ => Err(bad()),
            },
            Value::Null | Value::Object(_) => Err(bad()),
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl Datum {
    /// An empty set.
    pub fn empty() -> Self {
        Self::Set(BTreeSet::new())
    }

    /// One value.
    pub fn one(atom: impl Into<Atom>) -> Self {
        Self::Set([atom.into()].into())
    }

    /// Several values.
    pub fn set(atoms: impl IntoIterator<Item = impl Into<Atom>>) -> Self {
        Self::Set(atoms.into_iter().map(Into::into).collect())
    }

    /// A map.
    pub fn map(pairs: impl IntoIterator<Item = (impl Into<Atom>, impl Into<Atom>)>) -> Self {
        Self::Map(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// Whether it is empty. An empty set and an empty map count as equal where the type is unknown.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Set(set) => set.is_empty(),
            Self::Map(map) => map.is_empty(),
        }
    }

    /// Whether two values are equal.
    pub fn same(&self, other: &Self) -> bool {
        self == other || (self.is_empty() && other.is_empty())
    }

    /// The atoms of a set; none of a map.
    pub fn atoms(&self) -> impl Iterator<Item = &Atom> {
        match self {
            Self::Set(set) => Some(set.iter()),
            Self::Map(_) => None,
        }
        .into_iter()
        .flatten()
    }

    /// The rows that a set names.
    pub fn rows(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.atoms().filter_map(|atom| match atom {
            Atom::Uuid(row) => Some(*row),
            _ => None,
        })
    }

    /// The text under a key of a map.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        match self {
            Self::Map(map) => map.get(&Atom::from(key))?.as_str(),
            Self::Set(_) => None,
        }
    }

    /// The only text of a set.
    pub fn text(&self) -> Option<&str> {
        self.atoms().next()?.as_str()
    }

    /// The only truth value of a set.
    pub fn truth(&self) -> Option<bool> {
        match self.atoms().next() {
            Some(Atom::Boolean(truth)) => Some(*truth),
            _ => None,
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Set(set) => match set.first() {
                Some(only) if set.len() == 1 => only.to_json(),
                _ => json!(["set", set.iter().map(Atom::to_json).collect::<Vec<_>>()]),
            },
            Self::Map(map) => {
                let pairs: Vec<Value> =
                    map.iter().map(|(key, value)| json!([key.to_json(), value.to_json()])).collect();
                json!(["map", pairs])
            }
        }
    }

    /// From JSON.
    ///
    /// # Errors
    /// It is no value.
    pub fn from_json(value: &Value) -> Result<Self, BadValue> {
        let bad = || BadValue(value.to_string());
        let tagged = value.as_array().and_then(|pair| Some((pair.first()?.as_str()?, pair.get(1)?)));
        match tagged {
            Some(("set", members)) => {
                let members = members.as_array().ok_or_else(bad)?;
                Ok(Self::Set(members.iter().map(Atom::from_json).collect::<Result<_, _>>()?))
            }
            Some(("map", pairs)) => {
                let pairs = pairs.as_array().ok_or_else(bad)?.iter().map(|pair| {
                    match pair.as_array().map(Vec::as_slice) {
                        Some([key, value]) => Ok((Atom::from_json(key)?, Atom::from_json(value)?)),
                        _ => Err(bad()),
                    }
                });
                Ok(Self::Map(pairs.collect::<Result<_, _>>()?))
            }
            _ => Ok(Self::Set([Atom::from_json(value)?].into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn atom() -> impl Strategy<Value = Atom> {
        prop_oneof![
            any::<i64>().prop_map(Atom::Integer),
            any::<bool>().prop_map(Atom::Boolean),
            ".{0,8}".prop_map(Atom::String),
            any::<[u8; 16]>().prop_map(|bytes| Atom::Uuid(Uuid::from_bytes(bytes))),
            (-1.0e9_f64..1.0e9).prop_map(|n| Atom::Real(Real(n.floor() + 0.5))),
            "[a-z]{1,5}".prop_map(Atom::Named),
        ]
    }

    fn datum() -> impl Strategy<Value = Datum> {
        prop_oneof![
            prop::collection::btree_set(atom(), 0..5).prop_map(Datum::Set),
            prop::collection::btree_map(atom(), atom(), 0..5).prop_map(Datum::Map),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(datum in datum()) {
            let text = datum.to_json().to_string();
            let read = Datum::from_json(&serde_json::from_str(&text).unwrap()).unwrap();
            prop_assert_eq!(read, datum);
        }

        #[test]
        fn no_json_is_a_panic(text in ".{0,40}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let _ = Datum::from_json(&value);
            }
        }
    }

    #[test]
    fn values_are_spelled_as_the_protocol_has_them() {
        assert_eq!(Datum::one("x").to_json(), json!("x"));
        assert_eq!(Datum::empty().to_json(), json!(["set", []]));
        assert_eq!(Datum::set([1, 2]).to_json(), json!(["set", [1, 2]]));
        assert_eq!(Datum::map([("a", "b")]).to_json(), json!(["map", [["a", "b"]]]));
        assert!(Datum::from_json(&json!(["set", 1])).is_err());
        assert!(Datum::from_json(&json!(["map", [["a"]]])).is_err());
        assert!(Datum::from_json(&json!({})).is_err());
        assert!(Datum::empty().same(&Datum::Map(BTreeMap::new())));
    }
}
