//! Reads the fields of a request's object, with Neutron's error messages.

use ipnet::IpNet;
use lenticular_model::{
    ProjectId,
    error::{Error, Result},
    network::subnet::HostRoute,
    policy::{self, Action, Caller},
};
use lenticular_wire::request::lenient_bool;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{net::IpAddr, str::FromStr};

/// A bad request, with a message as Neutron words it.
pub fn bad(message: impl Into<String>) -> Error {
    Error::invalid(message.into()).coded("HTTPBadRequest")
}

/// The error for a missing field.
pub fn required(name: &str) -> Error {
    bad(format!("Failed to parse request. Required attribute '{name}' not specified"))
}

/// Refuses a list with duplicates.
pub fn check_distinct<T: PartialEq>(name: &str, list: &[T]) -> Result<()> {
    match list.iter().enumerate().find(|(at, item)| list[..*at].contains(item)) {
        Some((at, _)) => Err(bad(format!(
            "Invalid input for {name}. Reason: number {} of the list is a duplicate.",
            at + 1
        ))),
        None => Ok(()),
    }
}

/// The fields of one object of a request.
#[derive(Debug, Clone, Default)]
pub struct Fields(pub Map<String, Value>);

impl Fields {
    /// Refuses fields that the resource does not have, or that a client may not set.
    pub fn check(&self, known: &[&str]) -> Result<()> {
        let unknown: Vec<&str> = self.0.keys().map(String::as_str).filter(|k| !known.contains(k)).collect();
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(bad(format!("Unrecognized attribute(s) '{}'", unknown.join(", ")))),
        }
    }

    /// Whether the field exists, perhaps with the value null.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The field's value, unless it is null.
    fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Reads an optional field; null counts as absent.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let wrong = |error| bad(format!("Invalid input for {name}. Reason: '{value}': {error}."));
        serde_json::from_value(value.clone()).map(Some).map_err(wrong)
    }

    /// Reads a required field.
    pub fn need<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.get(name)?.ok_or_else(|| required(name))
    }

    /// Reads a field that distinguishes null from an absent field.
    pub fn nullable<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Option<T>>> {
        match self.has(name) {
            true => self.get(name).map(Some),
            false => Ok(None),
        }
    }

    /// Reads a text of at most 255 characters.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        let found = self.get::<String>(name)?;
        if found.as_ref().is_some_and(|t| t.chars().count() > 255) {
            return Err(bad(format!("Invalid input for {name}. Reason: it exceeds maximum length of 255.")));
        }
        Ok(found)
    }

    /// Reads a text; an absent text is empty.
    pub fn text_or_empty(&self, name: &str) -> Result<String> {
        Ok(self.text(name)?.unwrap_or_default())
    }

    /// Reads an integer. Old clients send it as a text.
    pub fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number =
            value.as_i64().or_else(|| value.as_str()?.parse().ok()).and_then(|n| T::try_from(n).ok());
        let wrong =
            || bad(format!("Invalid input for {name}. Reason: '{value}' is not an integer in range."));
        number.map(Some).ok_or_else(wrong)
    }

    /// Reads a boolean, also in the forms that old clients send.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let wrong =
            || bad(format!("Invalid input for {name}. Reason: '{value}' cannot be converted to boolean."));
        lenient_bool(value).map(Some).ok_or_else(wrong)
    }

    /// Reads an id.
    pub fn id<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.get::<String>(name)?.map(|text| id(name, &text)).transpose()
    }

    /// Reads a list of ids.
    pub fn ids<T: FromStr>(&self, name: &str) -> Result<Option<Vec<T>>> {
        let Some(list) = self.get::<Vec<String>>(name)? else { return Ok(None) };
        list.iter().map(|text| id(name, text)).collect::<Result<_>>().map(Some)
    }

    /// Reads a DNS name, in lower case.
    pub fn dns_name(&self, name: &str) -> Result<Option<String>> {
        Ok(self.text(name)?.map(|text| text.to_ascii_lowercase()))
    }

    /// Reads a list of objects that may have only these fields.
    pub fn objects(&self, name: &str, known: &[&str]) -> Result<Option<Vec<Fields>>> {
        let Some(list) = self.get::<Vec<Map<String, Value>>>(name)? else { return Ok(None) };
        let read = |one: Map<String, Value>| {
            let one = Fields(one);
            one.check(known).map(|()| one)
        };
        list.into_iter().map(read).collect::<Result<_>>().map(Some)
    }

    /// Reads an address.
    pub fn address(&self, name: &str) -> Result<Option<IpAddr>> {
        self.get::<String>(name)?.map(|text| address(name, &text)).transpose()
    }

    /// Reads a list of addresses.
    pub fn addresses(&self, name: &str) -> Result<Option<Vec<IpAddr>>> {
        let Some(list) = self.get::<Vec<String>>(name)? else { return Ok(None) };
        list.iter().map(|text| address(name, text)).collect::<Result<_>>().map(Some)
    }

    /// Reads a range; a single address is a range of one address.
    pub fn range(&self, name: &str) -> Result<Option<IpNet>> {
        self.get::<String>(name)?.map(|text| range(name, &text)).transpose()
    }

    /// Reads a list of ranges.
    pub fn ranges(&self, name: &str) -> Result<Option<Vec<IpNet>>> {
        let Some(list) = self.get::<Vec<String>>(name)? else { return Ok(None) };
        list.iter().map(|text| range(name, text)).collect::<Result<_>>().map(Some)
    }

    /// Reads a list of routes.
    pub fn routes(&self, name: &str) -> Result<Option<Vec<HostRoute>>> {
        let Some(list) = self.objects(name, &["destination", "nexthop"])? else {
            return Ok(self.has(name).then(Vec::new));
        };
        let read = |one: Fields| {
            let missing =
                || bad(format!("Invalid input for {name}. Reason: a route has a destination and a nexthop."));
            let destination = one.range("destination")?.ok_or_else(missing)?;
            Ok(HostRoute { destination, nexthop: one.address("nexthop")?.ok_or_else(missing)? })
        };
        let routes: Vec<HostRoute> = list.into_iter().map(read).collect::<Result<_>>()?;
        check_distinct(name, &routes)?;
        Ok(Some(routes))
    }

    /// The project of a new resource: the caller's, unless an admin names another.
    pub fn project(&self, caller: &Caller, action: Action) -> Result<ProjectId> {
        let named = match self.get::<ProjectId>("project_id")? {
            Some(id) => Some(id),
            None => self.get::<ProjectId>("tenant_id")?,
        };
        match named {
            Some(id) => policy::check(caller, action, Some(id)).map(|()| id),
            None => caller.need_project(),
        }
    }
}

