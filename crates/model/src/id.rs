//! Typed ids: one newtype for each kind of record, so that a port's id cannot be used as a server's id.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};
use uuid::Uuid;

/// The error for text that is no valid id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a valid id")]
pub struct BadId(pub String);

/// The id of a kind of record.
pub trait Id: Ord + Clone + fmt::Debug + fmt::Display + FromStr + Send + Sync + 'static {
    /// The content of the id. Tables are ordered by the content, so that ids with the same content share a type of
    /// tree.
    type Raw: Ord + Clone + fmt::Debug + Send + Sync + 'static;
    /// The content.
    fn raw(&self) -> &Self::Raw;
    /// The id with this content.
    fn from_raw(raw: Self::Raw) -> Self;
}

/// An id that is a UUID; or nothing, the owner of what belongs to the whole cloud.
pub(crate) trait UuidId: Copy {
    /// The UUID.
    fn uuid(self) -> Uuid;
    /// The id with this UUID.
    fn of(uuid: Uuid) -> Self;
}

impl<I: Id<Raw = Uuid> + Copy> UuidId for I {
    fn uuid(self) -> Uuid {
        *self.raw()
    }
    fn of(uuid: Uuid) -> Self {
        I::from_raw(uuid)
    }
}

impl UuidId for () {
    fn uuid(self) -> Uuid {
        Uuid::nil()
    }
    fn of(_: Uuid) -> Self {}
}

macro_rules! id {
    ($name:ident, $raw:ty) => {
        impl Id for $name {
            type Raw = $raw;
            fn raw(&self) -> &$raw {
                &self.0
            }
            fn from_raw(raw: $raw) -> Self {
                Self(raw)
            }
        }
    };
}

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident, $show:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        id!($name, Uuid);
        impl $name {
            /// Makes an id (version 4, variant 1) of 16 random bytes that the caller hands in.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.$show().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Uuid::try_parse(text).map(Self).map_err(|_| BadId(text.to_owned()))
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                let mut buffer = Uuid::encode_buffer();
                s.serialize_str(self.0.$show().encode_lower(&mut buffer))
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

uuid_id! {
    /// A project (tenant). Shown as 32 hex digits, as Keystone does.
    ProjectId, simple;
    /// A user. Shown as 32 hex digits, as Keystone does.
    UserId, simple;
    /// A role. Shown as 32 hex digits, as Keystone does.
    RoleId, simple;
    /// A group of users. Shown as 32 hex digits, as Keystone does.
    GroupId, simple;
    /// An application credential. Shown as 32 hex digits, as Keystone does.
    ApplicationCredentialId, simple;
    /// A trust. Shown as 32 hex digits, as Keystone does.
    TrustId, simple;
    /// An access rule. Shown as 32 hex digits, as Keystone does.
    AccessRuleId, simple;
    /// A service of the catalog. Shown as 32 hex digits, as Keystone does.
    ServiceId, simple;
    /// An endpoint of the catalog. Shown as 32 hex digits, as Keystone does.
    EndpointId, simple;
    /// A role assignment; never shown to clients.
    AssignmentId, simple;
    /// A server.
    ServerId, hyphenated;
    /// A host that runs servers.
    HostId, hyphenated;
    /// An image.
    ImageId, hyphenated;
    /// A network.
    NetworkId, hyphenated;
    /// A subnet.
    SubnetId, hyphenated;
    /// A port.
    PortId, hyphenated;
    /// A security group.
    SecurityGroupId, hyphenated;
    /// A rule of a security group.
    SecurityGroupRuleId, hyphenated;
    /// A router.
    RouterId, hyphenated;
    /// A floating IP.
    FloatingIpId, hyphenated;
    /// A port forwarding of a floating IP.
    PortForwardingId, hyphenated;
    /// A subnet pool.
    SubnetPoolId, hyphenated;
    /// An address scope.
    AddressScopeId, hyphenated;
    /// A rule that new security groups begin with.
    DefaultSecurityGroupRuleId, hyphenated;
    /// An address group.
    AddressGroupId, hyphenated;
    /// A QoS policy.
    QosPolicyId, hyphenated;
    /// A rule of a QoS policy.
    QosRuleId, hyphenated;
    /// A trunk.
    TrunkId, hyphenated;
    /// An RBAC policy.
    RbacPolicyId, hyphenated;
    /// An operation on a server: create, reboot, delete, …
    OperationId, hyphenated;
    /// A migration: a server's move from one host to another.
    MigrationId, hyphenated;
    /// A disk. The root disk of a server has its server's id.
    DiskId, hyphenated;
    /// A disk that a server has left behind on a host, in stores that 0.1.0 wrote.
    DiskCopyId, hyphenated;
    /// A host aggregate.
    AggregateId, hyphenated;
    /// A server group.
    ServerGroupId, hyphenated;
    /// An incarnation of a store: restoring a backup starts a new incarnation.
    Incarnation, hyphenated;
}

impl DiskId {
    /// The id of a server's root disk.
    pub fn root_of(server: ServerId) -> Self {
        Self(server.0)
    }
}

impl ProjectId {
    /// The owner of the cloud's own records (gateways, floating IPs' ports, metadata ports). No project's quota
    /// counts them.
    pub const CLOUD: Self = Self(Uuid::nil());
}

macro_rules! name_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Arc<str>);

        id!($name, Arc<str>);
        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Ok(Self(text.into()))
            }
        }
    )*};
}

name_id! {
    /// A domain: `default`, or 32 hex digits.
    DomainId;
    /// A flavor: an id that its creator chose, or a UUID.
    FlavorId;
    /// A keypair: `<user id>/<name>`; a name is unique for one user.
    KeypairId;
    /// A user in a group: `<group id>/<user id>`.
    MembershipId;
    /// A role that implies another: `<prior role id>/<implied role id>`.
    RoleInferenceId;
    /// A region: an id that its creator chose, or 32 hex digits.
    RegionId;
    /// An image shared with a project: `<image id>/<project id>`.
    ImageMemberId;
    /// A revoked token's audit id.
    RevocationId;
    /// An enrolled host's name.
    EnrolmentId;
    /// A rule about hosts: its name.
    HostRuleId;
    /// A plan: what it does, and the number of the commit that started it.
    PlanId;
    /// SHA-256 of a join token's secret, in hex.
    JoinTokenId;
    /// A single record of its kind, such as the cloud's own settings.
    SingletonId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_what_they_show_in_either_spelling() {
        let project = ProjectId::from_random([7; 16]);
        assert_eq!(project.to_string().len(), 32);
        assert_eq!(project.to_string().parse::<ProjectId>(), Ok(project));
        let server = ServerId::from_random([9; 16]);
        assert_eq!(server.to_string().len(), 36);
        assert_eq!(server.0.simple().to_string().parse::<ServerId>(), Ok(server));
        assert!("nonsense".parse::<ServerId>().is_err());
    }
}
