//! Application credentials, groups, implied and inherited roles: what a token has, and what ends it. And the
//! catalog.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use lenticular_control::{
    bootstrap::{bootstrap, take_over},
    command::identity::{
        access_rule,
        application_credential::{self, AskedRule, NewCredential},
        catalog,
        delegation::AskedRole,
        grant::{self, Place},
        group, project, role,
        trust::{self, NewTrust},
        user,
    },
};
use lenticular_model::{
    ApplicationCredentialId, GroupId, Incarnation, ProjectId, RoleId, ServiceId, State, Timestamp, Txn,
    UserId,
    error::{Kind, Result},
    identity::{Actor, Group, Project, Proof, Region, Role, Target, User},
    policy::{Caller, RoleLevel, Scope},
};

struct Cloud {
    state: State,
    made: u32,
}

impl Cloud {
    fn new() -> Self {
        let mut cloud = Self { state: State::new(Incarnation::from_random([1; 16]), Timestamp(1)), made: 0 };
        cloud.run(|txn| Ok(bootstrap(txn, "hash"))).unwrap();
        cloud
    }

    /// Runs a command like the writer: its transaction counts only if it does not refuse.
    fn run<T>(&mut self, command: impl FnOnce(&mut Txn<'_>) -> Result<T>) -> Result<T> {
        let made = &mut self.made;
        let mut entropy = || {
            *made += 1;
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&made.to_be_bytes());
            bytes
        };
        let mut txn = Txn::new(&self.state, Timestamp(1_000), &mut entropy);
        let done = command(&mut txn)?;
        self.state = txn.finish().0;
        assert_eq!(self.state.check_indexes(), Ok(()));
        Ok(done)
    }

    fn take_over(&mut self) {
        self.run(|txn| {
            take_over(txn);
            Ok(())
        })
        .unwrap();
    }

    fn user(&mut self, name: &str) -> UserId {
        let name = name.to_owned();
        self.run(|txn| {
            let id = UserId::from_random(txn.random());
            user::put(
                txn,
                &admin(),
                User {
                    id,
                    created_at: txn.now,
                    updated_at: None,
                    domain_id: "default".into(),
                    name,
                    password_hash: None,
                    past_password_hashes: Vec::new(),
                    password_changed_at: txn.now,
                    enabled: true,
                    default_project_id: None,
                    extra: Default::default(),
                    unknown: Default::default(),
                },
            )?;
            Ok(id)
        })
        .unwrap()
    }

    fn project(&mut self, name: &str, parent_id: Option<ProjectId>) -> ProjectId {
        let name = name.to_owned();
        self.run(|txn| {
            let id = ProjectId::from_random(txn.random());
            project::put(
                txn,
                &admin(),
                Project {
                    id,
                    created_at: txn.now,
                    updated_at: None,
                    domain_id: "default".into(),
                    name,
                    description: String::new(),
                    enabled: true,
                    tokens_void_before: Default::default(),
                    parent_id,
                    tags: Vec::new(),
                    extra: Default::default(),
                    unknown: Default::default(),
                },
            )?;
            Ok(id)
        })
        .unwrap()
    }

    fn group(&mut self, name: &str) -> GroupId {
        let (name, description) = (name.to_owned(), String::new());
        self.run(|txn| {
            let id = GroupId::from_random(txn.random());
            let (created_at, unknown) = (txn.now, Default::default());
            let domain_id = "default".into();
            group::put(
                txn,
                &admin(),
                Group { id, created_at, updated_at: None, domain_id, name, description, unknown },
            )?;
            Ok(id)
        })
        .unwrap()
    }

    fn new_role(&mut self, name: &str, domain: Option<&str>) -> RoleId {
        let (name, domain_id) = (name.to_owned(), domain.map(Into::into));
        self.run(|txn| {
            let id = RoleId::from_random(txn.random());
            let (created_at, unknown) = (txn.now, Default::default());
            role::put(
                txn,
                &admin(),
                Role { id, created_at, updated_at: None, name, domain_id, description: None, unknown },
            )?;
            Ok(id)
        })
        .unwrap()
    }

