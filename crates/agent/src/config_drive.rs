//! A guest's data about itself, in OpenStack's format for config drives.

use crate::{core::Failure, driver::file_failure, files, iso};
use base64::{Engine, engine::general_purpose::STANDARD};
use lenticular_model::{ServerId, compute::server::PersonalityFile};
use lenticular_wire::agent::{AddressSpec, GuestSpec, PortSpec};
use serde_json::{Value, json};
use std::{collections::BTreeMap, io, net::IpAddr, path::Path};

/// Files in a guest's directory, with what was fetched for its start.
pub(crate) const USER_DATA: &str = "user_data";
pub(crate) const FILES: &str = "files.json";

/// What was fetched for a guest's start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    user_data: Option<Vec<u8>>,
    files: Vec<PersonalityFile>,
}

impl Kept {
    /// Reads it from the guest's directory.
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        let bytes = |name: &str| match std::fs::read(dir.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let files = bytes(FILES)?.map(|bytes| serde_json::from_slice(&bytes)).transpose()?;
        Ok(Self { user_data: bytes(USER_DATA)?, files: files.unwrap_or_default() })
    }

    /// The paths of the files in the guest, and of their contents beside the documents.
    fn index(&self) -> Value {
        let line = |(n, file): (usize, &PersonalityFile)| json!({"content_path": content_path(n), "path": file.path});
        self.files.iter().enumerate().map(line).collect()
    }

    /// The contents of a file, by its place in the list.
    pub(crate) fn content(&self, n: usize) -> Option<Vec<u8>> {
        STANDARD.decode(&self.files.get(n)?.contents).ok()
    }
}

fn content_path(n: usize) -> String {
    format!("/content/{n:04}")
}

/// Keeps or removes a file in a guest's directory.
pub(crate) fn keep(dir: &Path, name: &str, bytes: Option<Vec<u8>>) -> Result<(), Failure> {
    let file = dir.join(name);
    let written = std::fs::create_dir_all(dir).and_then(|()| match bytes {
        Some(bytes) => files::write_durably(&file, &bytes),
        None => files::remove(&file),
    });
    written.map_err(|e| file_failure("keeping what the guest gets", &e))
}

/// A guest's config drive, an ISO 9660 image.
/// `ipv6` says whether its networks carry that.
pub(crate) fn image(server: ServerId, guest: &GuestSpec, kept: &Kept, seed: &[u8], ipv6: bool) -> Vec<u8> {
    iso::write("config-2", &all_files(server, guest, kept, seed, ipv6))
}

fn all_files(
    server: ServerId,
    guest: &GuestSpec,
    kept: &Kept,
    seed: &[u8],
    ipv6: bool,
) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let document = |name: &str| -> Option<Vec<u8>> {
        let value = match name {
            "meta_data.json" => meta_data(server, guest, kept, seed),
            "network_data.json" => network_data(guest, ipv6),
            "vendor_data.json" | "vendor_data2.json" => json!({}),
            "user_data" => return kept.user_data.clone(),
            // Writable documents are not on a drive.
            _ => return None,
        };
        Some(value.to_string().into_bytes())
    };
    for version in VERSIONS {
        let there = documents(version).filter_map(|name| Some((name, document(name)?)));
        files.extend(there.map(|(name, bytes)| (format!("openstack/{version}/{name}"), bytes)));
    }
    for version in EC2_VERSIONS {
        let bytes = ec2(server, guest).to_string().into_bytes();
        files.insert(format!("ec2/{version}/meta-data.json"), bytes);
        files.extend(kept.user_data.clone().map(|bytes| (format!("ec2/{version}/user-data"), bytes)));
    }
    let contents = (0..kept.files.len())
        .filter_map(|n| Some((format!("openstack{}", content_path(n)), kept.content(n)?)));
    files.extend(contents);
    files
}

/// The versions of OpenStack's layout, a directory for each.
pub(crate) const VERSIONS: &[&str] = &[
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "latest",
];

/// The versions of EC2's layout that Nova writes on drives.
const EC2_VERSIONS: &[&str] = &["2009-04-04", "latest"];

/// OpenStack's documents, each with its first version.
const DOCUMENTS: &[(&str, &str)] = &[
    ("meta_data.json", "2012-08-10"),
    ("user_data", "2012-08-10"),
    ("password", "2013-04-04"),
    ("vendor_data.json", "2013-10-17"),
    ("network_data.json", "2015-10-15"),
    ("vendor_data2.json", "2016-10-06"),
];

