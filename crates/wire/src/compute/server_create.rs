//! The body of a request to create servers.

use crate::{
    compute::{
        block_device::{check_device_tag, check_disk, check_disk_keys, device_tag},
        tag::check_tag,
    },
    microversion::{Field, Microversion, since, until},
    request::{self, de_bool, de_number},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lenticular_model::{
    ImageId, ServerGroupId,
    compute::server::{Hints, Networks, Nic, PersonalityFile},
    error::{Error, Result},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    str::FromStr,
};

/// Fields with the first or the last microversion that has them.
pub const FIELDS: &[Field] = &[
    until("personality", 57),
    since("description", 19),
    since("tags", 52),
    since("trusted_image_certificates", 63),
    since("host", 74),
    since("hypervisor_hostname", 74),
    since("hostname", 90),
];

/// The `server` object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateServer {
    /// The name.
    pub name: String,
    /// The image's id.
    #[serde(rename = "imageRef", default)]
    pub image: Option<String>,
    /// The flavor's id.
    #[serde(rename = "flavorRef")]
    pub flavor: Value,
    /// The keypair's name.
    #[serde(default)]
    pub key_name: Option<String>,
    /// Interfaces: `auto`, `none` or a list.
    #[serde(default)]
    pub networks: Option<Value>,
    /// Security groups for new ports.
    #[serde(default, deserialize_with = "request::de_given")]
    pub security_groups: Option<Vec<Group>>,
    /// User data in Base64.
    #[serde(default)]
    pub user_data: Option<String>,
    /// The server's metadata.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
    /// The server's tags.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Whether a config drive is asked for.
    #[serde(default, deserialize_with = "config_drive")]
    pub config_drive: bool,
    /// The zone; `zone:host` forces a host.
    #[serde(default)]
    pub availability_zone: Option<String>,
    /// The lowest number of servers.
    #[serde(default, deserialize_with = "count")]
    pub min_count: Option<u32>,
    /// The highest number of servers.
    #[serde(default, deserialize_with = "count")]
    pub max_count: Option<u32>,
    /// Whether to answer with the reservation's id.
    #[serde(default, deserialize_with = "de_bool")]
    pub return_reservation_id: bool,
    /// A password. The answer shows it, but the guest does not get it.
    #[serde(rename = "adminPass", default)]
    pub admin_pass: Option<String>,
    /// `AUTO` or `MANUAL`.
    #[serde(rename = "OS-DCF:diskConfig", default)]
    pub disk_config: Option<DiskConfig>,
    /// Disks.
    #[serde(default)]
    pub block_device_mapping_v2: Vec<Map<String, Value>>,
    /// Disks, in the old form.
    #[serde(default)]
    pub block_device_mapping: Vec<Map<String, Value>>,
    /// Stored and shown only.
    #[serde(rename = "accessIPv4", default)]
    pub access_ipv4: Option<String>,
    /// Stored and shown only.
    #[serde(rename = "accessIPv6", default)]
    pub access_ipv6: Option<String>,
    /// Files for the guest.
    #[serde(default, deserialize_with = "request::de_given")]
    pub personality: Option<Vec<File>>,
    /// A description.
    #[serde(default)]
    pub description: Option<String>,
    /// Certificates; refused.
    #[serde(default)]
    pub trusted_image_certificates: Option<Vec<String>>,
    /// The only allowed host.
    #[serde(default)]
    pub host: Option<String>,
    /// The only allowed host, by its hypervisor's name.
    #[serde(default)]
    pub hypervisor_hostname: Option<String>,
    /// The host name inside the guest.
    #[serde(default)]
    pub hostname: Option<String>,
    /// The server group, from a hint.
    #[serde(skip)]
    pub group: Option<ServerGroupId>,
    /// The other scheduler hints.
    #[serde(skip)]
    pub hints: Hints,
}

/// A security group by name or id.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name or id.
    pub name: String,
}

/// A file for the guest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its path in the guest.
    pub path: String,
    /// Its bytes, in Base64.
    pub contents: String,
}

/// How the disk is partitioned; without effect in this cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum DiskConfig {
    /// By the cloud.
    #[serde(rename = "AUTO")]
    Auto,
    /// The disk is not partitioned.
    #[serde(rename = "MANUAL")]
    Manual,
}

fn config_drive<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<bool, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(false),
        Value::String(s) if s.is_empty() => Ok(false),
        value => request::lenient_bool(&value).ok_or_else(|| {
            serde::de::Error::custom(format!("config_drive {value} is not of type 'boolean'"))
        }),
    }
}

