//! Nova's catalogue of extra specs and their values. Requests from 2.86 on are checked against it.

use super::standard_trait::{is_custom, is_trait};
use crate::request::text_bool;
use lenticular_model::error::{Error, Result};
use regex_lite::Regex;

/// The type of a value.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Any text.
    Text,
    /// A word for true or false.
    Bool,
    /// An integer from the first to the second.
    Int(i128, i128),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text that matches this expression completely.
    Like(&'static str),
}

use Kind::{Bool, Int, Like, Text, Word};

const ANY: Kind = Int(i128::MIN, i128::MAX);
const POSITIVE: Kind = Int(1, i128::MAX);
const NATURAL: Kind = Int(0, i128::MAX);
/// A set of CPUs: `0-3,^1`.
const CPUS: Kind = Like(r"\^?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*");
const SHARES: Kind = Word(&["custom", "high", "normal", "low"]);
const DEMAND: Kind = Word(&["required", "forbidden"]);

/// Every extra spec with a fixed name.
const NAMED: &[(&str, Kind)] = &[
    ("accel:device_profile", Text),
    ("group_policy", Word(&["isolate", "none"])),
    ("hide_hypervisor_id", Bool),
    ("hw:boot_menu", Bool),
    ("hw:cpu_cores", POSITIVE),
    ("hw:cpu_dedicated_mask", CPUS),
    ("hw:cpu_max_cores", POSITIVE),
    ("hw:cpu_max_sockets", POSITIVE),
    ("hw:cpu_max_threads", POSITIVE),
    ("hw:cpu_policy", Word(&["dedicated", "shared", "mixed"])),
    ("hw:cpu_realtime", Bool),
    ("hw:cpu_realtime_mask", CPUS),
    ("hw:cpu_sockets", POSITIVE),
    ("hw:cpu_thread_policy", Word(&["prefer", "isolate", "require"])),
    ("hw:cpu_threads", POSITIVE),
    ("hw:emulator_threads_policy", Word(&["isolate", "share"])),
    ("hw:ephemeral_encryption", Bool),
    ("hw:ephemeral_encryption_format", Word(&["plain", "luks", "luksv2"])),
    ("hw:hide_hypervisor_id", Bool),
    ("hw:locked_memory", Bool),
    ("hw:mem_encryption", Bool),
    ("hw:mem_encryption_model", Word(&["amd-sev", "amd-sev-es", "amd-sev-snp"])),
    ("hw:mem_page_size", Like(r"large|small|any|\d+([kKMGT]i?)?(b|bit|B)?")),
    ("hw:numa_nodes", POSITIVE),
    ("hw:pci_numa_affinity_policy", Word(&["required", "preferred", "legacy", "socket"])),
    ("hw:pmem", Like("([a-zA-Z0-9_]+,?)+")),
    ("hw:pmu", Bool),
    ("hw:redirected_usb_ports", Int(0, 15)),
    ("hw:serial_port_count", NATURAL),
    ("hw:sound_model", Word(&["sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio"])),
    ("hw:tpm_model", Word(&["tpm-tis", "tpm-crb"])),
    ("hw:tpm_secret_security", Word(&["user", "host", "deployment"])),
    ("hw:tpm_version", Word(&["1.2", "2.0"])),
    ("hw:usb_model", Word(&["none", "nec-xhci", "qemu-xhci"])),
    ("hw:vif_multiqueue_enabled", Bool),
    ("hw:viommu_model", Word(&["intel", "smmuv3", "virtio", "auto"])),
    ("hw:virtio_packed_ring", Bool),
    ("hw:watchdog_action", Word(&["none", "pause", "poweroff", "reset", "disabled"])),
    ("hw_rng:allowed", Bool),
    ("hw_rng:rate_bytes", NATURAL),
    ("hw_rng:rate_period", NATURAL),
    ("hw_video:ram_max_mb", NATURAL),
    ("os:secure_boot", Word(&["disabled", "required"])),
    ("pci_passthrough:alias", Like(r"[^:]+:\d+(\s*,\s*[^:]+:\d+)*")),
    ("quota:cpu_limit", NATURAL),
    ("quota:cpu_period", NATURAL),
    ("quota:cpu_quota", ANY),
    ("quota:cpu_reservation", ANY),
    ("quota:cpu_shares", NATURAL),
    ("quota:cpu_shares_level", SHARES),
    ("quota:cpu_shares_share", NATURAL),
    ("quota:disk_io_limit", NATURAL),
    ("quota:disk_io_reservation", ANY),
    ("quota:disk_io_shares_level", SHARES),
    ("quota:disk_io_shares_share", NATURAL),
    ("quota:disk_read_bytes_sec", NATURAL),
    ("quota:disk_read_iops_sec", NATURAL),
    ("quota:disk_total_bytes_sec", NATURAL),
    ("quota:disk_total_iops_sec", NATURAL),
    ("quota:disk_write_bytes_sec", NATURAL),
    ("quota:disk_write_iops_sec", NATURAL),
    ("quota:memory_limit", NATURAL),
    ("quota:memory_reservation", ANY),
    ("quota:memory_shares_level", SHARES),
    ("quota:memory_shares_share", NATURAL),
    ("quota:vif_inbound_average", NATURAL),
    ("quota:vif_inbound_burst", NATURAL),
    ("quota:vif_inbound_peak", NATURAL),
    ("quota:vif_limit", NATURAL),
    ("quota:vif_outbound_average", NATURAL),
    ("quota:vif_outbound_burst", NATURAL),
    ("quota:vif_outbound_peak", NATURAL),
    ("quota:vif_reservation", ANY),
    ("quota:vif_shares_level", SHARES),
    ("quota:vif_shares_share", NATURAL),
    ("vmware:hw_version", Text),
    ("vmware:storage_policy", Text),
];

