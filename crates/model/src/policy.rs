//! Who may do what: one table for every action of the cloud, in the terms of OpenStack's default roles.
//!
//! Roles imply each other downwards: admin, manager, member, reader. An admin is one on any scope, as Nova and Neutron
//! have it; the rest hold only in the project of the token.

use crate::{
    error::{Error, Result},
    DomainId, ProjectId, UserId,
};

/// The default roles, each implying those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleLevel {
    /// Holds no role that the policy knows.
    None,
    /// May look.
    Reader,
    /// May use.
    Member,
    /// May manage the project's own affairs.
    Manager,
    /// May do everything.
    Admin,
}

impl RoleLevel {
    /// The level that a role of this name gives.
    pub fn of(name: &str) -> Self {
        match name {
            "admin" => Self::Admin,
            "manager" => Self::Manager,
            "member" => Self::Member,
            "reader" => Self::Reader,
            _ => Self::None,
        }
    }
}

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Only for the user's own affairs.
    Unscoped,
    /// One project.
    Project(ProjectId),
    /// One domain.
    Domain(DomainId),
    /// The whole cloud.
    System,
}

/// Who makes a request, and in what right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// What the token is good for.
    pub scope: Scope,
    /// The highest default role held there.
    pub level: RoleLevel,
    /// The request's id (`req-…`).
    pub request_id: String,
}

impl Caller {
    /// The project of the token.
    pub fn project_id(&self) -> Option<ProjectId> {
        match self.scope {
            Scope::Project(id) => Some(id),
            _ => None,
        }
    }

    /// True for an administrator of the cloud.
    pub fn is_admin(&self) -> bool {
        self.level == RoleLevel::Admin
    }

    /// True if the caller holds a role that lets it look at anything.
    pub fn may_read(&self) -> bool {
        self.level >= RoleLevel::Reader
    }

    /// True if what belongs to `owner` exists for this caller.
    pub fn sees(&self, owner: ProjectId) -> bool {
        self.is_admin() || (self.may_read() && self.project_id() == Some(owner))
    }

    /// The project that the caller acts in.
    ///
    /// # Errors
    /// The token is not scoped to a project.
    pub fn need_project(&self) -> Result<ProjectId> {
        self.project_id().ok_or_else(|| {
            Error::forbidden(
                "This needs a token that is scoped to a project; ask for one with a project in its scope.",
            )
        })
    }
}

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Everyone with a valid token.
    Anyone,
    /// Readers of the project, and admins.
    Reader,
    /// Members of the project, and admins.
    Member,
    /// Managers of the project, and admins.
    Manager,
    /// Admins.
    Admin,
}

macro_rules! actions {
    ($($action:ident $name:literal $rule:ident;)*) => {
        /// Every action that is guarded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action { $(#[doc = concat!("`", $name, "`")] $action,)* }

        impl Action {
            /// Every action, in the table's order.
            pub const ALL: &'static [Action] = &[$(Action::$action,)*];

            /// The name that OpenStack's policy files have for it.
            pub fn name(self) -> &'static str {
                match self { $(Action::$action => $name,)* }
            }

            /// Who may.
            pub fn rule(self) -> Rule {
                match self { $(Action::$action => Rule::$rule,)* }
            }
        }
    };
}