fn count<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Option<u32>, D::Error> {
    let number = de_number(d)?;
    if number == 0 {
        return Err(serde::de::Error::custom("min_count and max_count must be 1 or more"));
    }
    Ok(Some(number))
}

/// Reads and checks the body. The command checks everything that needs the state.
pub fn read(body: Value, version: Microversion) -> Result<CreateServer> {
    let (group, hints) = read_beside(&body)?;
    let fields = request::envelope(body, "server")?;
    request::check_version(&fields, FIELDS, version)?;
    let mut new = CreateServer { group, hints, ..request::read(fields)? };
    request::check_name("name", &new.name)?;
    request::check_description(new.description.as_deref().unwrap_or_default(), 255)?;
    let groups = new.security_groups.iter().flatten().map(|g| ("security_groups", &g.name));
    let names = [("key_name", &new.key_name), ("availability_zone", &new.availability_zone)];
    let names = names.iter().filter_map(|(field, name)| Some((*field, name.as_ref()?)));
    names.chain(groups).try_for_each(|(field, name)| request::check_name(field, name))?;
    if let (Some(min), Some(max)) = (new.min_count, new.max_count)
        && min > max
    {
        return Err(Error::invalid("min_count must be <= max_count"));
    }
    for (key, value) in new.metadata.iter().flatten() {
        check_metadata(key, value)?;
    }
    new.user_data.as_deref().map_or(Ok(()), check_user_data)?;
    new.block_device_mapping_v2.iter().try_for_each(|disk| check_disk_keys(disk, version))?;
    // Nova lost the tags of networks for a few versions.
    let has_tags = (32..37).contains(&version.0) || version.has(42);
    new.nics().try_for_each(|nic| check_device_tag(nic, has_tags))?;
    check_unsupported(&new)?;
    new.access_ipv4 = access("accessIPv4", new.access_ipv4.take(), true)?;
    new.access_ipv6 = access("accessIPv6", new.access_ipv6.take(), false)?;
    for tag in &new.tags {
        check_tag(tag)?;
    }
    if let Some(hostname) = &new.hostname {
        check_hostname(hostname, version)?;
    }
    Ok(new)
}

/// Reads the scheduler hints. They stand beside the server, under one of two names; no other field may stand
/// there.
fn read_beside(body: &Value) -> Result<(Option<ServerGroupId>, Hints)> {
    let (mut group, mut hints) = (None, Hints::default());
    for (name, value) in body.as_object().into_iter().flatten().filter(|(name, _)| *name != "server") {
        match (name.as_str(), value.as_object()) {
            ("os:scheduler_hints" | "OS-SCH-HNT:scheduler_hints", Some(given)) => {
                for (hint, value) in given {
                    read_hint(hint, value, &mut group, &mut hints)?;
                }
            }
            ("os:scheduler_hints" | "OS-SCH-HNT:scheduler_hints", None) => {
                return Err(Error::invalid(format!(
                    "Invalid input for field/attribute {name}. It must be an object."
                )));
            }
            _ => return Err(request::unexpected(name)),
        }
    }
    Ok((group, hints))
}

/// Reads a scheduler hint. As in Nova, an unknown hint is ignored; a hint that Nova's filters would obey is
/// refused.
fn read_hint(name: &str, value: &Value, group: &mut Option<ServerGroupId>, hints: &mut Hints) -> Result<()> {
    match name {
        "group" => *group = Some(hinted_id(name, value)?),
        "same_host" => hints.same_host = hinted_ids(name, value)?,
        "different_host" => hints.different_host = hinted_ids(name, value)?,
        "query" => {
            let why = "The scheduler hint query (JsonFilter) is not supported by this cloud. Use a flavor with \
                       extra specs, a server group, or same_host and different_host.";
            return Err(Error::invalid(why));
        }
        "build_near_host_ip" | "cidr" => {
            return Err(Error::invalid(format!(
                "The scheduler hint {name} (SimpleCIDRAffinityFilter) is not supported by this cloud. Use same_host, \
                 or a zone."
            )));
        }
        _ => {}
    }
    Ok(())
}
fn hinted_id<T: FromStr>(name: &str, value: &Value) -> Result<T> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        Error::invalid(format!(
            "Invalid input for field/attribute {name}. Value: {value}. It must be a UUID."
        ))
    })
}

/// One id, or several.
fn hinted_ids<T: FromStr>(name: &str, value: &Value) -> Result<Vec<T>> {
    match value {
        Value::Array(list) => list.iter().map(|one| hinted_id(name, one)).collect(),
        one => Ok(vec![hinted_id(name, one)?]),
    }
}

