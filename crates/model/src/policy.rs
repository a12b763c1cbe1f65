//! The access policy: one table for every action of the cloud, with OpenStack's default roles.
//!
//! Roles imply each other downwards: admin, manager, member, reader. The role operator is no role of OpenStack's: it exists
//! if an administrator makes a role of that name, counts on the system alone, and is above reader there. The token's scope decides where a role counts:
//!
//! | scope of the token | Keystone | Nova, Neutron, Glance, Placement | operators' API |
//! |---|---|---|---|
//! | project, admin | everything | everything | everything |
//! | project, below admin | its own user, the own project | the own project | nothing |
//! | domain, admin or manager | users, groups, projects and grants of that domain | nothing | nothing |
//! | domain, reader | reads what is in that domain | nothing | nothing |
//! | system, admin | everything | nothing | everything |
//! | system, operator | reads everything | nothing | reads; has hosts prove themselves, and asks why a server is where it is |
//! | system, reader | reads everything | nothing | reads |
//! | none | its own user | its own key pairs, public facts | nothing |
//!
//! Key pairs, flavors and zones are open to every project scope and to unscoped tokens (rule `Anyone`).

use crate::{
    DomainId, ProjectId, UserId,
    error::{Error, Result},
};

/// The default roles. Each role implies those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleLevel {
    /// Holds no role of the policy.
    None,
    /// May read.
    Reader,
    /// May use.
    Member,
    /// May manage the project.
    Manager,
    /// May read, and look after hosts: on the system alone, where members and managers may only read.
    Operator,
    /// May do everything.
    Admin,
}

/// The name of the role whose holders look after hosts.
pub const OPERATOR: &str = "operator";

impl RoleLevel {
    /// The level that a role of this name gives everywhere.
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

/// The scope of a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The user's own records only.
    Unscoped,
    /// One project.
    Project(ProjectId),
    /// One domain.
    Domain(DomainId),
    /// The whole cloud.
    System,
}

/// The caller of a request and its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// The token's scope.
    pub scope: Scope,
    /// The highest default role of the user in that scope.
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

    /// True for an administrator of Nova, Neutron and Glance: the role is on a project. The admin of a domain is no
    /// such administrator.
    pub fn is_admin(&self) -> bool {
        self.level == RoleLevel::Admin && self.project_id().is_some()
    }

    /// True if the caller's role on its project permits reading everything in the project.
    pub fn may_read(&self) -> bool {
        self.level >= RoleLevel::Reader && self.project_id().is_some()
    }

    /// True if the caller sees what `owner` owns.
    pub fn sees(&self, owner: ProjectId) -> bool {
        self.is_admin() || (self.may_read() && self.project_id() == Some(owner))
    }

    /// The caller's project.
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

/// The rule of an action: the callers who may do it.
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
    /// The operators' API alone: admins, and operators of the system.
    Operator,
    /// Admins.
    Admin,
    /// Keystone alone: admins, and readers of the system; in a domain its readers.
    Look,
    /// Keystone alone: admins; in a domain its admins and managers.
    Govern,
}

/// The service that an action belongs to. It decides which scopes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Keystone's.
    Identity,
    /// Nova, Neutron, Glance and Placement: records that projects own.
    Project,
    /// The operators' API, which OpenStack does not have.
    Operator,
}

macro_rules! actions {
    ($($area:ident { $($action:ident $name:literal $rule:ident;)* })*) => {
        /// Every action that is guarded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action { $($(#[doc = concat!("`", $name, "`")] $action,)*)* }

        impl Action {
            /// Every action, in the table's order.
            pub const ALL: &'static [Action] = &[$($(Action::$action,)*)*];

            /// The action's name in OpenStack's policy files.
            pub fn name(self) -> &'static str {
                match self { $($(Action::$action => $name,)*)* }
            }

            /// The action's rule.
            pub fn rule(self) -> Rule {
                match self { $($(Action::$action => Rule::$rule,)*)* }
            }

            /// The action's service.
            pub fn area(self) -> Area {
                match self { $($(Action::$action => Area::$area,)*)* }
            }
        }
    };
}