actions! {
    DomainRead "identity:get_domain" Reader;
    DomainWrite "identity:create_domain" Admin;
    ProjectRead "identity:get_project" Admin;
    ProjectWrite "identity:create_project" Admin;
    UserRead "identity:get_user" Admin;
    UserWrite "identity:create_user" Admin;
    RoleRead "identity:get_role" Reader;
    RoleWrite "identity:create_role" Admin;
    GrantRead "identity:list_grants" Admin;
    GrantWrite "identity:create_grant" Admin;
    TokenValidateOthers "identity:validate_token" Admin;
    TokenRevokeOthers "identity:revoke_token" Admin;

    ImageRead "image:get_image" Reader;
    ImageWrite "image:add_image" Member;
    ImagePublicize "image:publicize_image" Admin;
    ImageDeactivate "image:deactivate" Admin;

    FlavorRead "os_compute_api:flavors" Anyone;
    FlavorWrite "os_compute_api:os-flavor-manage" Admin;
    FlavorAccess "os_compute_api:os-flavor-access" Admin;
    FlavorSpecsRead "os_compute_api:os-flavor-extra-specs:index" Reader;
    KeypairUse "os_compute_api:os-keypairs" Anyone;
    KeypairOthers "os_compute_api:os-keypairs:others" Admin;
    ServerRead "os_compute_api:servers:show" Reader;
    ServerReadAll "os_compute_api:servers:detail:get_all_tenants" Admin;
    ServerReadHost "os_compute_api:os-extended-server-attributes" Admin;
    ServerCreate "os_compute_api:servers:create" Member;
    ServerCreateOnHost "os_compute_api:servers:create:forced_host" Admin;
    ServerChange "os_compute_api:servers:update" Member;
    ServerDelete "os_compute_api:servers:delete" Member;
    ServerAct "os_compute_api:servers:start" Member;
    ServerLock "os_compute_api:os-lock-server:lock" Member;
    ServerUnlockOthers "os_compute_api:os-lock-server:unlock:unlock_override" Admin;
    ServerResetState "os_compute_api:os-admin-actions:reset_state" Admin;
    ServerMigrate "os_compute_api:os-migrate-server:migrate" Admin;
    ServerMigrateToHost "os_compute_api:os-migrate-server:migrate:host" Admin;
    ServerMigrateLive "os_compute_api:os-migrate-server:migrate_live" Admin;
    ServerResize "os_compute_api:servers:resize" Member;
    ServerConfirmResize "os_compute_api:servers:confirm_resize" Member;
    ServerRevertResize "os_compute_api:servers:revert_resize" Member;
    ServerShelve "os_compute_api:os-shelve:shelve" Member;
    ServerShelveOffload "os_compute_api:os-shelve:shelve_offload" Admin;
    ServerUnshelve "os_compute_api:os-shelve:unshelve" Member;
    ServerUnshelveToHost "os_compute_api:os-shelve:unshelve_to_host" Admin;
    MigrationRead "os_compute_api:os-migrations:index" Admin;
    ServerMigrationRead "os_compute_api:servers:migrations:index" Admin;
    ServerMigrationAbort "os_compute_api:servers:migrations:delete" Admin;
    ServerMigrationForce "os_compute_api:servers:migrations:force_complete" Admin;
    ServerEvacuate "os_compute_api:os-evacuate" Admin;
    ServerDiskRestore "lenticular:servers:disks:restore" Admin;
    HostFence "lenticular:hosts:fence" Admin;
    InterfaceAttach "os_compute_api:os-attach-interfaces:create" Member;
    InterfaceDetach "os_compute_api:os-attach-interfaces:delete" Member;
    ServerGroupsWrite "os_compute_api:os-security-groups:add" Member;
    ServerConsole "os_compute_api:os-console-output" Member;
    OperationRead "os_compute_api:os-instance-actions:list" Reader;
    OperationReadHost "os_compute_api:os-instance-actions:events:details" Admin;
    ZoneRead "os_compute_api:os-availability-zone:list" Anyone;
    ZoneReadDetail "os_compute_api:os-availability-zone:detail" Admin;
    AggregateRead "os_compute_api:os-aggregates:index" Admin;
    AggregateWrite "os_compute_api:os-aggregates:create" Admin;
    ServerGroupRead "os_compute_api:os-server-groups:show" Reader;
    ServerGroupReadAll "os_compute_api:os-server-groups:index:all_projects" Admin;
    ServerGroupWrite "os_compute_api:os-server-groups:create" Member;
    HypervisorRead "os_compute_api:os-hypervisors:list" Admin;
    ServiceRead "os_compute_api:os-services:list" Admin;
    ServiceWrite "os_compute_api:os-services:update" Admin;
    LimitsRead "os_compute_api:limits" Reader;
    QuotaRead "os_compute_api:os-quota-sets:show" Reader;
    QuotaWrite "os_compute_api:os-quota-sets:update" Admin;
    Explain "lenticular:servers:explain" Admin;

    NetworkRead "get_network" Reader;
    NetworkWrite "create_network" Member;
    NetworkWriteShared "create_network:shared" Admin;
    PortWrite "create_port" Member;
    PortBind "create_port:binding:host_id" Admin;
    SecurityGroupWrite "create_security_group" Member;
    DefaultSecurityGroupRuleWrite "create_default_security_group_rule" Admin;
    NetworkQuotaWrite "update_quota" Admin;
    RouterWrite "create_router" Member;
    RouterDistributed "create_router:distributed" Admin;
    RouterHa "create_router:ha" Admin;
    RouterSnat "create_router:external_gateway_info:enable_snat" Admin;
    RouterGatewayAddress "create_router:external_gateway_info:external_fixed_ips" Admin;
    FloatingIpWrite "create_floatingip" Member;
    FloatingIpAddress "create_floatingip:floating_ip_address" Admin;
    SubnetPoolWrite "create_subnetpool" Member;
    SubnetPoolShared "create_subnetpool:shared" Admin;
    SubnetPoolDefault "create_subnetpool:is_default" Admin;
    AddressScopeWrite "create_address_scope" Member;
    AddressScopeShared "create_address_scope:shared" Admin;
    AddressGroupWrite "create_address_group" Member;
    QosPolicyWrite "create_policy" Admin;
    TrunkWrite "create_trunk" Member;
    RbacWrite "create_rbac_policy" Member;
    RbacEveryone "create_rbac_policy:target_tenant" Admin;
    AgentRead "get_agent" Admin;
    IpAvailabilityRead "get_network_ip_availability" Admin;

    PlacementRead "placement:resource_providers:list" Admin;
    PlacementWrite "placement:resource_providers:inventories:update" Admin;
    OperatorRead "lenticular:operator:read" Admin;
    HostEnrol "lenticular:hosts:enrol" Admin;
    HostRetire "lenticular:hosts:retire" Admin;
}