/// The files for a guest, with the number of each file's bytes.
pub(super) fn read_files<'a>(files: impl Iterator<Item = &'a File>) -> Result<Vec<(PersonalityFile, usize)>> {
    let read = |File { path, contents }: &File| {
        let plain: String = contents.split_whitespace().collect();
        let bytes = STANDARD.decode(plain).ok().filter(|_| !path.is_empty());
        let bytes = bytes.ok_or_else(|| {
            Error::invalid(format!("Personality content for {path} cannot be decoded: it must be Base64."))
        })?;
        Ok((PersonalityFile { path: path.clone(), contents: STANDARD.encode(&bytes) }, bytes.len()))
    };
    files.map(read).collect()
}

/// Refuses user data that is too long, or no Base64.
pub(super) fn check_user_data(data: &str) -> Result<()> {
    if data.len() > 65_535 {
        return Err(Error::invalid(
            "Invalid input for field/attribute user_data. It is too long (65535 characters at most).",
        ));
    }
    let plain: Vec<u8> = data.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let body = plain.strip_suffix(b"==").or(plain.strip_suffix(b"=")).unwrap_or(&plain);
    let alphabet = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    if !plain.len().is_multiple_of(4) || !body.iter().all(alphabet) {
        return Err(Error::invalid("User data needs to be valid base 64."));
    }
    Ok(())
}

/// Refuses requests for features that do not exist: they are never silently ignored.
fn check_unsupported(new: &CreateServer) -> Result<()> {
    if new.trusted_image_certificates.as_ref().is_some_and(|c| !c.is_empty()) {
        return Err(Error::invalid("Image signature certificates are not supported by this cloud."));
    }
    if !new.block_device_mapping.is_empty() {
        return Err(Error::invalid(
            "Volumes are not supported by this cloud: leave out block_device_mapping.",
        ));
    }
    new.block_device_mapping_v2.iter().try_for_each(check_disk)?;
    if new.block_device_mapping_v2.len() > 1 {
        return Err(Error::invalid("Only one disk, the image's, is supported by this cloud yet."));
    }
    Ok(())
}

/// Refuses metadata that Nova would refuse.
pub fn check_metadata(key: &str, value: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | ' ');
    if key.is_empty() || key.len() > 255 || !key.chars().all(legal) {
        return Err(Error::invalid(format!(
            "Invalid input for field/attribute metadata. Key {key:?} is not allowed."
        )));
    }
    request::check_text("metadata value", value, 255)
}

/// Refuses host names that Nova would refuse: one label of 2 to 63 characters, from 2.94 on any name with a domain.
pub fn check_hostname(name: &str, version: Microversion) -> Result<()> {
    let is_letter = |c: char| c.is_ascii_alphanumeric();
    let is_good = match version.has(94) {
        true => {
            (1..=255).contains(&name.len())
                && name.chars().all(|c| is_letter(c) || matches!(c, '-' | '.' | '_'))
        }
        false => {
            (2..=63).contains(&name.len())
                && name.chars().all(|c| is_letter(c) || c == '-')
                && name.starts_with(is_letter)
                && name.ends_with(is_letter)
        }
    };
    match is_good {
        true => Ok(()),
        false => Err(Error::invalid(format!("Invalid input for field/attribute hostname. Value: {name:?}."))),
    }
}

/// Refuses an address of the wrong family.
pub fn check_access(field: &str, address: Option<&str>, v4: bool) -> Result<()> {
    match address.filter(|a| !a.is_empty()) {
        Some(a) if a.parse::<IpAddr>().map(|ip| ip.is_ipv4()) != Ok(v4) => {
            Err(Error::invalid(format!("Invalid input for field/attribute {field}. Value: {a}.")))
        }
        _ => Ok(()),
    }
}

/// An address in its usual form, so that one address has one spelling.
///
/// # Errors
/// The address is of the wrong family.
pub fn access(field: &str, address: Option<String>, v4: bool) -> Result<Option<String>> {
    check_access(field, address.as_deref(), v4)?;
    Ok(address.map(|text| text.parse::<IpAddr>().map_or(text, |ip| ip.to_string())))
}

impl CreateServer {
    /// The image's id, from `imageRef` or from the only disk.
    pub fn image_id(&self) -> Result<ImageId> {
        let from_disk = || self.block_device_mapping_v2.iter().find_map(|d| d.get("uuid")?.as_str());
        let text = self.image.as_deref().filter(|i| !i.is_empty()).or_else(from_disk);
        let text =
            text.ok_or_else(|| Error::invalid("Invalid imageRef provided: a server needs an image."))?;
        // Very old clients send the image's URL.
        let id = text.rsplit('/').next().unwrap_or(text);
        id.parse().map_err(|_| Error::invalid(format!("Invalid imageRef provided: {text}.")))
    }

