//! A guest as its host must build it. Rendered from records, never stored.

use crate::{
    DiskId, ImageId, NetworkId, PortId, ProjectId, SubnetId, UserId,
    compute::flavor::Size,
    network::{mac::Mac, subnet::HostRoute},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// A guest's specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// The server's name.
    pub name: String,
    /// The host name inside the guest.
    pub hostname: String,
    /// Its project.
    pub project_id: ProjectId,
    /// The user who created the server.
    pub user_id: UserId,
    /// Its CPUs and memory, and the sizes of its disks.
    pub size: Size,
    /// Its disks, in order: the first is the root disk.
    #[serde(default)]
    pub disks: Vec<DiskSpec>,
    /// The disk that it starts from instead of its root disk, while its server is rescued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<RescueSpec>,
    /// Its ports, in order.
    pub ports: Vec<PortSpec>,
    /// Its keypair: the name and the public key.
    pub key: Option<(String, String)>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its index among the servers of one request.
    pub launch_index: u32,
    /// Its availability zone.
    pub availability_zone: String,
    /// True if the user asked for a config drive.
    pub config_drive: bool,
    /// True if the server has user data.
    pub has_user_data: bool,
    /// True if the server has files for its guest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_files: bool,
    /// The password that the guest has posted, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The addresses of its floating IPs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_ips: Vec<IpAddr>,
    /// The name of its server's flavor; empty if the control plane does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub flavor_name: String,
    /// The id that servers made by one request share; empty if the control plane does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reservation_id: String,
    /// The floating IPs that its host answers for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floating: Vec<FloatingSpec>,
}

/// A floating IP that the guest's host answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingSpec {
    /// The address.
    pub address: IpAddr,
    /// The Ethernet address in the answers.
    pub mac: Mac,
    /// The external network.
    pub network_id: NetworkId,
    /// The physical network of the external network.
    pub physical_network: String,
    /// The VLAN in the physical network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u32>,
}

/// One disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// The disk.
    pub id: DiskId,
    /// Its generation.
    pub generation: u64,
    /// Its least size in bytes: it is made and grown to this size.
    pub bytes: u64,
    /// What it begins with.
    pub content: Content,
    /// Its tag in the guest's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

impl DiskSpec {
    /// The image below the disk, if there is one.
    pub fn base(&self) -> Option<&Base> {
        match &self.content {
            Content::Image(base) => Some(base),
            Content::Blank | Content::Swap => None,
        }
    }
}

/// What a disk begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// This image.
    Image(Base),
    /// Nothing: all bytes are zero.
    Blank,
    /// The signature of a Linux swap area over all of it.
    Swap,
}

impl GuestSpec {
    /// Its root disk.
    pub fn root(&self) -> Option<&DiskSpec> {
        self.disks.first()
    }

    /// The images below its disks, and below its rescue disk.
    pub fn bases(&self) -> impl Iterator<Item = &Base> {
        let rescue = self.rescue.as_ref().map(|rescue| &rescue.base);
        self.disks.iter().filter_map(DiskSpec::base).chain(rescue)
    }
}

/// The disk of a rescued guest. It is made at a start, and removed at the next start without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescueSpec {
    /// The image below it.
    pub base: Base,
    /// True if the guest's own disks keep their places, and this disk is a further one.
    pub stable: bool,
}

/// The image under a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The image's id.
    pub image_id: ImageId,
    /// SHA-512 of its bytes, in hex.
    pub sha512: String,
    /// The format of its bytes.
    pub format: String,
}

/// One port of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// The port.
    pub port_id: PortId,
    /// The index of the interface in the guest. It stays the same while other interfaces change.
    #[serde(default)]
    pub slot: u32,
    /// Its network.
    pub network_id: NetworkId,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The network's largest packet, in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<AddressSpec>,
    /// Its tag in the guest's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// An address of a port, with the data of its subnet that the guest needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSpec {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The address.
    pub address: IpAddr,
    /// The subnet's range.
    pub cidr: ipnet::IpNet,
    /// The subnet's router.
    pub gateway: Option<IpAddr>,
    /// Whether the subnet has DHCP.
    pub dhcp: bool,
    /// How guests get addresses of an IPv6 subnet (`slaac`, `dhcpv6-stateful`, `dhcpv6-stateless`); `None` means
    /// manually.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_mode: Option<String>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// Routes.
    pub routes: Vec<HostRoute>,
}