actions! {
    Identity {
        DomainRead "identity:list_domains" Look;
        DomainWrite "identity:create_domain" Admin;
        ProjectRead "identity:get_project" Look;
        ProjectWrite "identity:create_project" Govern;
        UserRead "identity:get_user" Look;
        UserWrite "identity:create_user" Govern;
        RoleRead "identity:get_role" Look;
        RoleWrite "identity:create_role" Admin;
        GrantRead "identity:list_grants" Look;
        GrantWrite "identity:create_grant" Govern;
        InferenceRead "identity:list_role_inference_rules" Look;
        InferenceWrite "identity:create_implied_role" Admin;
        GroupRead "identity:get_group" Look;
        GroupWrite "identity:create_group" Govern;
        MembershipWrite "identity:add_user_to_group" Govern;
        ApplicationCredentialRead "identity:list_application_credentials" Look;
        ApplicationCredentialDelete "identity:delete_application_credential" Admin;
        AccessRuleRead "identity:list_access_rules" Look;
        AccessRuleDelete "identity:delete_access_rule" Admin;
        TrustRead "identity:list_trusts" Look;
        TrustDelete "identity:delete_trust" Admin;
        ServiceCatalogRead "identity:list_services" Look;
        ServiceCatalogWrite "identity:create_service" Admin;
        EndpointWrite "identity:create_endpoint" Admin;
        RegionWrite "identity:create_region" Admin;
        TokenValidateOthers "identity:validate_token" Look;
        TokenRevokeOthers "identity:revoke_token" Admin;
    }
    Project {
        ImageRead "image:get_image" Reader;
        ImageWrite "image:add_image" Member;
        ImagePublicize "image:publicize_image" Admin;
        ImageDeactivate "image:deactivate" Member;
        ImageMemberRead "image:get_members" Reader;
        ImageMemberWrite "image:add_member" Member;
        ImageMemberStatus "image:modify_member" Member;

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
        ServerCreateZeroDisk "os_compute_api:servers:create:zero_disk_flavor" Admin;
        ServerCreateOnHost "os_compute_api:servers:create:forced_host" Admin;
        ServerChange "os_compute_api:servers:update" Member;
        ServerDelete "os_compute_api:servers:delete" Member;
        ServerAct "os_compute_api:servers:start" Member;
        ServerPause "os_compute_api:os-pause-server:pause" Member;
        ServerUnpause "os_compute_api:os-pause-server:unpause" Member;
        ServerSuspend "os_compute_api:os-suspend-server:suspend" Member;
        ServerResume "os_compute_api:os-suspend-server:resume" Member;
        ServerSnapshot "os_compute_api:servers:create_image" Member;
        ServerBackup "os_compute_api:os-create-backup" Member;
        ServerRebuild "os_compute_api:servers:rebuild" Member;
        ServerRescue "os_compute_api:os-rescue" Member;
        ServerUnrescue "os_compute_api:os-unrescue" Member;
        ServerChangePassword "os_compute_api:os-admin-password" Member;
        ServerCrashDump "os_compute_api:servers:trigger_crash_dump" Member;
        ServerLock "os_compute_api:os-lock-server:lock" Member;
        ServerUnlockOthers "os_compute_api:os-lock-server:unlock:unlock_override" Admin;
        ServerInjectNetworkInfo "os_compute_api:os-admin-actions:inject_network_info" Admin;
        ServerRestore "os_compute_api:os-deferred-delete:restore" Member;
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
        InterfaceAttach "os_compute_api:os-attach-interfaces:create" Member;
        InterfaceDetach "os_compute_api:os-attach-interfaces:delete" Member;
        SecurityGroupsRead "os_compute_api:os-security-groups:get" Reader;
        FloatingIpsRead "os_compute_api:os-floating-ips:list" Reader;
        TenantNetworksRead "os_compute_api:os-tenant-networks:list" Reader;
        ServerGroupsWrite "os_compute_api:os-security-groups:add" Member;
        ServerConsole "os_compute_api:os-console-output" Member;
        ServerRemoteConsole "os_compute_api:os-remote-consoles" Member;
        ConsoleToken "os_compute_api:os-console-auth-tokens" Admin;
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
        HostRead "os_compute_api:os-hosts:list" Admin;
        UsageAuditRead "os_compute_api:os-instance-usage-audit-log:list" Admin;
        ExternalEventCreate "os_compute_api:os-server-external-events:create" Admin;
        ServerDiagnostics "os_compute_api:os-server-diagnostics" Admin;
        ServerSharesRead "os_compute_api:os-server-shares:index" Reader;
        ServerSharesWrite "os_compute_api:os-server-shares:create" Member;
        ServerTopology "compute:server:topology:index" Reader;
        ServerTopologyHost "compute:server:topology:host:index" Admin;
        TenantUsageRead "os_compute_api:os-simple-tenant-usage:show" Reader;
        TenantUsageReadAll "os_compute_api:os-simple-tenant-usage:list" Admin;
        QuotaClassRead "os_compute_api:os-quota-class-sets:show" Admin;
        QuotaClassWrite "os_compute_api:os-quota-class-sets:update" Admin;
        NetworksRead "os_compute_api:os-networks:list" Reader;
        ServiceRead "os_compute_api:os-services:list" Admin;
        ServiceWrite "os_compute_api:os-services:update" Admin;
        LimitsRead "os_compute_api:limits" Reader;
        QuotaRead "os_compute_api:os-quota-sets:show" Reader;
        QuotaWrite "os_compute_api:os-quota-sets:update" Admin;

        NetworkRead "get_network" Reader;
        NetworkWrite "create_network" Member;
        NetworkWriteShared "create_network:shared" Admin;
        PortWrite "create_port" Member;
        PortBind "create_port:binding:host_id" Admin;
        PortMac "update_port:mac_address" Manager;
        SubnetServiceTypes "create_subnet:service_types" Admin;
        SecurityGroupWrite "create_security_group" Member;
        DefaultSecurityGroupRuleWrite "create_default_security_group_rule" Admin;
        NetworkQuotaWrite "update_quota" Admin;
        RouterWrite "create_router" Member;
        RouterDistributed "create_router:distributed" Admin;
        RouterHa "create_router:ha" Admin;
        RouterSnat "create_router:external_gateway_info:enable_snat" Admin;
        RouterGatewayAddress "create_router:external_gateway_info:external_fixed_ips" Admin;
        FloatingIpWrite "create_floatingip" Member;
        FloatingIpAddress "create_floatingip:floating_ip_address" Manager;
        SubnetPoolWrite "create_subnetpool" Member;
        SubnetPoolShared "create_subnetpool:shared" Admin;
        SubnetPoolDefault "create_subnetpool:is_default" Admin;
        AddressScopeWrite "create_address_scope" Member;
        AddressScopeShared "create_address_scope:shared" Admin;
        AddressGroupWrite "create_address_group" Member;
        QosPolicyWrite "create_policy" Manager;
        QosPolicyShared "create_policy:shared" Admin;
        TrunkWrite "create_trunk" Member;
        RbacWrite "create_rbac_policy" Member;
        RbacEveryone "create_rbac_policy:target_tenant" Admin;
        AgentRead "get_agent" Admin;
        IpAvailabilityRead "get_network_ip_availability" Admin;

        PlacementRead "placement:resource_providers:list" Admin;
        PlacementWrite "placement:resource_providers:inventories:update" Admin;
    }
    Operator {
        OperatorRead "lenticular:operator:read" Look;
        ServerDiskRestore "lenticular:servers:disks:restore" Admin;
        HostFence "lenticular:hosts:fence" Admin;
        Explain "lenticular:servers:explain" Operator;
        HostCheck "lenticular:hosts:check" Operator;
        HostEnrol "lenticular:hosts:enrol" Admin;
        HostRetire "lenticular:hosts:retire" Admin;
        HostRuleWrite "lenticular:rules:write" Admin;
        PlanWrite "lenticular:plans:write" Operator;
        PlanLoosen "lenticular:plans:loosen" Admin;
        HostOverride "lenticular:hosts:override" Admin;
        HostAdmit "lenticular:hosts:admit" Admin;
        ProjectPurge "lenticular:projects:purge" Admin;
    }
}