    /// The flavor's id, as a text or a number, or at the end of a URL.
    pub fn flavor_id(&self) -> Result<String> {
        match &self.flavor {
            Value::String(text) if !text.is_empty() => Ok(text.rsplit('/').next().unwrap_or(text).to_owned()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(Error::invalid(format!("Invalid flavorRef provided: {other}."))),
        }
    }

    /// The requested interfaces, as they are written.
    fn nics(&self) -> impl Iterator<Item = &Map<String, Value>> {
        self.networks.as_ref().and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    }

    /// The tags of the requested interfaces, in order.
    pub fn nic_tags(&self) -> Vec<Option<String>> {
        self.nics().map(device_tag).collect()
    }

    /// The files for the guest, with the number of each file's bytes.
    ///
    /// # Errors
    /// A path is empty, or contents are not Base64.
    pub fn files(&self) -> Result<Vec<(PersonalityFile, usize)>> {
        read_files(self.personality.iter().flatten())
    }

    /// The tag of the root disk.
    pub fn disk_tag(&self) -> Option<String> {
        self.block_device_mapping_v2.first().and_then(device_tag)
    }

    /// The requested interfaces.
    pub fn networks(&self, version: Microversion) -> Result<Networks> {
        match &self.networks {
            None | Some(Value::Null) if version.has(37) => {
                Err(Error::invalid("'networks' is a required property: auto, none or a list"))
            }
            None | Some(Value::Null) => Ok(Networks::Unsaid),
            Some(Value::String(word)) if version.has(37) => match word.as_str() {
                "auto" => Ok(Networks::Auto),
                "none" => Ok(Networks::None),
                _ => {
                    Err(Error::invalid(format!("Invalid input for field/attribute networks. Value: {word}.")))
                }
            },
            Some(Value::Array(list)) if list.is_empty() => Err(Error::invalid(
                "Invalid input for field/attribute networks. Value: []. It is too short: name a network, or ask for \
                 auto or none.",
            )),
            Some(Value::Array(list)) => list.iter().map(read_nic).collect::<Result<_>>().map(Networks::These),
            Some(other) => {
                Err(Error::invalid(format!("Invalid input for field/attribute networks. Value: {other}.")))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNic {
    #[serde(default)]
    uuid: Option<String>,
    #[serde(default)]
    port: Option<String>,
    #[serde(default)]
    fixed_ip: Option<String>,
    #[serde(rename = "tag", default, deserialize_with = "request::de_given")]
    _tag: Option<String>,
}

fn read_nic(value: &Value) -> Result<Nic> {
    let Value::Object(fields) = value else {
        return Err(Error::invalid("Invalid input for field/attribute networks. Each must be an object."));
    };
    let nic: RawNic = request::read(fields.clone())?;
    let bad = |text: &str| Error::invalid(format!("Bad networks format: {text} is not a valid id."));
    match (nic.port, nic.uuid) {
        (Some(port), _) => {
            if nic.fixed_ip.is_some() {
                return Err(Error::invalid(
                    "Specified Fixed IP cannot be used with port: the two together are invalid.",
                ));
            }
            port.parse().map(Nic::Port).map_err(|_| bad(&port))
        }
        (None, Some(network)) => {
            let address = nic
                .fixed_ip
                .as_deref()
                .map(|ip| ip.parse().map_err(|_| Error::invalid(format!("Invalid fixed IP address ({ip})"))));
            Ok(Nic::Network(network.parse().map_err(|_| bad(&network))?, address.transpose()?))
        }
        (None, None) => Err(Error::invalid("Bad networks format: network uuid is missing.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(more: Value) -> String {
        let mut body = json!({"server": {"name": "a", "imageRef": "", "flavorRef": "1"}});
        for (key, value) in more.as_object().unwrap() {
            body["server"][key] = value.clone();
        }
        read(body, Microversion(1)).unwrap_err().message.to_string()
    }

    #[test]
    fn devices_have_tags_in_the_versions_that_nova_has_them_in() {
        let taken = |key: &str, version| {
            let device = json!([{"tag": "wan", "uuid": "9a2d2f38-8f52-4f1c-a6b0-6cf2bd9f4a6d"}]);
            let server = json!({"name": "a", "imageRef": "i", "flavorRef": "1", (key): device});
            read(json!({ "server": server }), Microversion(version))
                .map(|new| (new.nic_tags(), new.disk_tag()))
        };
        let versions = |key: &str| [31, 32, 36, 37, 41, 42, 100].map(|version| taken(key, version).is_ok());
        assert_eq!(versions("networks"), [false, true, true, false, false, true, true]);
        assert_eq!(versions("block_device_mapping_v2"), [false, true, false, false, false, true, true]);
        assert_eq!(taken("networks", 42).unwrap(), (vec![Some("wan".to_owned())], None));
        assert_eq!(taken("block_device_mapping_v2", 42).unwrap(), (vec![], Some("wan".to_owned())));
        let bad = json!({"name": "a", "imageRef": "i", "flavorRef": "1", "networks": [{"tag": "a/b"}]});
        assert!(read(json!({ "server": bad }), Microversion(42)).is_err());
    }

    #[test]
    fn files_are_read_until_their_version() {
        let read = |personality: Value, version| {
            let server = json!({"name": "a", "imageRef": "i", "flavorRef": "1", "personality": personality});
            read(json!({ "server": server }), Microversion(version))?.files()
        };
        let file = json!([{"path": "/etc/motd", "contents": "aGVs\nbG8="}]);
        let wanted = PersonalityFile { path: "/etc/motd".to_owned(), contents: "aGVsbG8=".to_owned() };
        assert_eq!(read(file.clone(), 56).unwrap(), [(wanted, 5)]);
        assert!(read(file, 57).is_err());
        for bad in [
            json!([{"path": "/a", "contents": "$"}]),
            json!([{"path": "", "contents": ""}]),
            json!([{"path": "/a"}]),
            json!([{"path": "/a", "contents": "", "mode": 7}]),
            json!(null),
        ] {
            assert!(read(bad.clone(), 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_has_one_spelling() {
        let six = |text: &str| access("accessIPv6", Some(text.to_owned()), false).unwrap().unwrap();
        assert_eq!(six("0000:0000:0000:0000:0000:babe:220.12.22.2"), "::babe:dc0c:1602");
        assert_eq!((six("FE80::1"), six("")), ("fe80::1".to_owned(), String::new()));
        assert!(access("accessIPv6", Some("192.0.2.1".to_owned()), false).is_err());
        assert_eq!(access("accessIPv4", None, true).unwrap(), None);
    }

    #[test]
    fn a_key_that_is_named_has_a_name() {
        assert!(refusal(json!({"key_name": ""})).contains("key_name"));
    }

    #[test]
    fn hints_are_read_and_those_that_would_be_ignored_are_refused() {
        let id = "9a2d2f38-8f52-4f1c-a6b0-6cf2bd9f4a6d";
        let with = |hints: Value| {
            let server = json!({"name": "a", "imageRef": id, "flavorRef": "1"});
            read(json!({"server": server, "OS-SCH-HNT:scheduler_hints": hints}), Microversion(1))
        };
        let one = with(json!({"group": id, "same_host": id, "different_host": [id, id], "target_cell": "c"}))
            .unwrap();
        assert_eq!(one.group.map(|g| g.to_string()).as_deref(), Some(id));
        assert_eq!((one.hints.same_host.len(), one.hints.different_host.len()), (1, 2));
        for bad in [
            json!({"group": "web"}),
            json!({"group": [id]}),
            json!({"same_host": "web"}),
            json!({"different_host": [id, 1]}),
            json!({"query": "[\">=\", \"$free_ram_mb\", 1]"}),
            json!({"build_near_host_ip": "10.0.0.1"}),
            json!([]),
        ] {
            assert!(with(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn disks_that_are_not_there_are_refused_by_their_own_names() {
        let disk = |fields: Value| refusal(json!({"block_device_mapping_v2": [fields]}));
        let blank = json!({"source_type": "blank", "destination_type": "local", "volume_size": 1});
        assert!(disk(blank.clone()).starts_with("Ephemeral disks"));
        let mut swap = blank.clone();
        swap["guest_format"] = json!("swap");
        assert!(disk(swap).starts_with("Swap disks"));
        assert!(disk(json!({"source_type": "volume", "uuid": "v"})).starts_with("Volumes"));
        assert!(disk(json!({"source_type": "image", "destination_type": "volume"})).starts_with("Volumes"));
        let image = json!({"source_type": "image", "destination_type": "local"});
        let both = json!({"block_device_mapping_v2": [image, blank]});
        assert!(
            refusal(both).starts_with("Ephemeral disks"),
            "the disk that is wrong is the one that is named"
        );
    }
}