    fn role(&self, name: &str) -> RoleId {
        self.state.role_named(None, name).unwrap().id
    }

    fn grant(&mut self, actor: Actor, target: Target, inherited: bool, role: RoleId) {
        let place = Place { actor, target, inherited };
        self.run(|txn| grant::grant(txn, &admin(), place, role)).unwrap();
    }

    fn revoke(&mut self, actor: Actor, target: Target, inherited: bool, role: RoleId) {
        let place = Place { actor, target, inherited };
        self.run(|txn| grant::revoke(txn, &admin(), &place, role)).unwrap();
    }

    fn names(&self, user: UserId, project: ProjectId, proof: Proof) -> Vec<String> {
        let roles = self.state.roles_by(user, &Target::Project(project), proof);
        let mut names: Vec<String> = roles.iter().map(|role| role.name.clone()).collect();
        names.sort();
        names
    }

    fn credential(
        &mut self,
        of: (UserId, ProjectId),
        proof: Proof,
        edit: impl FnOnce(&mut NewCredential),
    ) -> Result<ApplicationCredentialId> {
        let mut new = NewCredential {
            name: format!("ci-{}", self.made),
            description: None,
            secret_hash: "hash".to_owned(),
            roles: None,
            expires_at: None,
            unrestricted: false,
            access_rules: Vec::new(),
        };
        edit(&mut new);
        let caller = caller(of.0, Scope::Project(of.1), RoleLevel::Member);
        self.run(|txn| application_credential::create(txn, &caller, proof, of.0, new).map(|made| made.id))
    }
}

fn caller(user_id: UserId, scope: Scope, level: RoleLevel) -> Caller {
    Caller { user_id, scope, level, request_id: String::new() }
}

fn admin() -> Caller {
    caller(UserId::from_random([9; 16]), Scope::Project(ProjectId::from_random([9; 16])), RoleLevel::Admin)
}

/// A user with the role member in a project.
fn member(cloud: &mut Cloud) -> (UserId, ProjectId) {
    let (user, project) = (cloud.user("ada"), cloud.project("lab", None));
    let role = cloud.role("member");
    cloud.grant(Actor::User(user), Target::Project(project), false, role);
    (user, project)
}

fn kind<T>(result: Result<T>) -> Option<Kind> {
    result.err().map(|error| error.kind)
}

#[test]
fn a_credential_has_no_more_roles_than_its_user() {
    let mut cloud = Cloud::new();
    let of = member(&mut cloud);
    let all = cloud.credential(of, Proof::Own, |_| {}).unwrap();
    let reader = vec![AskedRole::Name("reader".to_owned())];
    let few = cloud.credential(of, Proof::Own, |new| new.roles = Some(reader)).unwrap();
    assert_eq!(cloud.names(of.0, of.1, Proof::ApplicationCredential(all)), ["member", "reader"]);
    assert_eq!(cloud.names(of.0, of.1, Proof::ApplicationCredential(few)), ["reader"]);
    let more = vec![AskedRole::Id(cloud.role("admin"))];
    assert_eq!(kind(cloud.credential(of, Proof::Own, |new| new.roles = Some(more))), Some(Kind::Invalid));
    let taken = cloud.state.application_credentials[&all].name.clone();
    assert_eq!(kind(cloud.credential(of, Proof::Own, |new| new.name = taken)), Some(Kind::Conflict));
    let past = Some(Timestamp(1_000));
    assert_eq!(kind(cloud.credential(of, Proof::Own, |new| new.expires_at = past)), Some(Kind::Invalid));
}

