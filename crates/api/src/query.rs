//! The query of a URL: names and values in the client's order.

use lenticular_model::{
    Timestamp,
    error::{Error, Result},
};
use lenticular_wire::request::text_bool;
use std::ops::RangeInclusive;

/// Names and values.
#[derive(Debug, Clone, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Reads the part of a URL after `?`.
    pub fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or("").split('&').filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The value of a name; the last value if there are several.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All values of a name.
    pub fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> + 'q {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A flag; a flag without a value is true.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some("") => Ok(Some(true)),
            Some(text) => match text_bool(text) {
                Some(flag) => Ok(Some(flag)),
                None => Err(Error::invalid(format!(
                    "Invalid value '{text}' for {name}: it must be true or false."
                ))),
            },
        }
    }

    /// The range of times in which the listed resources must have changed.
    ///
    /// # Errors
    /// A value is not a time, or the range is empty.
    pub fn changes(&self) -> Result<RangeInclusive<Timestamp>> {
        let time = |name: &str, open: i64| match self.get(name) {
            None => Ok(Timestamp(open)),
            Some(text) => Timestamp::parse(text).ok_or_else(|| {
                Error::invalid(format!("Invalid input for query parameters {name}. Value: {text}."))
            }),
        };
        let (since, before) = (time("changes-since", i64::MIN)?, time("changes-before", i64::MAX)?);
        match since > before {
            true => Err(Error::invalid(
                "The value of changes-since must be less than or equal to changes-before.",
            )),
            false => Ok(since..=before),
        }
    }

    /// A non-negative number.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Error::invalid(format!(
                "Invalid input for query parameters {name}. Value: {text}. It must be a number, 0 or more."
            ))
        })
    }
}

/// Decodes `%XX` and `+`. Bytes that are not UTF-8 become a replacement character.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Encodes a value for a URL's query.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_clients_write_them() {
        let query = Query::parse(Some("a=1&b=x%20y%2F+z&all_tenants&a=2&%zz=%4"));
        assert_eq!(query.get("a"), Some("2"));
        assert_eq!(query.get("b"), Some("x y/ z"));
        assert_eq!(query.flag("all_tenants").unwrap(), Some(true));
        assert_eq!(query.get("%zz"), Some("%4"));
        assert_eq!(query.all("a").count(), 2);
        assert!(query.number("b").is_err());
        assert_eq!(Query::parse(Some(&format!("q={}", encode("a/b c&é")))).get("q"), Some("a/b c&é"));
    }
}