/// The host's attributes that the capabilities filter compares, after `capabilities:`. Only this cloud has the
/// first two.
const CAPABILITIES: &[&str] = &[
    "acceleration",
    "driver",
    "aggregates",
    "cell_uuid",
    "cpu_allocation_ratio",
    "current_workload",
    "disk_allocation_ratio",
    "disk_available_least",
    "disk_mb_used",
    "failed_builds",
    "free_disk_gb",
    "free_disk_mb",
    "free_ram_mb",
    "host",
    "host_ip",
    "hypervisor_hostname",
    "hypervisor_type",
    "hypervisor_version",
    "id",
    "local_gb",
    "local_gb_used",
    "mapped",
    "memory_mb",
    "memory_mb_used",
    "num_instances",
    "num_io_ops",
    "ram_allocation_ratio",
    "running_vms",
    "service_id",
    "total_usable_disk_gb",
    "total_usable_ram_mb",
    "updated",
    "uuid",
    "vcpus",
    "vcpus_total",
    "vcpus_used",
];

/// Attributes that may have parts: `capabilities:cpu_info:features`.
const STRUCTURED: &[&str] = &[
    "cpu_info",
    "instances",
    "limits",
    "metrics",
    "nodename",
    "numa_topology",
    "pci_device_pools",
    "pci_stats",
    "stats",
    "supported_hv_specs",
    "supported_instances",
];

/// OpenStack's standard resource classes.
const RESOURCE_CLASSES: &[&str] = &[
    "DISK_GB",
    "FPGA",
    "IPV4_ADDRESS",
    "MEMORY_MB",
    "MEM_ENCRYPTION_CONTEXT",
    "NET_BW_EGR_KILOBIT_PER_SEC",
    "NET_BW_IGR_KILOBIT_PER_SEC",
    "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_KILOPACKET_PER_SEC",
    "NUMA_CORE",
    "NUMA_MEMORY_MB",
    "NUMA_SOCKET",
    "NUMA_THREAD",
    "PCI_DEVICE",
    "PCPU",
    "PGPU",
    "SRIOV_NET_VF",
    "VCPU",
    "VGPU",
    "VGPU_DISPLAY_HEAD",
];

/// Namespaces with only known extra specs.
const NAMESPACES: &[&str] = &[
    "accel",
    "aggregate_instance_extra_specs",
    "capabilities",
    "hw",
    "hw_rng",
    "hw_video",
    "os",
    "pci_passthrough",
    "quota",
    "vmware",
];

/// Whether OpenStack has a standard resource class of this name.
pub fn is_resource_class(name: &str) -> bool {
    RESOURCE_CLASSES.contains(&name)
}

/// Whether a namespace is `of`, alone or with the name of a group behind it.
fn is_grouped(namespace: &str, of: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    namespace.strip_prefix(of).is_some_and(|group| group.len() <= 64 && group.bytes().all(legal))
}

/// Whether the text after a capability names a part of it.
fn is_path(text: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    text.is_empty() || text.strip_prefix(':').is_some_and(|path| path.split(':').all(word))
}