#[test]
fn a_credential_makes_others_only_if_it_is_unrestricted_and_within_its_own_bounds() {
    let mut cloud = Cloud::new();
    let of = member(&mut cloud);
    let restricted = Proof::ApplicationCredential(cloud.credential(of, Proof::Own, |_| {}).unwrap());
    assert_eq!(kind(cloud.credential(of, restricted, |_| {})), Some(Kind::Forbidden));
    let rule = |path: &str| AskedRule::New {
        service: "compute".to_owned(),
        method: "GET".to_owned(),
        path: path.to_owned(),
    };
    let by = cloud.credential(of, Proof::Own, |new| {
        new.unrestricted = true;
        new.roles = Some(vec![AskedRole::Name("reader".to_owned())]);
        new.expires_at = Some(Timestamp(5_000));
        new.access_rules = vec![rule("/v2.1/servers")];
    });
    let by = Proof::ApplicationCredential(by.unwrap());
    let within = |new: &mut NewCredential| {
        new.expires_at = Some(Timestamp(4_000));
        new.access_rules = vec![rule("/v2.1/servers")];
    };
    let made = cloud.credential(of, by, within).unwrap();
    assert_eq!(cloud.state.access_rules.len(), 1, "the same rule is one record");
    assert_eq!(cloud.names(of.0, of.1, Proof::ApplicationCredential(made)), ["reader"]);
    let wider: [fn(&mut NewCredential); 3] = [
        |new| new.access_rules.clear(),
        |new| new.expires_at = None,
        |new| new.roles = Some(vec![AskedRole::Name("member".to_owned())]),
    ];
    for widen in wider {
        let refused = cloud.credential(of, by, |new| {
            within(new);
            widen(new);
        });
        assert!(refused.is_err());
    }
}

#[test]
fn nobody_makes_or_removes_credentials_of_others() {
    let mut cloud = Cloud::new();
    let of = member(&mut cloud);
    let id = cloud.credential(of, Proof::Own, |_| {}).unwrap();
    let mallory = cloud.user("mallory");
    let other = caller(mallory, Scope::Project(of.1), RoleLevel::Member);
    let seen = application_credential::visible(&cloud.state, &other, of.0, id);
    assert_eq!(kind(seen), Some(Kind::Forbidden));
    // Under another user's path the credential does not exist.
    assert_eq!(
        kind(application_credential::visible(&cloud.state, &other, mallory, id)),
        Some(Kind::NotFound)
    );
    let gone = cloud.run(|txn| application_credential::delete(txn, &other, Proof::Own, of.0, id));
    assert_eq!(kind(gone), Some(Kind::Forbidden));
    let gone = cloud.run(|txn| application_credential::delete(txn, &other, Proof::Own, mallory, id));
    assert_eq!(kind(gone), Some(Kind::NotFound));
    let system = caller(mallory, Scope::System, RoleLevel::Reader);
    assert!(application_credential::visible(&cloud.state, &system, of.0, id).is_ok());
    let made = cloud.run(|txn| application_credential::check_create(txn, &admin(), Proof::Own, of.0));
    assert_eq!(kind(made), Some(Kind::Forbidden), "not even an administrator makes them for others");
}

#[test]
fn a_credential_ends_with_what_it_rests_on() {
    type End = fn(&mut Cloud, (UserId, ProjectId));
    let ends: [(&str, End); 5] = [
        ("the role", |cloud, (user, project)| {
            let role = cloud.role("member");
            cloud.revoke(Actor::User(user), Target::Project(project), false, role);
        }),
        ("the user", |cloud, (user, _)| cloud.run(|txn| user::delete(txn, &admin(), user)).unwrap()),
        ("the user's being enabled", |cloud, (user, _)| {
            let disabled = User { enabled: false, ..User::clone(&cloud.state.users[&user]) };
            cloud.run(|txn| user::put(txn, &admin(), disabled)).unwrap();
        }),
        ("the project", |cloud, (_, project)| {
            cloud.run(|txn| project::delete(txn, &admin(), project)).unwrap();
        }),
        ("the record", |cloud, (user, project)| {
            let own = caller(user, Scope::Project(project), RoleLevel::Member);
            let id = cloud.state.application_credentials.values().next().unwrap().id;
            cloud.run(|txn| application_credential::delete(txn, &own, Proof::Own, user, id)).unwrap();
        }),
    ];
    for (what, end) in ends {
        let mut cloud = Cloud::new();
        let of = member(&mut cloud);
        let id = cloud.credential(of, Proof::Own, |_| {}).unwrap();
        end(&mut cloud, of);
        assert!(cloud.state.application_credentials.is_empty(), "{what}");
        assert!(cloud.names(of.0, of.1, Proof::ApplicationCredential(id)).is_empty(), "{what}");
    }
}

