//! The arguments of the action `rebuild`.

use super::server_create::{
    DiskConfig, File, access, check_hostname, check_metadata, check_user_data, read_files,
};
use crate::{
    microversion::{Field, Microversion, since, until},
    request::{self, de_bool, de_present},
};
use lenticular_model::{
    ImageId,
    compute::server::PersonalityFile,
    error::{Error, Result},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fields with the first or the last microversion that has them.
const FIELDS: &[Field] = &[
    until("personality", 57),
    since("description", 19),
    since("key_name", 54),
    since("user_data", 57),
    since("trusted_image_certificates", 63),
    since("hostname", 90),
];

/// The arguments. A field that is present and null removes what it names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildServer {
    /// The image's id, or its URL.
    #[serde(rename = "imageRef")]
    image: String,
    /// The name.
    #[serde(default)]
    pub name: Option<String>,
    /// A password. The answer shows it, but the guest does not get it.
    #[serde(rename = "adminPass", default)]
    pub admin_pass: Option<String>,
    /// All of the metadata.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
    /// True keeps the disks beside the root disk.
    #[serde(default, deserialize_with = "de_bool")]
    pub preserve_ephemeral: bool,
    #[serde(rename = "OS-DCF:diskConfig", default)]
    disk_config: Option<DiskConfig>,
    /// Stored and shown only.
    #[serde(rename = "accessIPv4", default)]
    pub access_ipv4: Option<String>,
    /// Stored and shown only.
    #[serde(rename = "accessIPv6", default)]
    pub access_ipv6: Option<String>,
    #[serde(default)]
    personality: Option<Vec<File>>,
    /// The description.
    #[serde(default, deserialize_with = "de_present")]
    pub description: Option<Option<String>>,
    /// The keypair's name.
    #[serde(default, deserialize_with = "de_present")]
    pub key_name: Option<Option<String>>,
    /// User data in Base64.
    #[serde(default, deserialize_with = "de_present")]
    pub user_data: Option<Option<String>>,
    #[serde(default)]
    trusted_image_certificates: Option<Vec<String>>,
    /// The host name inside the guest.
    #[serde(default)]
    pub hostname: Option<String>,
    /// `MANUAL` partitioning.
    #[serde(skip)]
    pub disk_config_manual: Option<bool>,
}

impl RebuildServer {
    /// The files for the guest, with the number of each file's bytes; `None` if the request has no word about files.
    ///
    /// # Errors
    /// A path is empty, or contents are not Base64.
    pub fn files(&self) -> Result<Option<Vec<(PersonalityFile, usize)>>> {
        self.personality.as_ref().map(|files| read_files(files.iter())).transpose()
    }

    /// The image's id.
    ///
    /// # Errors
    /// The text names no image.
    pub fn image_id(&self) -> Result<ImageId> {
        self.image.rsplit('/').next().unwrap_or_default().parse().map_err(|_| {
            Error::invalid("Invalid input for field/attribute imageRef. It must be an image's id.")
        })
    }
}

/// Reads and checks the arguments. The command checks everything that needs the state.
///
/// # Errors
/// A field is missing, unknown in this version, or malformed.
pub fn read(fields: Map<String, Value>, version: Microversion) -> Result<RebuildServer> {
    request::check_version(&fields, FIELDS, version)?;
    let mut asked: RebuildServer = request::read(fields)?;
    asked.disk_config_manual = asked.disk_config.map(|config| config == DiskConfig::Manual);
    asked.image_id()?;
    if let Some(name) = &asked.name {
        request::check_name("name", name)?;
    }
    for (key, value) in asked.metadata.iter().flatten() {
        check_metadata(key, value)?;
    }
    if let Some(Some(description)) = &asked.description {
        request::check_description(description, 255)?;
    }
    if let Some(Some(key)) = &asked.key_name {
        request::check_name("key_name", key)?;
    }
    if let Some(Some(user_data)) = &asked.user_data {
        check_user_data(user_data)?;
    }
    asked.access_ipv4 = access("accessIPv4", asked.access_ipv4, true)?;
    asked.access_ipv6 = access("accessIPv6", asked.access_ipv6, false)?;
    if let Some(hostname) = &asked.hostname {
        check_hostname(hostname, version)?;
    }
    if asked.trusted_image_certificates.as_ref().is_some_and(|c| !c.is_empty()) {
        return Err(Error::invalid("Image signature certificates are not supported by this cloud."));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const IMAGE: &str = "70a599e0-31e7-49b7-b260-868f441e862b";

    fn fields(version: u16, more: Value) -> Result<RebuildServer> {
        let mut all = json!({ "imageRef": IMAGE });
        let (Value::Object(all), Value::Object(more)) = (&mut all, more) else { panic!("objects") };
        all.extend(more);
        read(all.clone(), Microversion(version))
    }

    #[test]
    fn each_version_has_its_own_arguments() {
        assert_eq!(fields(1, json!({})).unwrap().image_id().unwrap().to_string(), IMAGE);
        assert_eq!(fields(54, json!({"key_name": null})).unwrap().key_name, Some(None));
        assert_eq!(
            fields(57, json!({"user_data": "aGk="})).unwrap().user_data,
            Some(Some("aGk=".to_owned()))
        );
        assert_eq!(fields(57, json!({})).unwrap().user_data, None);
        for (version, bad) in [
            (18, json!({"description": "a"})),
            (53, json!({"key_name": "a"})),
            (56, json!({"user_data": "aGk="})),
            (57, json!({"user_data": "not base 64"})),
            (89, json!({"hostname": "a"})),
            (1, json!({"imageRef": "nothing"})),
            (1, json!({"name": ""})),
            (1, json!({"size": 1})),
        ] {
            assert!(fields(version, bad.clone()).is_err(), "{version}: {bad}");
        }
    }
}
