//! Host aggregates as Nova shows them, and requests about them.

use crate::{microversion::Microversion, request};
use lenticular_model::{
    State, Timestamp,
    compute::aggregate::{Aggregate, ZONE_KEY},
    error::{Error, Result},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An aggregate. The answer to a create request has neither hosts nor metadata.
pub fn view(state: &State, aggregate: &Aggregate, version: Microversion, is_new: bool) -> Value {
    let mut view = json!({
        "id": aggregate.number,
        "name": aggregate.name,
        "availability_zone": aggregate.metadata.get(ZONE_KEY),
        "created_at": aggregate.created_at.iso_naive_us(),
        "updated_at": aggregate.updated_at.map(Timestamp::iso_naive_us),
        "deleted": false,
        "deleted_at": null,
    });
    if version.has(41) {
        view["uuid"] = json!(aggregate.id);
    }
    if !is_new {
        let hosts = aggregate.hosts.iter().filter_map(|id| state.hosts.get(id));
        view["hosts"] = hosts.map(|host| host.name.as_str()).collect();
        view["metadata"] = json!(aggregate.metadata);
    }
    view
}

fn check_zone(zone: &str) -> Result<()> {
    request::check_name(ZONE_KEY, zone)?;
    if zone.contains(':') {
        return Err(Error::invalid(format!(
            "Invalid input for field/attribute {ZONE_KEY}. Value: {zone:?}. It must not have ':' in it."
        )));
    }
    Ok(())
}

/// A new aggregate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateAggregate {
    /// Its name.
    pub name: String,
    /// The zone of its hosts.
    #[serde(default)]
    pub availability_zone: Option<String>,
}

/// Reads `POST /os-aggregates`.
///
/// # Errors
/// The body is invalid.
pub fn read_create(body: Value) -> Result<CreateAggregate> {
    let new: CreateAggregate = request::read(request::sole(body, "aggregate")?)?;
    request::check_name("name", &new.name)?;
    new.availability_zone.as_deref().map_or(Ok(()), check_zone)?;
    Ok(new)
}

/// The changes of an aggregate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateAggregate {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// The zone of its hosts.
    #[serde(default, deserialize_with = "request::de_present")]
    pub availability_zone: Option<Option<String>>,
}

/// Reads `PUT /os-aggregates/{id}`.
///
/// # Errors
/// The body is invalid.
pub fn read_update(body: Value) -> Result<UpdateAggregate> {
    let change: UpdateAggregate = request::read(request::sole(body, "aggregate")?)?;
    if change.name.is_none() && change.availability_zone.is_none() {
        return Err(Error::invalid("An update of an aggregate needs 'name' or 'availability_zone'."));
    }
    change.name.as_deref().map_or(Ok(()), |name| request::check_name("name", name))?;
    change.availability_zone.iter().flatten().try_for_each(|zone| check_zone(zone))?;
    Ok(change)
}

/// The actions on an aggregate.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// `add_host`
    AddHost(String),
    /// `remove_host`
    RemoveHost(String),
    /// `set_metadata`: null removes.
    SetMetadata(BTreeMap<String, Option<String>>),
}

/// Reads `POST /os-aggregates/{id}/action`.
///
/// # Errors
/// The body is invalid.
pub fn read_action(body: Value) -> Result<Action> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Host {
        host: String,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Metadata {
        metadata: BTreeMap<String, Option<String>>,
    }
    let Value::Object(fields) = body else {
        return Err(Error::invalid("The request's body must be a JSON object with one action."));
    };
    let mut actions = fields.into_iter();
    let (Some((name, args)), None) = (actions.next(), actions.next()) else {
        return Err(Error::invalid("The request's body must name exactly one action."));
    };
    let args: Map<String, Value> = request::read_value(&name, args)?;
    let host = |args| {
        let Host { host } = request::read(args)?;
        request::check_name("host", &host)?;
        Ok(host)
    };
    match name.as_str() {
        "add_host" => host(args).map(Action::AddHost),
        "remove_host" => host(args).map(Action::RemoveHost),
        "set_metadata" => {
            let Metadata { metadata } = request::read(args)?;
            metadata.iter().try_for_each(|(key, value)| check_entry(key, value.as_deref()))?;
            Ok(Action::SetMetadata(metadata))
        }
        other => Err(Error::invalid(format!("There is no such action: {other}"))),
    }
}

fn check_entry(key: &str, value: Option<&str>) -> Result<()> {
    super::server_create::check_metadata(key, value.unwrap_or_default())?;
    match value {
        // The command decides whether the zone may be empty.
        Some(zone) if key == ZONE_KEY && !zone.is_empty() => check_zone(zone),
        _ => Ok(()),
    }
}

/// Reads `POST /os-aggregates/{id}/images`: the ids of images to cache on the aggregate's hosts.
///
/// # Errors
/// The body is invalid.
pub fn read_images(body: Value) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Images {
        cache: Vec<Image>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Image {
        id: String,
    }
    let Value::Object(fields) = body else {
        return Err(Error::invalid("The request's body must be a JSON object."));
    };
    let Images { cache } = request::read(fields)?;
    let ids: Vec<String> = cache.into_iter().map(|image| image.id).collect();
    if ids.is_empty() {
        return Err(Error::invalid("Invalid input for field/attribute cache. It is too short."));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_zones_are_what_nova_takes() {
        let create = |fields: Value| read_create(json!({ "aggregate": fields }));
        assert!(create(json!({"name": "a", "availability_zone": null})).is_ok());
        assert!(create(json!({"name": "a b", "availability_zone": "z1"})).is_ok());
        for bad in [
            json!({}),
            json!({"name": ""}),
            json!({"name": " a"}),
            json!({"name": "x".repeat(256)}),
            json!({"name": "a", "availability_zone": ""}),
            json!({"name": "a", "availability_zone": "z:1"}),
            json!({"name": "a", "hosts": []}),
        ] {
            assert!(create(bad.clone()).is_err(), "{bad}");
        }
        assert!(read_update(json!({"aggregate": {}})).is_err());
        assert!(read_update(json!({"aggregate": {"availability_zone": null}})).is_ok());
    }

    #[test]
    fn exactly_one_action_is_taken() {
        assert_eq!(read_action(json!({"add_host": {"host": "h"}})).unwrap(), Action::AddHost("h".to_owned()));
        let set = read_action(json!({"set_metadata": {"metadata": {"ssd": "true", "old": null}}})).unwrap();
        let entries = [("old".to_owned(), None), ("ssd".to_owned(), Some("true".to_owned()))];
        assert_eq!(set, Action::SetMetadata(entries.into()));
        for bad in [
            json!({}),
            json!({"add_host": {"host": "h"}, "remove_host": {"host": "h"}}),
            json!({"add_host": {}}),
            json!({"add_host": {"host": 1}}),
            json!({"add_hosts": {"host": "h"}}),
            json!({"set_metadata": {"metadata": {"a": 1}}}),
            json!({"set_metadata": {"metadata": {"": "a"}}}),
            json!({"set_metadata": {"metadata": {"availability_zone": "a:b"}}}),
        ] {
            assert!(read_action(bad.clone()).is_err(), "{bad}");
        }
    }
}
