//! The parameters of Nova's lists: each with its first version, its type, and who may use it.
//!
//! A parameter that a version does not have is ignored. From a list's strict version on, such a parameter is
//! refused. So every accepted parameter has its effect.

use crate::{microversion::Microversion, request};
use lenticular_model::{
    Timestamp,
    error::{Error, Result},
};

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Any text.
    Text,
    /// A regular expression that is not empty.
    Regex,
    /// A number, 0 or more.
    Number,
    /// An ISO 8601 time.
    Time,
    /// Nova's spellings of true and false.
    Flag,
    /// Letters, digits, `-`, `.` and `_`.
    HostName,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A column to sort servers by; the set of columns depends on the version.
    ServerColumn,
}

/// One parameter.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Type,
    /// The first version that has it.
    pub since: u16,
    /// The first version in which users other than administrators may use it. Before that, it is ignored for
    /// them.
    pub users: u16,
    /// Whether strict versions refuse this parameter if it is given twice.
    pub once: bool,
}

/// The parameters of one list.
#[derive(Debug, Clone, Copy)]
pub struct List {
    /// Its URL below `/compute/v2.1/`.
    pub path: &'static str,
    /// Its parameters.
    pub params: &'static [Param],
    /// The version from which unknown parameters are refused.
    pub strict: u16,
}

const NEVER: u16 = u16::MAX;
/// Columns that Nova sorts servers by.
const COLUMNS: &[&str] = &[
    "access_ip_v4",
    "access_ip_v6",
    "auto_disk_config",
    "availability_zone",
    "config_drive",
    "created_at",
    "display_description",
    "display_name",
    "host",
    "hostname",
    "image_ref",
    "instance_type_id",
    "kernel_id",
    "key_name",
    "launch_index",
    "launched_at",
    "locked_by",
    "node",
    "power_state",
    "progress",
    "project_id",
    "ramdisk_id",
    "root_device_name",
    "task_state",
    "terminated_at",
    "updated_at",
    "user_id",
    "uuid",
    "vm_state",
];
/// Columns that Nova accepts until 2.74 but does not sort by.
const OLD_COLUMNS: &[&str] = &[
    "architecture",
    "cell_name",
    "cleaned",
    "default_ephemeral_device",
    "default_swap_device",
    "deleted",
    "deleted_at",
    "disable_terminate",
    "ephemeral_gb",
    "ephemeral_key_uuid",
    "id",
    "key_data",
    "launched_on",
    "locked",
    "memory_mb",
    "os_type",
    "reservation_id",
    "root_gb",
    "shutdown_terminate",
    "user_data",
    "vcpus",
    "vm_mode",
];

const fn all(name: &'static str, kind: Type, since: u16) -> Param {
    Param { name, kind, since, users: since, once: false }
}

/// A parameter that may be given only once.
const fn once(name: &'static str, kind: Type, since: u16) -> Param {
    Param { name, kind, since, users: since, once: true }
}

/// A parameter that only administrators may use before `users`.
const fn by(name: &'static str, kind: Type, users: u16) -> Param {
    Param { name, kind, since: 0, users, once: false }
}

/// `GET /servers` and `/servers/detail`.
pub const SERVERS: List = List {
    path: "servers",
    params: &[
        by("user_id", Type::Text, 83),
        by("project_id", Type::Text, NEVER),
        by("tenant_id", Type::Text, NEVER),
        by("launch_index", Type::Text, NEVER),
        by("image_ref", Type::Text, NEVER),
        by("image", Type::Text, 0),
        by("kernel_id", Type::Regex, NEVER),
        by("ramdisk_id", Type::Regex, NEVER),
        by("hostname", Type::Regex, 90),
        by("key_name", Type::Regex, 83),
        by("power_state", Type::Regex, 83),
        by("vm_state", Type::Text, 83),
        by("task_state", Type::Text, 83),
        by("host", Type::Text, NEVER),
        by("node", Type::Regex, NEVER),
        by("flavor", Type::Regex, 0),
        by("reservation_id", Type::Regex, 0),
        by("launched_at", Type::Regex, 83),
        by("terminated_at", Type::Regex, 83),
        by("availability_zone", Type::Regex, 83),
        by("name", Type::Regex, 0),
        by("display_name", Type::Regex, NEVER),
        by("description", Type::Regex, NEVER),
        by("display_description", Type::Regex, NEVER),
        by("locked_by", Type::Regex, NEVER),
        by("uuid", Type::Text, NEVER),
        by("root_device_name", Type::Regex, NEVER),
        by("config_drive", Type::Regex, 83),
        by("access_ip_v4", Type::Regex, NEVER),
        by("access_ip_v6", Type::Regex, NEVER),
        by("auto_disk_config", Type::Regex, NEVER),
        by("progress", Type::Regex, 83),
        by("created_at", Type::Regex, 83),
        by("soft_deleted", Type::Text, NEVER),
        by("deleted", Type::Text, NEVER),
        by("status", Type::Text, 0),
        by("all_tenants", Type::Text, 0),
        by("ip", Type::Regex, 0),
        by("ip6", Type::Regex, 5),
        all("sort_key", Type::ServerColumn, 0),
        all("sort_dir", Type::Word(&["asc", "desc"]), 0),
        all("limit", Type::Number, 0),
        all("marker", Type::Text, 0),
        all("changes-since", Type::Time, 0),
        all("changes-before", Type::Time, 66),
        all("tags", Type::Regex, 26),
        all("tags-any", Type::Regex, 26),
        all("not-tags", Type::Regex, 26),
        all("not-tags-any", Type::Regex, 26),
        all("locked", Type::Text, 73),
    ],
    strict: 75,
};