/// Refuses unless the caller may do `action` to an object of `owner` (`None`: an object that no project owns).
///
/// # Errors
/// The caller may not; the message has OpenStack's name of the action.
pub fn check(caller: &Caller, action: Action, owner: Option<ProjectId>) -> Result<()> {
    let allowed = match action.area() {
        Area::Identity => reach(caller, action) == Reach::Cloud,
        Area::Project => may_in_project(caller, action.rule(), owner),
        Area::Operator => may_operate(caller, action.rule()),
    };
    allowed.then_some(()).ok_or_else(|| not_allowed(action))
}

fn not_allowed(action: Action) -> Error {
    Error::forbidden(format!("Policy doesn't allow {} to be performed.", action.name()))
        .coded("PolicyNotAuthorized")
}

fn may_in_project(caller: &Caller, rule: Rule, owner: Option<ProjectId>) -> bool {
    let here = caller.project_id().is_some() && (owner.is_none() || owner == caller.project_id());
    let least = match rule {
        Rule::Anyone => return matches!(caller.scope, Scope::Project(_) | Scope::Unscoped),
        Rule::Reader | Rule::Look => RoleLevel::Reader,
        Rule::Member => RoleLevel::Member,
        Rule::Manager => RoleLevel::Manager,
        Rule::Operator | Rule::Admin | Rule::Govern => RoleLevel::Admin,
    };
    caller.is_admin() || (here && least < RoleLevel::Admin && caller.level >= least)
}

fn may_operate(caller: &Caller, rule: Rule) -> bool {
    let least = match rule {
        Rule::Look => RoleLevel::Reader,
        Rule::Operator => RoleLevel::Operator,
        _ => RoleLevel::Admin,
    };
    caller.is_admin() || (caller.scope == Scope::System && caller.level >= least)
}