#[test]
fn an_access_rule_stays_while_it_is_used() {
    let mut cloud = Cloud::new();
    let of = member(&mut cloud);
    let rule = AskedRule::New {
        service: "image".to_owned(),
        method: "GET".to_owned(),
        path: "/v2/images".to_owned(),
    };
    let id = cloud.credential(of, Proof::Own, |new| new.access_rules = vec![rule]).unwrap();
    let rule = cloud.state.application_credentials[&id].access_rule_ids[0];
    let own = caller(of.0, Scope::Project(of.1), RoleLevel::Member);
    let gone = cloud.run(|txn| access_rule::delete(txn, &own, Proof::Own, of.0, rule));
    assert_eq!(kind(gone), Some(Kind::Forbidden));
    let mallory = cloud.user("mallory");
    let stolen = vec![AskedRule::Known(rule)];
    let member = cloud.role("member");
    cloud.grant(Actor::User(mallory), Target::Project(of.1), false, member);
    let asked = cloud.credential((mallory, of.1), Proof::Own, |new| new.access_rules = stolen);
    assert_eq!(kind(asked), Some(Kind::NotFound), "another user's rule");
    cloud.run(|txn| application_credential::delete(txn, &own, Proof::Own, of.0, id)).unwrap();
    cloud.run(|txn| access_rule::delete(txn, &own, Proof::Own, of.0, rule)).unwrap();
    assert!(cloud.state.access_rules.is_empty());
}

#[test]
fn roles_come_from_groups_and_end_with_the_membership() {
    let mut cloud = Cloud::new();
    let (user, project, group) = (cloud.user("ada"), cloud.project("lab", None), cloud.group("staff"));
    let role = cloud.role("member");
    cloud.grant(Actor::Group(group), Target::Project(project), false, role);
    assert!(cloud.names(user, project, Proof::Own).is_empty());
    cloud.run(|txn| group::add_user(txn, &admin(), group, user)).unwrap();
    cloud.run(|txn| group::add_user(txn, &admin(), group, user)).unwrap();
    assert_eq!(cloud.names(user, project, Proof::Own), ["member", "reader"]);
    let found: Vec<ProjectId> = cloud.state.projects_of_user(user).iter().map(|p| p.id).collect();
    assert_eq!(found, [project]);
    cloud.credential((user, project), Proof::Own, |_| {}).unwrap();
    cloud.run(|txn| group::remove_user(txn, &admin(), group, user)).unwrap();
    assert!(cloud.names(user, project, Proof::Own).is_empty());
    assert!(cloud.state.application_credentials.is_empty());
    let again = cloud.run(|txn| group::remove_user(txn, &admin(), group, user));
    assert_eq!(kind(again), Some(Kind::NotFound));
    cloud.run(|txn| group::add_user(txn, &admin(), group, user)).unwrap();
    cloud.run(|txn| group::delete(txn, &admin(), group)).unwrap();
    assert!(cloud.state.memberships.is_empty());
    assert!(cloud.state.role_assignments.values().all(|held| held.actor != Actor::Group(group)));
}

#[test]
fn inherited_roles_hold_below_their_target_and_not_on_it() {
    let mut cloud = Cloud::new();
    let (user, top) = (cloud.user("ada"), cloud.project("top", None));
    let leaf = cloud.project("leaf", Some(top));
    let role = cloud.role("reader");
    cloud.grant(Actor::User(user), Target::Project(top), true, role);
    assert!(cloud.names(user, top, Proof::Own).is_empty());
    assert_eq!(cloud.names(user, leaf, Proof::Own), ["reader"]);
    assert_eq!(cloud.state.projects_of_user(user).len(), 1);
    cloud.revoke(Actor::User(user), Target::Project(top), true, role);
    cloud.grant(Actor::User(user), Target::Domain("default".into()), true, role);
    assert_eq!(cloud.names(user, top, Proof::Own), ["reader"]);
    assert_eq!(cloud.names(user, leaf, Proof::Own), ["reader"]);
    assert!(cloud.state.roles_on(user, &Target::Domain("default".into())).is_empty());
}