/// Parameters that lead to other tables of Nova's database: Nova refuses them for administrators, and ignores
/// them for others.
const JOINED: &[&str] = &[
    "block_device_mapping",
    "services",
    "metadata",
    "system_metadata",
    "info_cache",
    "security_groups",
    "pci_devices",
];

/// `GET /flavors` and `/flavors/detail`.
pub const FLAVORS: List = List {
    path: "flavors",
    params: &[
        all("limit", Type::Number, 0),
        all("marker", Type::Text, 0),
        all("is_public", Type::Text, 0),
        all("minRam", Type::Text, 0),
        all("minDisk", Type::Text, 0),
        all(
            "sort_key",
            Type::Word(&[
                "created_at",
                "description",
                "disabled",
                "ephemeral_gb",
                "flavorid",
                "id",
                "is_public",
                "memory_mb",
                "name",
                "root_gb",
                "rxtx_factor",
                "swap",
                "updated_at",
                "vcpu_weight",
                "vcpus",
            ]),
            0,
        ),
        all("sort_dir", Type::Word(&["asc", "desc"]), 0),
    ],
    strict: 75,
};

/// `GET /os-keypairs`.
pub const KEYPAIRS: List = List {
    path: "os-keypairs",
    params: &[all("user_id", Type::Text, 10), all("limit", Type::Number, 35), all("marker", Type::Text, 35)],
    strict: 75,
};

/// `GET` and `DELETE /os-keypairs/{name}`.
pub const KEYPAIR: List =
    List { path: "os-keypairs/{name}", params: &[all("user_id", Type::Text, 10)], strict: 75 };

/// `GET /limits`.
pub const LIMITS: List = List { path: "limits", params: &[all("tenant_id", Type::Text, 0)], strict: 75 };

/// Everything under `/os-quota-sets/{project}` except the defaults.
pub const QUOTA_SET: List =
    List { path: "os-quota-sets/{project}", params: &[all("user_id", Type::Text, 0)], strict: 75 };

/// `GET /os-server-groups`.
pub const SERVER_GROUPS: List = List {
    path: "os-server-groups",
    params: &[
        all("all_projects", Type::Text, 0),
        all("limit", Type::Number, 0),
        all("offset", Type::Number, 0),
    ],
    strict: 75,
};

/// `GET /os-services`.
pub const SERVICES: List = List {
    path: "os-services",
    params: &[all("host", Type::Text, 0), all("binary", Type::Text, 0)],
    strict: 75,
};

/// `GET /os-hosts`.
pub const HOSTS: List = List {
    path: "os-hosts",
    params: &[all("zone", Type::Text, 0), all("service", Type::Text, 0)],
    strict: NEVER,
};

/// `GET /os-simple-tenant-usage` and `/os-simple-tenant-usage/{project}`.
pub const TENANT_USAGE: List = List {
    path: "os-simple-tenant-usage",
    params: &[
        all("start", Type::Text, 0),
        all("end", Type::Text, 0),
        all("detailed", Type::Text, 0),
        all("limit", Type::Number, 40),
        all("marker", Type::Text, 40),
    ],
    strict: 75,
};

/// `GET /images` and `/images/detail`: every other parameter is a property of the image.
pub const IMAGES: List = List {
    path: "images",
    params: &[
        all("limit", Type::Number, 0),
        all("marker", Type::Text, 0),
        all("name", Type::Text, 0),
        all("status", Type::Text, 0),
        all("server", Type::Text, 0),
        all("type", Type::Text, 0),
        all("changes-since", Type::Time, 0),
        all("minRam", Type::Text, 0),
        all("minDisk", Type::Text, 0),
    ],
    strict: NEVER,
};

/// `GET /os-hypervisors` and `/os-hypervisors/detail`.
pub const HYPERVISORS: List = List {
    path: "os-hypervisors",
    params: &[
        once("limit", Type::Number, 33),
        once("marker", Type::Text, 33),
        once("hypervisor_hostname_pattern", Type::HostName, 53),
        once("with_servers", Type::Flag, 53),
    ],
    strict: 53,
};