/// Refuses unless the caller may do `action` to what `owner` owns (`None`: to nothing of a project's).
///
/// # Errors
/// The caller may not; the message names the action as OpenStack's policy does.
pub fn check(caller: &Caller, action: Action, owner: Option<ProjectId>) -> Result<()> {
    let here = owner.is_none() || owner == caller.project_id();
    let allowed = match action.rule() {
        _ if caller.is_admin() => true,
        Rule::Anyone => true,
        Rule::Reader => here && caller.level >= RoleLevel::Reader,
        Rule::Member => here && caller.level >= RoleLevel::Member,
        Rule::Manager => here && caller.level >= RoleLevel::Manager,
        Rule::Admin => false,
    };
    if allowed {
        return Ok(());
    }
    Err(Error::forbidden(format!("Policy doesn't allow {} to be performed.", action.name()))
        .coded("PolicyNotAuthorized"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(level: RoleLevel, project: u8) -> Caller {
        Caller {
            user_id: UserId::from_random([1; 16]),
            scope: Scope::Project(ProjectId::from_random([project; 16])),
            level,
            request_id: String::new(),
        }
    }

    #[test]
    fn nobody_but_an_admin_reaches_into_another_project() {
        let theirs = Some(ProjectId::from_random([2; 16]));
        for action in Action::ALL {
            for level in [RoleLevel::None, RoleLevel::Reader, RoleLevel::Member, RoleLevel::Manager] {
                let allowed = check(&caller(level, 1), *action, theirs).is_ok();
                assert_eq!(allowed, action.rule() == Rule::Anyone, "{} as {level:?}", action.name());
            }
            assert!(check(&caller(RoleLevel::Admin, 1), *action, theirs).is_ok());
        }
    }

    #[test]
    fn readers_change_nothing_of_their_own() {
        let own = Some(ProjectId::from_random([1; 16]));
        assert!(check(&caller(RoleLevel::Reader, 1), Action::ServerRead, own).is_ok());
        assert!(check(&caller(RoleLevel::Reader, 1), Action::ServerCreate, own).is_err());
        assert!(check(&caller(RoleLevel::Member, 1), Action::ServerCreate, own).is_ok());
    }
}
