//! The common part of all records, and the one list of all kinds of record.

use crate::{id::Id, index::Index, state::State, table::Table};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Fields that a newer binary wrote and this binary does not know. They are kept, so that rewriting the record
/// loses nothing.
pub type Unknown = BTreeMap<String, serde_json::Value>;

/// The storage of a kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// In State and in the store.
    Hot,
    /// In the store alone, read on demand.
    Cold,
    /// In State alone: lost with the process, never in the journal.
    Volatile,
}

/// An object that the cloud stores under an id.
pub trait Record: Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The kind.
    const KIND: Kind;
    /// Its id's type.
    type Id: Id;
    /// Its id.
    fn id(&self) -> &Self::Id;
    /// The record as a row of a table.
    fn into_row(self: Arc<Self>) -> Row;
    /// The record of this type in a row; `None` if the row is of another kind.
    fn of_row(row: &Row) -> Option<&Arc<Self>>;
    /// Its table in a State.
    fn table(state: &State) -> &Table<Self>;
    /// Its table in a State, to change.
    fn table_mut(state: &mut State) -> &mut Table<Self>;
    /// Notes a change of the record in the secondary indexes. `seq` is the commit that makes it.
    fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
        let _ = (index, seq, old, new);
    }
    /// Sets the time of the last change.
    fn touch(&mut self, now: crate::Timestamp);
}