/// The documents of a version. `latest` sorts after all dates.
pub(crate) fn documents(version: &str) -> impl Iterator<Item = &'static str> + '_ {
    DOCUMENTS.iter().filter(move |(_, since)| version >= *since).map(|(name, _)| *name)
}

/// `meta_data.json`.
pub(crate) fn meta_data(server: ServerId, guest: &GuestSpec, kept: &Kept, seed: &[u8]) -> Value {
    let mut document = json!({
        "uuid": server,
        "name": guest.name,
        "hostname": guest.hostname,
        "launch_index": guest.launch_index,
        "availability_zone": guest.availability_zone,
        "project_id": guest.project_id,
        "meta": guest.metadata,
        "devices": devices(guest),
        "random_seed": STANDARD.encode(seed),
    });
    if !kept.files.is_empty() {
        document["files"] = kept.index();
    }
    if let Some((name, public_key)) = &guest.key {
        document["public_keys"] = json!({ name.as_str(): public_key });
        let kind = if public_key.starts_with("-----BEGIN CERTIFICATE-----") { "x509" } else { "ssh" };
        document["keys"] = json!([{ "name": name, "type": kind, "data": public_key }]);
    }
    document
}

/// The devices that have tags. A guest finds an interface by its Ethernet address, and a disk by its path or its serial
/// number.
fn devices(guest: &GuestSpec) -> Value {
    let nics = guest.ports.iter().filter_map(|port| {
        let tag = port.tag.as_ref()?;
        Some(json!({"type": "nic", "bus": "pci", "mac": port.mac, "tags": [tag]}))
    });
    let disks = guest.disks.iter().enumerate().filter_map(|(n, disk)| {
        let tag = disk.tag.as_ref()?;
        let mut device = json!({"type": "disk", "bus": "pci", "tags": [tag]});
        match n {
            // The root disk has no serial number, and is always the first.
            0 => device["path"] = json!("/dev/vda"),
            _ => device["serial"] = json!(disk.id.to_string().chars().take(20).collect::<String>()),
        }
        Some(device)
    });
    nics.chain(disks).collect()
}

/// EC2's `meta-data`, as a tree.
pub(crate) fn ec2(server: ServerId, guest: &GuestSpec) -> Value {
    let mut document = json!({
        "instance-id": server,
        "hostname": guest.hostname,
        "local-hostname": guest.hostname,
        "public-hostname": guest.hostname,
        "public-ipv4": guest.public_ips.iter().find(|ip| ip.is_ipv4()).map_or_else(String::new, ToString::to_string),
        "ami-id": guest.bases().next().map(|base| base.image_id.to_string()).unwrap_or_default(),
        "ami-launch-index": guest.launch_index,
        "ami-manifest-path": "",
        "block-device-mapping": { "ami": "vda", "root": "/dev/vda" },
        "instance-action": "none",
        "instance-type": guest.flavor_name,
        "reservation-id": guest.reservation_id,
        "placement": { "availability-zone": guest.availability_zone },
    });
    if let Some((name, public_key)) = &guest.key {
        document["public-keys"] = json!({ "0": { "_name": format!("0={name}"), "openssh-key": public_key } });
    }
    document
}

/// Links and networks. Without `ipv6`, IPv6 networks are left out: a guest would wait for addresses that its
/// network does not carry.
pub(crate) fn network_data(guest: &GuestSpec, ipv6: bool) -> Value {
    let mut networks = Vec::new();
    let mut services: Vec<Value> = Vec::new();
    for port in &guest.ports {
        for address in port.addresses.iter().filter(|a| a.address.is_ipv4() || ipv6) {
            networks.push(network(networks.len(), port, address));
            for dns in &address.dns {
                let service = json!({ "type": "dns", "address": dns });
                if !services.contains(&service) {
                    services.push(service);
                }
            }
        }
    }
    let links = guest.ports.iter().map(|port| {
        json!({
            "id": link_id(port),
            "vif_id": port.port_id,
            "type": "tap",
            "mtu": port.mtu,
            "ethernet_mac_address": port.mac,
        })
    });
    json!({ "links": links.collect::<Vec<_>>(), "networks": networks, "services": services })
}

