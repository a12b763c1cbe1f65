//! The arguments of the actions that move a server or change its size.

use lenticular_control::command::compute::shelve::Place;
use lenticular_model::{
    FlavorId,
    error::{Error, Result},
};
use lenticular_wire::{
    compute::server_create::DiskConfig,
    microversion::{Microversion, since, until},
    request,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The target of a live migration, if the request names one.
///
/// # Errors
/// The arguments do not match this version.
pub fn live_target(version: Microversion, fields: Map<String, Value>) -> Result<Option<String>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Live {
        host: Option<String>,
        block_migration: Value,
        #[serde(default)]
        disk_over_commit: Option<Value>,
        #[serde(default)]
        force: Option<Value>,
    }
    let table = [until("disk_over_commit", 24), since("force", 30)];
    request::check_version(&fields, &table, version)?;
    if !fields.contains_key("host") {
        return Err(Error::invalid(
            "Invalid input for field/attribute os-migrateLive. 'host' is a required property",
        ));
    }
    if version.has(68) && fields.contains_key("force") {
        return Err(request::unexpected("force"));
    }
    let live: Live = request::read(fields)?;
    let auto = version.has(25) && live.block_migration == "auto";
    if !auto && request::lenient_bool(&live.block_migration).is_none() {
        return Err(Error::invalid(
            "Invalid input for field/attribute block_migration. It must be true, false or auto.",
        ));
    }
    // Disks are local: they always travel with the guest, so the value only has to be valid.
    for (name, value) in [("disk_over_commit", &live.disk_over_commit), ("force", &live.force)] {
        if value.as_ref().is_some_and(|v| request::lenient_bool(v).is_none()) {
            return Err(Error::invalid(format!(
                "Invalid input for field/attribute {name}. It must be true or false."
            )));
        }
    }
    if !version.has(25) && live.disk_over_commit.is_none() {
        return Err(Error::invalid(
            "Invalid input for field/attribute os-migrateLive. 'disk_over_commit' is a required property",
        ));
    }
    check_host(live.host)
}

/// The target of a cold migration, if the request names one.
///
/// # Errors
/// The arguments do not match this version.
pub fn cold_target(version: Microversion, args: Value) -> Result<Option<String>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Cold {
        host: Option<String>,
    }
    match args {
        Value::Null => Ok(None),
        // Before 2.56 the action has no arguments, and any value is ignored.
        _ if !version.has(56) => Ok(None),
        Value::Object(fields) if fields.contains_key("host") => {
            let cold: Cold = request::read(fields)?;
            check_host(cold.host)
        }
        _ => Err(Error::invalid(
            "Invalid input for field/attribute migrate. It must be null, or an object with a host.",
        )),
    }
}

/// The target of an evacuation, if the request names one.
///
/// # Errors
/// The arguments do not match this version.
pub fn refuge(version: Microversion, fields: Map<String, Value>) -> Result<Option<String>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Evacuate {
        #[serde(default)]
        host: Option<String>,
        #[serde(rename = "adminPass", default)]
        _password: Option<String>,
        #[serde(rename = "onSharedStorage", default)]
        shared: Option<Value>,
        #[serde(default)]
        force: Option<Value>,
    }
    request::check_version(&fields, &[until("onSharedStorage", 13), since("force", 29)], version)?;
    if version.has(68) && fields.contains_key("force") {
        return Err(request::unexpected("force"));
    }
    let evacuate: Evacuate = request::read(fields)?;
    if !version.has(14) && evacuate.shared.is_none() {
        return Err(Error::invalid(
            "Invalid input for field/attribute evacuate. 'onSharedStorage' is a required property",
        ));
    }
    for (name, value) in [("onSharedStorage", &evacuate.shared), ("force", &evacuate.force)] {
        if value.as_ref().is_some_and(|v| request::lenient_bool(v).is_none()) {
            return Err(Error::invalid(format!(
                "Invalid input for field/attribute {name}. It must be true or false."
            )));
        }
    }
    if evacuate.shared.as_ref().and_then(request::lenient_bool) == Some(true) {
        return Err(Error::invalid(
            "Servers of this cloud have local disks, which are not shared. Set onSharedStorage to false.",
        ));
    }
    check_host(evacuate.host)
}