/// `GET /os-hypervisors/{id}`.
pub const HYPERVISOR: List =
    List { path: "os-hypervisors/{id}", params: &[once("with_servers", Type::Flag, 53)], strict: 53 };

/// `GET /os-migrations`.
pub const MIGRATIONS: List = List {
    path: "os-migrations",
    params: &[
        all("hidden", Type::Text, 0),
        all("host", Type::Text, 0),
        all("instance_uuid", Type::Text, 0),
        all("source_compute", Type::Text, 0),
        all("status", Type::Text, 0),
        all("migration_type", Type::Text, 0),
        once("limit", Type::Number, 59),
        once("marker", Type::Text, 59),
        once("changes-since", Type::Time, 59),
        once("changes-before", Type::Time, 66),
        once("user_id", Type::Text, 80),
        once("project_id", Type::Text, 80),
    ],
    strict: 59,
};

/// `GET /servers/{id}/os-instance-actions`.
pub const INSTANCE_ACTIONS: List = List {
    path: "servers/{id}/os-instance-actions",
    params: &[
        once("limit", Type::Number, 58),
        once("marker", Type::Text, 58),
        once("changes-since", Type::Time, 58),
        once("changes-before", Type::Time, 66),
    ],
    strict: 58,
};

/// `GET /servers/{id}/os-volume_attachments`.
pub const VOLUME_ATTACHMENTS: List = List {
    path: "servers/{id}/os-volume_attachments",
    params: &[all("limit", Type::Number, 0), all("offset", Type::Number, 0)],
    strict: 75,
};

/// `GET /os-security-groups`.
pub const SECURITY_GROUPS: List = List {
    path: "os-security-groups",
    params: &[
        all("limit", Type::Number, 0),
        all("offset", Type::Number, 0),
        all("all_tenants", Type::Text, 0),
    ],
    strict: NEVER,
};

/// Every list with parameters.
pub const ALL: &[&List] = &[
    &SERVERS,
    &FLAVORS,
    &KEYPAIRS,
    &KEYPAIR,
    &LIMITS,
    &QUOTA_SET,
    &SERVER_GROUPS,
    &SERVICES,
    &HOSTS,
    &TENANT_USAGE,
    &HYPERVISORS,
    &HYPERVISOR,
    &MIGRATIONS,
    &INSTANCE_ACTIONS,
    &VOLUME_ATTACHMENTS,
    &SECURITY_GROUPS,
];

type Pairs = Vec<(String, String)>;

impl List {
    /// The effective parameters of a request.
    ///
    /// # Errors
    /// A value has the wrong type, or a strict version does not know a parameter.
    pub fn read(&self, given: &[(String, String)], version: Microversion, admin: bool) -> Result<Pairs> {
        let mut kept = Pairs::new();
        for (name, value) in given {
            let known = self.params.iter().find(|p| p.name == *name && version.has(p.since));
            let Some(param) = known else {
                self.check_unknown(name, version, admin)?;
                continue;
            };
            check(param, value, version)?;
            let twice = given.iter().filter(|(n, _)| n == name).count() > 1;
            if twice && param.once && version.has(self.strict) {
                return Err(wrong(name, value, "It may be given only once."));
            }
            // As in Nova, a limit of 0 means no limit, but no servers in a list of servers.
            let no_limit = *name == "limit" && value.parse() == Ok(0_u64) && self.path != SERVERS.path;
            if (admin || version.has(param.users)) && !no_limit {
                kept.push((name.clone(), value.clone()));
            }
        }
        Ok(kept)
    }

    fn check_unknown(&self, name: &str, version: Microversion, admin: bool) -> Result<()> {
        let is_inner = self.path == SERVERS.path && (JOINED.contains(&name) || name.starts_with('_'));
        match (is_inner, admin, version.has(self.strict)) {
            (true, true, _) => Err(Error::invalid(format!("Invalid filter field: {name}."))),
            (true, false, _) | (false, _, false) => Ok(()),
            (false, _, true) => Err(request::unexpected(name)),
        }
    }
}

fn wrong(name: &str, value: &str, why: &str) -> Error {
    Error::invalid(format!("Invalid input for query parameters {name}. Value: {value}. {why}"))
}