/// The type of an extra spec's values, if the extra spec is known.
fn kind_of(name: &str) -> Option<Kind> {
    if let Some((_, kind)) = NAMED.iter().find(|(known, _)| *known == name) {
        return Some(*kind);
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (namespace, key) = name.split_once(':')?;
    let is_structured = || STRUCTURED.iter().any(|part| key.strip_prefix(part).is_some_and(is_path));
    let numbered = |prefix: &str| key.strip_prefix(prefix).is_some_and(is_number);
    match namespace {
        "aggregate_instance_extra_specs" if !key.is_empty() => Some(Text),
        "capabilities" if CAPABILITIES.contains(&key) || is_structured() => Some(Text),
        "hw" if numbered("numa_cpus.") => Some(CPUS),
        "hw" if numbered("numa_mem.") => Some(POSITIVE),
        _ if is_grouped(namespace, "resources") => (is_resource_class(key) || is_custom(key)).then_some(ANY),
        _ if is_grouped(namespace, "trait") => is_trait(key).then_some(DEMAND),
        _ => None,
    }
}

/// Checks an extra spec as Nova does from 2.86 on. A spec outside Nova's namespaces is for other programs, and
/// passes.
///
/// # Errors
/// Nova's namespace has no such extra spec, or the spec does not accept the value.
pub fn check(name: &str, value: &str) -> Result<()> {
    let Some(kind) = kind_of(name) else {
        let namespace = name.split_once(':').map(|(namespace, _)| namespace);
        let is_known =
            |n: &str| NAMESPACES.contains(&n) || is_grouped(n, "resources") || is_grouped(n, "trait");
        return match namespace.is_some_and(is_known) {
            true => Err(failed(format!("extra spec '{name}' does not appear to be a valid extra spec."))),
            false => Ok(()),
        };
    };
    let why = match kind {
        Text => None,
        Bool => (text_bool(value.trim()).is_none())
            .then(|| format!("'{value}' is not a valid boolean-like value.")),
        Int(min, max) => match value.trim().parse::<i128>() {
            Err(_) => Some(format!("'{value}' is not a valid integer value.")),
            Ok(n) if n < min => Some(format!("'{n}' is less than the min value of '{min}'.")),
            Ok(n) if n > max => Some(format!("'{n}' is greater than the max value of '{max}'.")),
            Ok(_) => None,
        },
        Word(words) => {
            (!words.contains(&value)).then(|| format!("'{value}' is not one of: {}.", words.join(", ")))
        }
        Like(pattern) => {
            (!is_like(pattern, value)).then(|| format!("'{value}' is not of the format '{pattern}'."))
        }
    };
    why.map_or(Ok(()), |why| Err(failed(format!("{name}: {why}"))))
}

fn is_like(pattern: &str, value: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(value))
}

fn failed(why: String) -> Error {
    Error::invalid(format!("Validation failed; {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_extra_spec_takes_its_values_and_no_others() {
        for (name, kind) in NAMED {
            let (good, bad): (Vec<String>, &[&str]) = match kind {
                Text => (vec!["anything".to_owned()], &[]),
                Bool => (vec!["true".to_owned(), "No".to_owned(), "1".to_owned()], &["maybe", ""]),
                Int(min, max) => {
                    assert!(*max == i128::MAX || check(name, &(max + 1).to_string()).is_err(), "{name}");
                    assert!(*min == i128::MIN || check(name, &(min - 1).to_string()).is_err(), "{name}");
                    (vec![min.to_string(), max.to_string()], &["x", "", "1.5"])
                }
                Word(words) => (words.iter().map(|w| (*w).to_owned()).collect(), &["bogus", "", "Required"]),
                Like(pattern) => {
                    assert!(Regex::new(pattern).is_ok(), "{name}");
                    (Vec::new(), &[""])
                }
            };
            for value in good {
                assert!(check(name, &value).is_ok(), "{name}={value}");
            }
            for value in bad {
                assert!(check(name, value).is_err(), "{name}={value}");
            }
        }
    }

    #[test]
    fn formats_are_held_from_end_to_end() {
        for (name, good, bad) in [
            ("hw:cpu_dedicated_mask", "^0-3,5,^6", "a"),
            ("hw:numa_cpus.1", "0,2-3", "0,"),
            ("hw:numa_mem.0", "512", "0"),
            ("hw:mem_page_size", "2MiB", "huge"),
            ("hw:mem_page_size", "large", "larger"),
            ("hw:pmem", "SMALL,LARGE", "a b"),
            ("pci_passthrough:alias", "gpu:2, nic:1", "gpu"),
            ("resources:VCPU", "2", "x"),
            ("resources_a:CUSTOM_GOLD", "1", "one"),
            ("trait:HW_CPU_X86_AVX2", "required", "maybe"),
            ("trait1:CUSTOM_X", "forbidden", "maybe"),
        ] {
            assert!(check(name, good).is_ok(), "{name}={good}");
            assert!(check(name, bad).is_err(), "{name}={bad}");
        }
    }

    #[test]
    fn what_is_unknown_is_refused_in_novas_namespaces_and_taken_elsewhere() {
        for namespace in NAMESPACES.iter().filter(|n| **n != "aggregate_instance_extra_specs") {
            assert!(check(&format!("{namespace}:nosuch"), "1").is_err(), "{namespace}");
        }
        for bad in [
            "resources:NOSUCH",
            "trait:NOSUCH",
            "hw:numa_cpus.x",
            "capabilities:cpu_info:",
            "capabilities:cpu_infos",
            "aggregate_instance_extra_specs:",
        ] {
            assert!(check(bad, "1").is_err(), "{bad}");
        }
        for good in [
            "colour",
            "ours:colour",
            "resources;x:VCPU",
            "capabilities:cpu_info:features",
            "capabilities:vcpus",
            "capabilities:acceleration",
            "aggregate_instance_extra_specs:ssd",
        ] {
            assert!(check(good, "1").is_ok(), "{good}");
        }
    }
}