fn link_id(port: &PortSpec) -> String {
    let id = port.port_id.to_string();
    format!("tap{}", &id[..11])
}

/// Whether the guest gets its address from the network.
fn is_told(address: &AddressSpec) -> bool {
    match address.address {
        IpAddr::V4(_) => address.dhcp,
        IpAddr::V6(_) => address.ipv6_mode.is_some(),
    }
}

fn network(n: usize, port: &PortSpec, address: &AddressSpec) -> Value {
    let v4 = address.address.is_ipv4();
    let kind = match &address.ipv6_mode {
        _ if v4 && address.dhcp => "ipv4_dhcp".to_owned(),
        _ if v4 => "ipv4".to_owned(),
        Some(mode) if mode == "slaac" => "ipv6_slaac".to_owned(),
        Some(mode) => format!("ipv6_{mode}"),
        None => "ipv6".to_owned(),
    };
    let mut document = json!({
        "id": format!("network{n}"),
        "link": link_id(port),
        "network_id": port.network_id,
        "type": kind,
    });
    if is_told(address) {
        return document;
    }
    document["ip_address"] = json!(address.address);
    document["netmask"] = json!(address.cidr.netmask());
    let mut routes: Vec<Value> = Vec::new();
    if let Some(gateway) = address.gateway.filter(|gateway| gateway.is_ipv4() == v4) {
        let all = if v4 { "0.0.0.0" } else { "::" };
        routes.push(json!({ "network": all, "netmask": all, "gateway": gateway }));
    }
    routes.extend(address.routes.iter().map(|route| {
        json!({
            "network": route.destination.network(),
            "netmask": route.destination.netmask(),
            "gateway": route.nexthop,
        })
    }));
    document["routes"] = json!(routes);
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::{NetworkId, PortId, SubnetId, network::subnet::HostRoute};

    #[test]
    fn documents_are_as_openstack_writes_them() {
        let order = crate::testing::assignment(1);
        let mut guest = order.guest;
        let address = |dhcp: bool, last: u8| AddressSpec {
            subnet_id: SubnetId::from_random([4; 16]),
            address: IpAddr::from([10, 0, 0, last]),
            cidr: "10.0.0.0/24".parse().unwrap(),
            gateway: Some("10.0.0.1".parse().unwrap()),
            dhcp,
            ipv6_mode: None,
            dns: vec!["9.9.9.9".parse().unwrap()],
            routes: vec![HostRoute {
                destination: "10.9.0.0/16".parse().unwrap(),
                nexthop: "10.0.0.3".parse().unwrap(),
            }],
        };
        guest.ports = vec![PortSpec {
            tag: None,
            slot: 0,
            port_id: PortId::from_random([1; 16]),
            network_id: NetworkId::from_random([2; 16]),
            mac: "fa:16:3e:00:00:01".parse().unwrap(),
            mtu: 1442,
            addresses: vec![address(true, 7), address(false, 8)],
        }];
        guest.key = Some(("mine".to_owned(), "ssh-ed25519 AAAA".to_owned()));
        guest.metadata.insert("role".to_owned(), "web".to_owned());
        // The DNS servers are listed for every kind of address, also for DHCP.
        let dhcp_alone = GuestSpec {
            ports: vec![PortSpec { addresses: vec![address(true, 7)], ..guest.ports[0].clone() }],
            ..guest.clone()
        };
        let told = json!([{ "type": "dns", "address": "9.9.9.9" }]);
        assert_eq!(network_data(&dhcp_alone, false)["services"], told);
        let kept = Kept { user_data: Some(b"#!/bin/sh\n".to_vec()), files: Vec::new() };
        let files = all_files(order.server_id, &guest, &kept, b"seed", false);
        let text: Vec<String> = files
            .iter()
            .filter(|(path, _)| path.contains("/latest/"))
            .map(|(path, bytes)| {
                let text = String::from_utf8(bytes.clone()).unwrap();
                let pretty = serde_json::from_str::<Value>(&text)
                    .map_or(text.clone(), |v| serde_json::to_string_pretty(&v).unwrap());
                format!("== {path}\n{pretty}")
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"));
        for (version, names) in [
            ("2012-08-10", &["meta_data.json", "user_data"][..]),
            ("2013-10-17", &["meta_data.json", "user_data", "vendor_data.json"]),
            ("2016-06-30", &["meta_data.json", "network_data.json", "user_data", "vendor_data.json"]),
        ] {
            let prefix = format!("openstack/{version}/");
            let there: Vec<&str> = files.keys().filter_map(|path| path.strip_prefix(&prefix)).collect();
            assert_eq!(there, names, "{version}");
        }
        for same in ["meta_data.json", "network_data.json", "user_data", "vendor_data2.json"] {
            let latest = files.get(&format!("openstack/latest/{same}"));
            assert!(latest.is_some(), "{same}");
            assert_eq!(files.get(&format!("openstack/2020-10-14/{same}")), latest);
        }
        assert_eq!(files.get("ec2/2009-04-04/user-data"), files.get("ec2/latest/user-data"));
    }

    #[test]
    fn files_of_the_owner_are_on_the_drive_and_named_in_the_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let text = br#"[{"path": "/etc/motd", "contents": "aGVsbG8="}]"#;
        keep(dir.path(), FILES, Some(text.to_vec())).unwrap();
        let kept = Kept::read(dir.path()).unwrap();
        let order = crate::testing::assignment(1);
        let files = all_files(order.server_id, &order.guest, &kept, b"seed", false);
        assert_eq!(files.get("openstack/content/0000").map(Vec::as_slice), Some(&b"hello"[..]));
        let meta: Value = serde_json::from_slice(&files["openstack/latest/meta_data.json"]).unwrap();
        assert_eq!(meta["files"], json!([{"content_path": "/content/0000", "path": "/etc/motd"}]));
        keep(dir.path(), FILES, None).unwrap();
        assert!(Kept::read(dir.path()).unwrap().files.is_empty());
    }

    #[test]
    fn devices_with_tags_are_listed() {
        let mut guest = crate::testing::assignment(1).guest;
        assert_eq!(devices(&guest), json!([]));
        guest.disks[0].tag = Some("boot".to_owned());
        guest.ports = vec![PortSpec {
            tag: Some("wan".to_owned()),
            port_id: PortId::from_random([1; 16]),
            network_id: NetworkId::from_random([2; 16]),
            slot: 0,
            mac: "fa:16:3e:00:00:01".parse().unwrap(),
            mtu: 1442,
            addresses: Vec::new(),
        }];
        let wanted = json!([
            {"type": "nic", "bus": "pci", "mac": "fa:16:3e:00:00:01", "tags": ["wan"]},
            {"type": "disk", "bus": "pci", "path": "/dev/vda", "tags": ["boot"]},
        ]);
        assert_eq!(devices(&guest), wanted);
    }

    #[test]
    fn ipv6_is_told_where_networks_carry_it() {
        let mut guest = crate::testing::assignment(1).guest;
        let address = |mode: Option<&str>| AddressSpec {
            subnet_id: SubnetId::from_random([4; 16]),
            address: "fd00::7".parse().unwrap(),
            cidr: "fd00::/64".parse().unwrap(),
            gateway: Some("fd00::1".parse().unwrap()),
            dhcp: true,
            ipv6_mode: mode.map(str::to_owned),
            dns: vec!["fd00::53".parse().unwrap()],
            routes: Vec::new(),
        };
        guest.ports = vec![PortSpec {
            tag: None,
            port_id: PortId::from_random([1; 16]),
            network_id: NetworkId::from_random([2; 16]),
            slot: 0,
            mac: "fa:16:3e:00:00:01".parse().unwrap(),
            mtu: 1442,
            addresses: vec![address(Some("slaac")), address(Some("dhcpv6-stateful")), address(None)],
        }];
        assert_eq!(network_data(&guest, false)["networks"], json!([]));
        let told = network_data(&guest, true);
        let kinds: Vec<&str> = (0..3).filter_map(|n| told["networks"][n]["type"].as_str()).collect();
        assert_eq!(kinds, ["ipv6_slaac", "ipv6_dhcpv6-stateful", "ipv6"]);
        assert_eq!(told["networks"][2]["netmask"], "ffff:ffff:ffff:ffff::");
        assert_eq!(
            told["networks"][2]["routes"][0],
            json!({ "network": "::", "netmask": "::", "gateway": "fd00::1" })
        );
        assert_eq!(told["services"], json!([{ "type": "dns", "address": "fd00::53" }]));
    }
}