#[test]
fn roles_imply_others_in_chains_and_circles_but_never_admin() {
    let mut cloud = Cloud::new();
    let (user, project) = (cloud.user("ada"), cloud.project("lab", None));
    let [one, two, three] = ["one", "two", "three"].map(|name| cloud.new_role(name, None));
    let own = cloud.new_role("admin", Some("default"));
    for (prior, implied) in [(one, two), (two, three), (three, one), (own, three)] {
        cloud.run(|txn| role::imply(txn, &admin(), prior, implied)).unwrap();
    }
    cloud.grant(Actor::User(user), Target::Project(project), false, two);
    assert_eq!(cloud.names(user, project, Proof::Own), ["one", "three", "two"]);
    cloud.revoke(Actor::User(user), Target::Project(project), false, two);
    // A domain's own role called admin is no admin, and is not in tokens.
    cloud.grant(Actor::User(user), Target::Project(project), false, own);
    assert_eq!(cloud.names(user, project, Proof::Own), ["one", "three", "two"]);
    let roles = cloud.state.roles_on(user, &Target::Project(project));
    assert_eq!(State::level_of(&roles, &Target::Project(project)), RoleLevel::None);
    // A role called operator is one on the system alone.
    let operator = cloud.state.roles[&one].clone();
    let operator = [std::sync::Arc::new(Role { name: "operator".to_owned(), ..Role::clone(&operator) })];
    assert_eq!(State::level_of(&operator, &Target::Project(project)), RoleLevel::None);
    assert_eq!(State::level_of(&operator, &Target::System), RoleLevel::Operator);
    let (top, member) = (cloud.role("admin"), cloud.role("member"));
    assert_eq!(kind(cloud.run(|txn| role::imply(txn, &admin(), one, top))), Some(Kind::Forbidden));
    assert_eq!(kind(cloud.run(|txn| role::imply(txn, &admin(), one, own))), Some(Kind::Forbidden));
    let chain = cloud.run(|txn| role::imply_no_more(txn, &admin(), member, cloud_reader(txn)));
    assert_eq!(kind(chain), Some(Kind::Forbidden), "the policy's own chain");
    cloud.run(|txn| role::imply_no_more(txn, &admin(), own, three)).unwrap();
    assert!(cloud.names(user, project, Proof::Own).is_empty());
    cloud.run(|txn| role::delete(txn, &admin(), three)).unwrap();
    assert_eq!(cloud.state.role_inferences.len(), 1);
}

fn cloud_reader(state: &State) -> RoleId {
    state.role_named(None, "reader").unwrap().id
}

#[test]
fn a_domains_manager_gets_nothing_by_way_of_groups() {
    let mut cloud = Cloud::new();
    let (mallory, group) = (cloud.user("mallory"), cloud.group("operators"));
    let project = cloud.project("ops", None);
    let manager = caller(mallory, Scope::Domain("default".into()), RoleLevel::Manager);
    cloud.run(|txn| group::add_user(txn, &manager, group, mallory)).unwrap();
    cloud.run(|txn| group::remove_user(txn, &manager, group, mallory)).unwrap();
    let top = cloud.role("admin");
    cloud.grant(Actor::Group(group), Target::Project(project), false, top);
    let added = cloud.run(|txn| group::add_user(txn, &manager, group, mallory));
    assert_eq!(kind(added), Some(Kind::Forbidden));
    // Nor by a grant to a group, by inheritance, or by a role that is not the policy's.
    let custom = cloud.new_role("custom", None);
    let reader = cloud.role("reader");
    let target = Target::Project(project);
    for (role, inherited, allowed) in
        [(top, false, false), (top, true, false), (custom, false, false), (reader, false, true)]
    {
        let place = Place { actor: Actor::Group(group), target: target.clone(), inherited };
        let given = cloud.run(|txn| grant::grant(txn, &manager, place, role));
        assert_eq!(given.is_ok(), allowed, "{role} {inherited}");
    }
    let on_domain =
        Place { actor: Actor::User(mallory), target: Target::Domain("default".into()), inherited: true };
    let domain_admin = caller(mallory, Scope::Domain("default".into()), RoleLevel::Admin);
    let given = cloud.run(|txn| grant::grant(txn, &domain_admin, on_domain, top));
    assert_eq!(kind(given), Some(Kind::Forbidden), "inherited by projects, admin reaches the whole cloud");
}

