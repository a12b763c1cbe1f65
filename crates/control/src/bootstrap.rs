//! The initial content of an empty cloud: the default domain, roles, the first administrator and a few flavors.

use crate::{
    command::identity,
    lifecycle::network::{cascade, group_build},
};
use lenticular_model::{
    DomainId, ProjectId, RoleId, Txn, UserId,
    compute::flavor::{Flavor, Size},
    identity::{Actor, Domain, Project, Role, Target, User},
};
use std::sync::Arc;

/// Name of the first administrator and of its project.
pub const ADMIN: &str = "admin";

/// The roles. Each role implies those after it.
const ROLES: &[&str] = &["admin", "manager", "member", "reader"];

/// The role of services that act for users. It implies none, and none implies it.
const SERVICE: &str = "service";

/// Its id is the same in every cloud, which tells it from a role that an operator has made under this name.
const SERVICE_ID: [u8; 16] = *b"lenticular.servi";

/// Flavors: id, name, virtual CPUs, MiB of memory, GiB of disk.
const FLAVORS: &[(&str, &str, u32, u32, u32)] = &[
    ("42", "m1.nano", 1, 128, 1),
    ("84", "m1.micro", 1, 256, 1),
    ("1", "m1.tiny", 1, 512, 1),
    ("2", "m1.small", 1, 2_048, 20),
    ("3", "m1.medium", 2, 4_096, 40),
    ("4", "m1.large", 4, 8_192, 80),
];

/// Fills an empty store. Returns false, and changes nothing, if the store already has a cloud.
pub fn bootstrap(txn: &mut Txn<'_>, admin_password_hash: &str) -> bool {
    if txn.domains.contains_key(&DomainId::from(identity::domain::DEFAULT_DOMAIN)) {
        return false;
    }
    let now = txn.now;
    txn.put(Domain {
        id: identity::domain::DEFAULT_DOMAIN.into(),
        created_at: now,
        updated_at: None,
        name: "Default".to_owned(),
        description: "The default domain".to_owned(),
        enabled: true,
        tokens_void_before: Default::default(),
        unknown: Default::default(),
    });
    let roles: Vec<RoleId> = ROLES
        .iter()
        .map(|name| {
            let id = RoleId::from_random(txn.random());
            put_role(txn, id, name)
        })
        .collect();
    put_role(txn, RoleId::from_random(SERVICE_ID), SERVICE);
    let project = put_project(txn, ADMIN, "The administrators' own project");
    put_project(txn, SERVICE, "The cloud's own project");
    let user = UserId::from_random(txn.random());
    txn.put(User {
        id: user,
        created_at: now,
        updated_at: None,
        domain_id: identity::domain::DEFAULT_DOMAIN.into(),
        name: ADMIN.to_owned(),
        password_hash: Some(admin_password_hash.to_owned()),
        past_password_hashes: Vec::new(),
        password_changed_at: now,
        enabled: true,
        default_project_id: None,
        extra: Default::default(),
        unknown: Default::default(),
    });
    for target in
        [Target::Project(project), Target::Domain(identity::domain::DEFAULT_DOMAIN.into()), Target::System]
    {
        let place = identity::grant::Place { actor: Actor::User(user), target, inherited: false };
        identity::grant::put(txn, place, roles[0]);
    }
    identity::catalog::put_own(txn);
    FLAVORS.iter().for_each(|flavor| put_flavor(txn, *flavor));
    true
}

/// Gives the first administrator a new password. The API layer has made its hash.
///
/// # Errors
/// The user no longer exists.
pub fn reset_admin(txn: &mut Txn<'_>, hash: String) -> lenticular_model::Result<()> {
    let id = txn.user_named(&DomainId::from(identity::domain::DEFAULT_DOMAIN), ADMIN).map(|user| user.id);
    let id = id.ok_or_else(|| lenticular_model::Error::not_found("User", ADMIN))?;
    identity::user::set_password(txn, id, hash, 0)
}

/// The first changes of a leader that takes over a store.
pub fn take_over(txn: &mut Txn<'_>) {
    crate::upgrade::bring_over(txn);
    crate::lifecycle::image::abort_all_uploads(txn);
    crate::lifecycle::operation::end_those_inside_guests(txn);
    cascade::sync_all_metadata(txn);
}

fn put_role(txn: &mut Txn<'_>, id: RoleId, name: &str) -> RoleId {
    txn.put(Role {
        id,
        created_at: txn.now,
        updated_at: None,
        name: name.to_owned(),
        domain_id: None,
        description: None,
        unknown: Default::default(),
    });
    id
}

fn put_project(txn: &mut Txn<'_>, name: &str, description: &str) -> ProjectId {
    let id = ProjectId::from_random(txn.random());
    txn.put(Project {
        id,
        created_at: txn.now,
        updated_at: None,
        domain_id: identity::domain::DEFAULT_DOMAIN.into(),
        name: name.to_owned(),
        description: description.to_owned(),
        enabled: true,
        tokens_void_before: Default::default(),
        parent_id: None,
        tags: Vec::new(),
        extra: Default::default(),
        unknown: Default::default(),
    });
    group_build::ensure_default(txn, id);
    id
}

fn put_flavor(txn: &mut Txn<'_>, (id, name, vcpus, ram_mb, disk_gb): (&str, &str, u32, u32, u32)) {
    txn.put(Flavor {
        id: id.into(),
        created_at: txn.now,
        updated_at: None,
        name: name.to_owned(),
        description: None,
        size: Size { vcpus, ram_mb, disk_gb, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 },
        is_public: true,
        access: Vec::new(),
        rxtx_factor: 1.0,
        extra_specs: Arc::default(),
        unknown: Default::default(),
    });
}