/// The place to unshelve a server in: a zone from 2.77, a host or no zone at all from 2.91.
///
/// # Errors
/// The arguments do not match this version.
pub fn shelf_place(version: Microversion, args: Value) -> Result<Place> {
    let fields = match args {
        Value::Null => return Ok(Place::default()),
        // Before 2.77 the action has no arguments, and any value is ignored.
        _ if !version.has(77) => return Ok(Place::default()),
        Value::Object(fields) if !fields.is_empty() => fields,
        _ => {
            return Err(Error::invalid(
                "Invalid input for field/attribute unshelve. It must be null, or an object with an \
                 availability_zone or a host.",
            ));
        }
    };
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Unshelve {
        #[serde(default)]
        availability_zone: Option<String>,
        #[serde(default)]
        host: Option<String>,
    }
    request::check_version(&fields, &[since("host", 91)], version)?;
    let names_zone = fields.contains_key("availability_zone");
    if fields.get("availability_zone").is_some_and(Value::is_null) && !version.has(91) {
        return Err(Error::invalid(
            "Invalid input for field/attribute availability_zone. None is not of type 'string'",
        ));
    }
    let asked: Unshelve = request::read(fields)?;
    if let Some(zone) = &asked.availability_zone {
        request::check_text("availability_zone", zone, 255)?;
    }
    Ok(Place { zone: names_zone.then_some(asked.availability_zone), host: check_host(asked.host)? })
}

/// The flavor of a resize, and whether the disk is partitioned by its owner from then on.
///
/// # Errors
/// The request names no flavor.
pub fn flavor(fields: Map<String, Value>) -> Result<(FlavorId, Option<bool>)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Resize {
        #[serde(rename = "flavorRef")]
        flavor: Value,
        #[serde(rename = "OS-DCF:diskConfig", default, deserialize_with = "request::de_given")]
        disk_config: Option<DiskConfig>,
    }
    let resize: Resize = request::read(fields)?;
    let text = match &resize.flavor {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => {
            return Err(Error::invalid(
                "Invalid input for field/attribute flavorRef. It must name a flavor.",
            ));
        }
    };
    // Old clients send the flavor's URL.
    let flavor = FlavorId::from(text.rsplit('/').next().unwrap_or_default());
    Ok((flavor, resize.disk_config.map(|asked| asked == DiskConfig::Manual)))
}

fn check_host(host: Option<String>) -> Result<Option<String>> {
    if let Some(host) = &host {
        request::check_name("host", host)?;
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn live(version: u16, args: Value) -> Result<Option<String>> {
        let Value::Object(fields) = args else { panic!("an object") };
        live_target(Microversion(version), fields)
    }

    #[test]
    fn each_version_has_its_own_arguments() {
        assert_eq!(live(96, json!({"host": null, "block_migration": "auto"})), Ok(None));
        assert_eq!(
            live(30, json!({"host": "a", "block_migration": true, "force": true})),
            Ok(Some("a".to_owned()))
        );
        assert_eq!(
            live(1, json!({"host": "a", "block_migration": true, "disk_over_commit": false})),
            Ok(Some("a".to_owned()))
        );
        for (version, bad) in [
            (1, json!({"host": null, "block_migration": "auto", "disk_over_commit": false})),
            (1, json!({"host": null, "block_migration": true})),
            (25, json!({"host": null, "block_migration": true, "disk_over_commit": false})),
            (29, json!({"host": null, "block_migration": true, "force": true})),
            (68, json!({"host": null, "block_migration": true, "force": true})),
            (96, json!({"block_migration": "auto"})),
            (96, json!({"host": "", "block_migration": "auto"})),
        ] {
            assert!(live(version, bad.clone()).is_err(), "{version}: {bad}");
        }
        assert_eq!(cold_target(Microversion(56), json!({"host": "b"})), Ok(Some("b".to_owned())));
        assert_eq!(cold_target(Microversion(55), json!({"host": "b"})), Ok(None));
        assert!(cold_target(Microversion(56), json!({"hosts": "b"})).is_err());
    }

    #[test]
    fn a_resize_may_say_who_partitions_the_disk() {
        let read = |args: Value| flavor(args.as_object().unwrap().clone());
        assert_eq!(read(json!({"flavorRef": 7})), Ok((FlavorId::from("7"), None)));
        let manual = json!({"flavorRef": "http://x/flavors/7", "OS-DCF:diskConfig": "MANUAL"});
        assert_eq!(read(manual), Ok((FlavorId::from("7"), Some(true))));
        assert!(read(json!({"flavorRef": "7", "OS-DCF:diskConfig": "manual"})).is_err());
        assert!(read(json!({"flavorRef": "7", "OS-DCF:diskConfig": null})).is_err());
    }
}