#[test]
fn the_catalog_of_an_older_store_is_made_once() {
    let mut cloud = Cloud::new();
    let own: Vec<ServiceId> = cloud.state.services.keys().copied().collect();
    assert_eq!((own.len(), cloud.state.endpoints.len()), (5, 15));
    // An operator who removes a service does not find it again after a restart.
    cloud.run(|txn| catalog::delete_service(txn, &admin(), own[0])).unwrap();
    cloud.take_over();
    assert_eq!((cloud.state.services.len(), cloud.state.endpoints.len()), (4, 12));
    // What 0.1.0 wrote has no such records.
    for id in &own[1..] {
        cloud.run(|txn| catalog::delete_service(txn, &admin(), *id)).unwrap();
    }
    cloud.take_over();
    assert!(cloud.state.services.keys().eq(own.iter()), "with the ids that clients know");
}

#[test]
fn regions_are_a_tree_and_stay_while_endpoints_are_in_them() {
    let mut cloud = Cloud::new();
    let region = |id: &str, parent: Option<&str>| Region {
        id: id.into(),
        created_at: Timestamp(1),
        updated_at: None,
        description: String::new(),
        parent_region_id: parent.map(Into::into),
        extra: Default::default(),
        unknown: Default::default(),
    };
    let put = |cloud: &mut Cloud, id, parent| {
        cloud.run(|txn| catalog::put_region(txn, &admin(), region(id, parent)))
    };
    put(&mut cloud, "north", Some("RegionOne")).unwrap();
    put(&mut cloud, "far-north", Some("north")).unwrap();
    assert_eq!(kind(put(&mut cloud, "north", Some("far-north"))), Some(Kind::Invalid));
    assert_eq!(kind(put(&mut cloud, "south", Some("nowhere"))), Some(Kind::NotFound));
    let stays = cloud.run(|txn| catalog::delete_region(txn, &admin(), &"RegionOne".into()));
    assert_eq!(kind(stays), Some(Kind::Forbidden));
    cloud.run(|txn| catalog::delete_region(txn, &admin(), &"north".into())).unwrap();
    assert_eq!(cloud.state.regions.len(), 1);
}