/// The part of Keystone that an action reaches for a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Only the caller's own records.
    Own,
    /// The records of one domain.
    Domain(DomainId),
    /// Everything.
    Cloud,
}

impl Reach {
    /// True if the records of `domain` are within reach.
    pub fn covers(&self, domain: &DomainId) -> bool {
        match self {
            Self::Own => false,
            Self::Domain(own) => own == domain,
            Self::Cloud => true,
        }
    }
}

/// The reach of an action of Keystone for a caller.
pub fn reach(caller: &Caller, action: Action) -> Reach {
    let (in_system, in_domain) = match action.rule() {
        Rule::Look => (RoleLevel::Reader, Some(RoleLevel::Reader)),
        Rule::Govern => (RoleLevel::Admin, Some(RoleLevel::Manager)),
        _ => (RoleLevel::Admin, None),
    };
    match &caller.scope {
        Scope::Project(_) if caller.is_admin() => Reach::Cloud,
        Scope::System if caller.level >= in_system => Reach::Cloud,
        Scope::Domain(id) if in_domain.is_some_and(|least| caller.level >= least) => {
            Reach::Domain(id.clone())
        }
        _ => Reach::Own,
    }
}

/// Refuses unless the caller may do an action of Keystone in a domain; `None` is an unknown domain.
///
/// # Errors
/// The caller may not. Only a caller who reaches the whole cloud learns whether the object exists.
pub fn check_in_domain(caller: &Caller, action: Action, domain: Option<&DomainId>) -> Result<()> {
    let reach = reach(caller, action);
    let allowed = match domain {
        Some(domain) => reach.covers(domain),
        None => reach == Reach::Cloud,
    };
    allowed.then_some(()).ok_or_else(|| not_allowed(action))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [RoleLevel; 6] = [
        RoleLevel::None,
        RoleLevel::Reader,
        RoleLevel::Member,
        RoleLevel::Manager,
        RoleLevel::Operator,
        RoleLevel::Admin,
    ];

    fn project(number: u8) -> ProjectId {
        ProjectId::from_random([number; 16])
    }

    fn caller(level: RoleLevel, scope: Scope) -> Caller {
        Caller { user_id: UserId::from_random([1; 16]), scope, level, request_id: String::new() }
    }

    /// The callers who may do an action to an object of project 1, as one row: levels from none to admin, for each
    /// scope.
    fn row(action: Action) -> String {
        let scopes = [
            ("own", Scope::Project(project(1))),
            ("other", Scope::Project(project(2))),
            ("domain", Scope::Domain("d".into())),
            ("system", Scope::System),
            ("unscoped", Scope::Unscoped),
        ];
        let cells = scopes.map(|(name, scope)| {
            let owner = (action.area() == Area::Project).then(|| project(1));
            let may = |level| check(&caller(level, scope.clone()), action, owner).is_ok();
            let least = LEVELS.into_iter().position(may);
            let from = least.map_or("-".to_owned(), |at| format!("{:?}", LEVELS[at]).to_lowercase());
            // A higher level may do all that a lower level may.
            assert!(least.is_none_or(|at| LEVELS[at..].iter().all(|level| may(*level))), "{}", action.name());
            format!("{name}:{from}")
        });
        format!("{} {}", action.name(), cells.join(" "))
    }

    #[test]
    fn the_policy_reads_as_a_table() {
        let table: String = Action::ALL.iter().map(|action| row(*action) + "\n").collect();
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_domain_role_governs_its_domain_and_nothing_else() {
        for action in Action::ALL {
            for level in LEVELS {
                let ruler = caller(level, Scope::Domain("d".into()));
                let inside = check_in_domain(&ruler, *action, Some(&"d".into())).is_ok();
                let rules = match (action.area(), action.rule()) {
                    (Area::Identity, Rule::Look) => level >= RoleLevel::Reader,
                    (Area::Identity, Rule::Govern) => level >= RoleLevel::Manager,
                    _ => false,
                };
                assert_eq!(
                    inside && action.area() == Area::Identity,
                    rules,
                    "{} as {level:?}",
                    action.name()
                );
                assert!(check_in_domain(&ruler, *action, Some(&"e".into())).is_err(), "{}", action.name());
                assert!(check_in_domain(&ruler, *action, None).is_err(), "{}", action.name());
                assert!(check(&ruler, *action, None).is_err(), "{} as {level:?}", action.name());
                assert!(!ruler.is_admin() && !ruler.may_read() && !ruler.sees(project(1)));
            }
        }
    }
}