fn check(param: &Param, value: &str, version: Microversion) -> Result<()> {
    let why = match param.kind {
        Type::Text => return Ok(()),
        Type::Regex => (value.is_empty() || regex_lite::Regex::new(value).is_err())
            .then(|| "It must be a regular expression.".to_owned()),
        Type::Number => (value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()))
            .then(|| "It must be a number, 0 or more.".to_owned()),
        Type::Time => Timestamp::parse(value)
            .is_none()
            .then(|| "It must be a time as ISO 8601 has it, such as 2026-11-21T13:47:00Z.".to_owned()),
        Type::Flag => (!is_flag(value)).then(|| "It must be True or False.".to_owned()),
        Type::HostName => (!value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)))
            .then(|| "It must be a part of a host's name.".to_owned()),
        Type::Word(words) => (!words.contains(&value)).then(|| format!("It must be one of {words:?}.")),
        Type::ServerColumn => {
            let old = OLD_COLUMNS.contains(&value) && (!version.has(75) || value == "locked");
            (!old && !COLUMNS.contains(&value)).then(|| "Servers are not sorted by that.".to_owned())
        }
    };
    why.map_or(Ok(()), |why| Err(wrong(param.name, value, &why)))
}

/// The spellings of a boolean in Nova's schemas: fewer than Nova's code accepts elsewhere.
fn is_flag(value: &str) -> bool {
    let mixed = ["True", "On", "Yes", "False", "Off", "No", "1", "0"];
    let same = ["true", "on", "yes", "false", "off", "no"];
    mixed.contains(&value) || same.iter().any(|word| *word == value || word.to_uppercase() == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &List, query: &[(&str, &str)], version: u16, admin: bool) -> Result<Vec<String>> {
        let pairs: Pairs = query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Ok(list.read(&pairs, Microversion(version), admin)?.into_iter().map(|(name, _)| name).collect())
    }

    /// A valid value of a type, and an invalid one.
    fn values(kind: Type) -> (&'static str, Option<&'static str>) {
        match kind {
            Type::Text => ("x", None),
            Type::Regex => ("x", Some("[")),
            Type::Number => ("1", Some("-1")),
            Type::Time => ("2026-11-21T13:47:00Z", Some("yesterday")),
            Type::Flag => ("True", Some("maybe")),
            Type::HostName => ("host", Some("a b")),
            Type::Word(words) => (words[0], Some("colour")),
            Type::ServerColumn => ("vm_state", Some("colour")),
        }
    }

    #[test]
    fn every_parameter_counts_from_its_version_on_and_is_of_its_type() {
        for list in ALL {
            for param in list.params {
                let (good, bad) = values(param.kind);
                let name = param.name;
                let counts = |version, admin| read(list, &[(name, good)], version, admin);
                assert_eq!(counts(100, true).unwrap(), [name], "{} {name}", list.path);
                if let Some(before) = param.since.checked_sub(1).filter(|v| *v > 0) {
                    let refused = before >= list.strict;
                    assert_eq!(counts(before, true).is_err(), refused, "{} {name} at {before}", list.path);
                    assert!(refused || counts(before, true).unwrap().is_empty(), "{} {name}", list.path);
                }
                for version in [1, 25, 52, 74, 82, 83, 100] {
                    let users = version >= param.users && version >= param.since;
                    assert_eq!(
                        counts(version, false).is_ok_and(|kept| !kept.is_empty()),
                        users,
                        "{} {name} {version}",
                        list.path
                    );
                }
                if let Some(bad) = bad {
                    let refusal = read(list, &[(name, bad)], 100, false).unwrap_err().message;
                    assert!(refusal.contains(name), "{} {name}: {refusal}", list.path);
                }
            }
        }
    }

    #[test]
    fn what_is_not_known_is_refused_from_the_lists_version_on() {
        for list in ALL {
            for version in [1, 52, 53, 57, 58, 59, 74, 75, 100] {
                let refused = read(list, &[("nosuch", "1")], version, true).is_err();
                assert_eq!(refused, version >= list.strict, "{} at {version}", list.path);
            }
            for param in list.params {
                let (good, _) = values(param.kind);
                let twice = read(list, &[(param.name, good), (param.name, good)], 100, true);
                assert_eq!(twice.is_err(), param.once, "{} {}", list.path, param.name);
            }
        }
    }

    #[test]
    fn servers_are_not_filtered_by_what_is_in_other_tables() {
        for name in ["metadata", "info_cache", "_sa_instance_state"] {
            assert!(read(&SERVERS, &[(name, "x")], 1, true).is_err(), "{name}");
            assert_eq!(read(&SERVERS, &[(name, "x")], 100, false).unwrap(), Vec::<String>::new());
        }
    }

    #[test]
    fn columns_that_sort_nothing_are_taken_and_later_refused() {
        let sort = |column, version| read(&SERVERS, &[("sort_key", column)], version, false);
        assert!(sort("locked", 72).is_ok() && sort("memory_mb", 74).is_ok());
        assert!(sort("memory_mb", 75).is_err() && sort("name", 1).is_err() && sort("locked", 75).is_ok());
        assert!(read(&FLAVORS, &[("limit", "0")], 1, false).unwrap().is_empty());
        assert_eq!(read(&SERVERS, &[("limit", "0")], 1, false).unwrap(), ["limit"]);
    }
}