fn id<T: FromStr>(name: &str, text: &str) -> Result<T> {
    let wrong = || bad(format!("Invalid input for {name}. Reason: '{text}' is not a valid UUID."));
    text.parse().map_err(|_| wrong())
}

fn address(name: &str, text: &str) -> Result<IpAddr> {
    let wrong = || bad(format!("Invalid input for {name}. Reason: '{text}' is not a valid IP address."));
    text.parse().map_err(|_| wrong())
}

/// Reads a range from a text.
pub fn range(name: &str, text: &str) -> Result<IpNet> {
    let wrong = || bad(format!("Invalid input for {name}. Reason: '{text}' is not a valid IP subnet."));
    match text.parse() {
        Ok(range) => Ok(range),
        Err(_) => text.parse::<IpAddr>().map(IpNet::from).map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(name: &str, value: Value) -> Fields {
        Fields(Map::from_iter([(name.to_owned(), value)]))
    }

    #[test]
    fn numbers_are_read_as_texts_too() {
        let read = |value: Value| fields("ip_version", value).number::<u8>("ip_version");
        assert_eq!(read(json!(4)).unwrap(), Some(4));
        assert_eq!(read(json!("6")).unwrap(), Some(6));
        assert_eq!(read(json!(null)).unwrap(), None);
        for bad in [json!("four"), json!(256), json!(4.5), json!([4]), json!("")] {
            assert!(read(bad.clone()).unwrap_err().message.contains("ip_version"), "{bad}");
        }
    }

    #[test]
    fn null_is_told_from_absence_where_it_matters() {
        assert_eq!(fields("a", json!(null)).nullable::<u8>("a").unwrap(), Some(None));
        assert_eq!(fields("a", json!(1)).nullable::<u8>("a").unwrap(), Some(Some(1)));
        assert_eq!(Fields::default().nullable::<u8>("a").unwrap(), None);
        assert_eq!(fields("routes", json!(null)).routes("routes").unwrap(), Some(Vec::new()));
        assert!(fields("routes", json!([{"destination": "10.0.0.0/8"}])).routes("routes").is_err());
        assert_eq!(fields("r", json!("10.0.0.9")).range("r").unwrap().unwrap().to_string(), "10.0.0.9/32");
    }
}