#[test]
fn a_trust_hands_on_what_its_trustor_has_and_ends_with_it() {
    let mut cloud = Cloud::new();
    let (ada, lab) = member(&mut cloud);
    let bob = cloud.user("bob");
    let new = |role: &str| NewTrust {
        trustor: ada,
        trustee: bob,
        project: lab,
        roles: vec![AskedRole::Name(role.to_owned())],
        impersonation: false,
        expires_at: None,
    };
    let (own, other) = (
        caller(ada, Scope::Project(lab), RoleLevel::Member),
        caller(bob, Scope::Project(lab), RoleLevel::Member),
    );
    let make = |cloud: &mut Cloud, caller: &Caller, proof, new| {
        cloud.run(|txn| trust::create(txn, caller, proof, new)).map(|made| made.id)
    };
    assert_eq!(kind(make(&mut cloud, &other, Proof::Own, new("reader"))), Some(Kind::Forbidden));
    assert_eq!(kind(make(&mut cloud, &own, Proof::Own, new("admin"))), Some(Kind::Invalid));
    let none = NewTrust { roles: Vec::new(), ..new("reader") };
    assert_eq!(kind(make(&mut cloud, &own, Proof::Own, none)), Some(Kind::Forbidden));
    let id = make(&mut cloud, &own, Proof::Own, new("reader")).unwrap();
    assert_eq!(cloud.names(bob, lab, Proof::Trust(id)), ["reader"]);
    // Neither a trust's token nor a restricted application credential hands roles on.
    assert_eq!(kind(make(&mut cloud, &own, Proof::Trust(id), new("reader"))), Some(Kind::Forbidden));
    assert_eq!(kind(cloud.credential((ada, lab), Proof::Trust(id), |_| {})), Some(Kind::Forbidden));
    let by = Proof::ApplicationCredential(cloud.credential((ada, lab), Proof::Own, |_| {}).unwrap());
    assert_eq!(kind(make(&mut cloud, &own, by, new("reader"))), Some(Kind::Forbidden));
    let mallory = cloud.user("mallory");
    let stranger = caller(mallory, Scope::Project(lab), RoleLevel::Member);
    assert_eq!(kind(trust::visible(&cloud.state, &stranger, id)), Some(Kind::NotFound));
    let gone = cloud.run(|txn| trust::delete(txn, &other, Proof::Own, id));
    assert_eq!(kind(gone), Some(Kind::Forbidden), "the trustee reads it, and does not end it");
    let role = cloud.role("member");
    cloud.revoke(Actor::User(ada), Target::Project(lab), false, role);
    assert!(cloud.names(bob, lab, Proof::Trust(id)).is_empty());
    cloud.run(|txn| user::delete(txn, &admin(), bob)).unwrap();
    assert!(cloud.state.trusts.is_empty());
}

#[test]
fn a_domains_manager_does_not_take_over_the_trustee_of_an_admin() {
    let mut cloud = Cloud::new();
    let (ada, bob, lab) = (cloud.user("ada"), cloud.user("bob"), cloud.project("lab", None));
    let manager = caller(cloud.user("manager"), Scope::Domain("default".into()), RoleLevel::Manager);
    let rename = |cloud: &mut Cloud| {
        let user = User { password_hash: Some("mine".to_owned()), ..User::clone(&cloud.state.users[&bob]) };
        cloud.run(|txn| user::put(txn, &manager, user))
    };
    rename(&mut cloud).unwrap();
    let top = cloud.role("admin");
    cloud.grant(Actor::User(ada), Target::Project(lab), false, top);
    let own = caller(ada, Scope::Project(lab), RoleLevel::Admin);
    let new = NewTrust {
        trustor: ada,
        trustee: bob,
        project: lab,
        roles: vec![AskedRole::Id(top)],
        impersonation: true,
        expires_at: None,
    };
    cloud.run(|txn| trust::create(txn, &own, Proof::Own, new)).unwrap();
    assert_eq!(kind(rename(&mut cloud)), Some(Kind::Forbidden));
}

#[test]
fn a_password_changes_only_for_who_knows_the_present_one() {
    let mut cloud = Cloud::new();
    let ada = cloud.user("ada");
    let change = |cloud: &mut Cloud, known: &str, next: &str| {
        cloud.run(|txn| user::change_password(txn, ada, known, next.to_owned(), 0))
    };
    cloud.run(|txn| user::set_password(txn, ada, "one".to_owned(), 0)).unwrap();
    change(&mut cloud, "one", "two").unwrap();
    // The first request's hash took long: an administrator's change came between.
    assert_eq!(kind(change(&mut cloud, "one", "three")), Some(Kind::Unauthorized));
    let disabled = User { enabled: false, ..User::clone(&cloud.state.users[&ada]) };
    cloud.run(|txn| user::put(txn, &admin(), disabled)).unwrap();
    assert_eq!(kind(change(&mut cloud, "two", "three")), Some(Kind::Unauthorized));
    assert_eq!(cloud.state.users[&ada].password_hash.as_deref(), Some("two"));
}