/// Declares a record with its own fields, besides `id`, `created_at`, `updated_at` and the fields of newer
/// binaries.
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident: $id:ty { $($(#[$fmeta:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            /// Its id.
            pub id: $id,
            /// When it was made.
            #[serde(default)]
            pub created_at: $crate::Timestamp,
            /// When it last changed; `None` if it never changed.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub updated_at: Option<$crate::Timestamp>,
            $($(#[$fmeta])* pub $field: $ty,)*
            /// The fields of a newer binary.
            #[serde(flatten)]
            pub unknown: $crate::record::Unknown,
        }
    };
}

/// Ties records to their kind and their table. `indexed` records keep secondary indexes (`crate::index`).
macro_rules! kinds {
    (
        held { $($kind:ident $name:literal $durability:ident $ty:ty, $id:ty, $field:ident;)* }
        cold { $($(#[$cdoc:meta])* $cold:ident $cname:literal;)* }
    ) => {
        /// Every kind of record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = concat!("`", $name, "`")] $kind,)*
            $($(#[$cdoc])* $cold,)*
        }

        impl Kind {
            /// All kinds, in a fixed order.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)* $(Kind::$cold,)*];

            /// The kind's name in the store.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* $(Kind::$cold => $cname,)* }
            }

            /// The kind with this name in the store.
            pub fn from_name(name: &str) -> Option<Kind> {
                match name { $($name => Some(Kind::$kind),)* $($cname => Some(Kind::$cold),)* _ => None }
            }

            /// The storage of the kind.
            pub fn durability(self) -> Durability {
                match self { $(Kind::$kind => Durability::$durability,)* $(Kind::$cold => Durability::Cold,)* }
            }
        }

        /// A record of any kind that is held in memory. All tables have rows of this one type, so that the compiler
        /// builds two types of tree and not one for each kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Row {
            $(#[doc = concat!("A record of kind `", $name, "`.")] $kind(Arc<$ty>),)*
        }

        /// The tables of a State, one for each kind that is held in memory.
        #[derive(Clone, Default)]
        pub struct Tables {
            $(#[doc = concat!("Records of kind `", $name, "`.")] pub $field: Table<$ty>,)*
        }

        impl State {
            /// Loads a record from a store into the tables and indexes, as committed at `seq`.
            ///
            /// # Errors
            /// The document is no valid record of its kind.
            pub fn load(&mut self, kind: Kind, doc: &str, seq: u64) -> serde_json::Result<()> {
                match kind {
                    $(Kind::$kind => drop(self.apply_put::<$ty>(Arc::new(serde_json::from_str(doc)?), seq)),)*
                    $(Kind::$cold => {})*
                }
                Ok(())
            }

            /// The same durable records in a new State, each written as its document and read back.
            ///
            /// # Errors
            /// A written document cannot be read back.
            pub fn reloaded(&self) -> serde_json::Result<State> {
                let mut fresh = State::new(self.incarnation, self.took_over_at);
                fresh.seq = self.seq;
                $(if Kind::$kind.durability() == Durability::Hot {
                    for record in self.tables.$field.values() {
                        fresh.load(Kind::$kind, &serde_json::to_string(&**record)?, self.seq)?;
                    }
                })*
                Ok(fresh)
            }

            /// Checks that another State has the same durable records.
            ///
            /// # Errors
            /// The records differ; the text names the kind.
            pub fn same_tables(&self, other: &State) -> Result<(), String> {
                $(if Kind::$kind.durability() == Durability::Hot {
                    self.tables.$field.same(&other.tables.$field)?;
                })*
                Ok(())
            }

            /// The number of records of each kind in memory.
            pub fn counts(&self) -> Vec<(Kind, usize)> {
                vec![$((Kind::$kind, self.tables.$field.len()),)*]
            }
        }
        $(
            impl Record for $ty {
                const KIND: Kind = Kind::$kind;
                type Id = $id;
                fn id(&self) -> &$id { &self.id }
                fn into_row(self: Arc<Self>) -> Row { Row::$kind(self) }
                fn of_row(row: &Row) -> Option<&Arc<Self>> {
                    match row { Row::$kind(record) => Some(record), _ => None }
                }
                fn table(state: &State) -> &Table<Self> { &state.tables.$field }
                fn table_mut(state: &mut State) -> &mut Table<Self> { &mut state.tables.$field }
                fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
                    crate::index::Indexed::index(index, seq, old, new);
                }
                fn touch(&mut self, now: crate::Timestamp) { self.updated_at = Some(now); }
            }
        )*
    };
}

kinds! {
    held {
        Domain "domain" Hot crate::identity::Domain, crate::DomainId, domains;
        Project "project" Hot crate::identity::Project, crate::ProjectId, projects;
        User "user" Hot crate::identity::User, crate::UserId, users;
        Role "role" Hot crate::identity::Role, crate::RoleId, roles;
        Assignment "role_assignment" Hot crate::identity::RoleAssignment, crate::AssignmentId, role_assignments;
        Group "group" Hot crate::identity::Group, crate::GroupId, groups;
        Membership "membership" Hot crate::identity::Membership, crate::MembershipId, memberships;
        RoleInference "role_inference" Hot crate::identity::RoleInference, crate::RoleInferenceId, role_inferences;
        ApplicationCredential "application_credential" Hot
            crate::identity::ApplicationCredential, crate::ApplicationCredentialId, application_credentials;
        AccessRule "access_rule" Hot crate::identity::AccessRule, crate::AccessRuleId, access_rules;
        Trust "trust" Hot crate::identity::Trust, crate::TrustId, trusts;
        Region "region" Hot crate::identity::Region, crate::RegionId, regions;
        Service "service" Hot crate::identity::Service, crate::ServiceId, services;
        Endpoint "endpoint" Hot crate::identity::Endpoint, crate::EndpointId, endpoints;
        Revocation "revocation" Hot crate::identity::Revocation, crate::RevocationId, revocations;
        Quota "quota" Hot crate::quota::Quota, crate::ProjectId, quotas;
        Image "image" Hot crate::image::Image, crate::ImageId, images;
        ImageMember "image_member" Hot crate::image::ImageMember, crate::ImageMemberId, image_members;
        Flavor "flavor" Hot crate::compute::flavor::Flavor, crate::FlavorId, flavors;
        Keypair "keypair" Hot crate::compute::keypair::Keypair, crate::KeypairId, keypairs;
        Host "host" Hot crate::host::host::Host, crate::HostId, hosts;
        Enrolment "enrolment" Hot crate::host::enrolment::Enrolment, crate::EnrolmentId, enrolments;
        JoinToken "join_token" Hot crate::host::enrolment::JoinToken, crate::JoinTokenId, join_tokens;
        HostRule "host_rule" Hot crate::host::rule::HostRule, crate::HostRuleId, host_rules;
        Plan "plan" Hot crate::ops::plan::Plan, crate::PlanId, plans;
        PlanStep "plan_step" Hot crate::ops::plan_step::PlanStep, crate::ServerId, plan_steps;
        HostStep "host_step" Hot crate::ops::host_step::HostStep, crate::HostId, host_steps;
        PlanPace "plan_pace" Hot crate::ops::pace::PlanPace, crate::SingletonId, plan_paces;
        Freeze "freeze" Hot crate::ops::freeze::Freeze, crate::SingletonId, freezes;
        Heartbeat "heartbeat" Volatile crate::host::host::Heartbeat, crate::HostId, heartbeats;
        Aggregate "aggregate" Hot crate::compute::aggregate::Aggregate, crate::AggregateId, aggregates;
        ServerGroup "server_group" Hot crate::compute::server_group::ServerGroup, crate::ServerGroupId, server_groups;
        Server "server" Hot crate::compute::server::Server, crate::ServerId, servers;
        Operation "operation" Hot crate::compute::operation::Operation, crate::OperationId, operations;
        Migration "migration" Hot crate::compute::migration::Migration, crate::MigrationId, migrations;
        Progress "migration_progress" Volatile
            crate::compute::migration::Progress, crate::MigrationId, migration_progress;
        Disk "disk" Hot crate::compute::disk::Disk, crate::DiskId, disks;
        DiskCopy "disk_copy" Hot crate::compute::disk_copy::DiskCopy, crate::DiskCopyId, disk_copies;
        Network "network" Hot crate::network::network::Network, crate::NetworkId, networks;
        Subnet "subnet" Hot crate::network::subnet::Subnet, crate::SubnetId, subnets;
        Port "port" Hot crate::network::port::Port, crate::PortId, ports;
        SecurityGroup "security_group" Hot crate::network::security_group::SecurityGroup, crate::SecurityGroupId, security_groups;
        SecurityGroupRule "security_group_rule" Hot
            crate::network::security_group::SecurityGroupRule, crate::SecurityGroupRuleId, security_group_rules;
        Router "router" Hot crate::network::router::Router, crate::RouterId, routers;
        FloatingIp "floating_ip" Hot crate::network::floating_ip::FloatingIp, crate::FloatingIpId, floating_ips;
        PortForwarding "port_forwarding" Hot
            crate::network::port_forwarding::PortForwarding, crate::PortForwardingId, port_forwardings;
        SubnetPool "subnet_pool" Hot crate::network::subnet_pool::SubnetPool, crate::SubnetPoolId, subnet_pools;
        AddressScope "address_scope" Hot crate::network::address_scope::AddressScope, crate::AddressScopeId, address_scopes;
        AddressGroup "address_group" Hot crate::network::address_group::AddressGroup, crate::AddressGroupId, address_groups;
        QosPolicy "qos_policy" Hot crate::network::qos_policy::QosPolicy, crate::QosPolicyId, qos_policies;
        Trunk "trunk" Hot crate::network::trunk::Trunk, crate::TrunkId, trunks;
        DefaultSecurityGroupRule "default_security_group_rule" Hot
            crate::network::default_security_group_rule::DefaultSecurityGroupRule, crate::DefaultSecurityGroupRuleId,
            default_security_group_rules;
        RbacPolicy "rbac_policy" Hot crate::network::rbac_policy::RbacPolicy, crate::RbacPolicyId, rbac_policies;
    }
    cold {
        /// A server's user data, under the server's id.
        UserData "user_data";
        /// The files that a server's owner wants in its guest, under the server's id.
        Personality "personality";
        /// An operation that ended, under `<server id>/<start, 20 digits>/<operation id>`.
        PastOperation "past_operation";
        /// A migration that ended, under `<start, 20 digits>/<migration id>`.
        PastMigration "past_migration";
        /// A plan that ended, under `<commit of its start, 20 digits>/<plan id>`.
        PastPlan "past_plan";
        /// A step of a plan that is over, under `<plan id>/<number, 12 digits>`.
        PastPlanStep "past_plan_step";
        /// A step of a plan for a host that is over, under `<plan id>/<host id>`.
        PastHostStep "past_host_step";
        /// A deleted server in its last version, under its id.
        PastServer "past_server";
        /// A deleted image, under its id, so that the id is never given to another image.
        PastImage "past_image";
        /// An entry for a deleted server of a project: its id, under `<project id>/<end, 20 digits>/<server id>`.
        PastServerOf "past_server_of";
        /// The scheduler's reasons for a server's placement, or for finding no host; under the server's id.
        Verdict "verdict";
        /// The last agent that was refused for security reasons, under one fixed id. The record's history is the
        /// list.
        Refusal "refusal";
    }
}
