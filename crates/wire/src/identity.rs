//! Keystone's bodies.

use lenticular_model::{
    RoleId, State, Timestamp,
    identity::{Domain, Project, Role, Target, User},
    policy::Scope,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The region's name: a cloud has one.
pub const REGION: &str = "RegionOne";

/// The version document's entry.
pub fn version(url: &str) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{url}/identity/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}

/// The services: type, name, path.
pub const SERVICES: &[(&str, &str, &str)] = &[
    ("identity", "keystone", "/identity/v3"),
    ("compute", "nova", "/compute/v2.1"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
    ("placement", "placement", "/placement"),
];

/// A stable id for a derived object, made from the service's type and a word.
pub fn derived_id(of: &str, word: &str) -> String {
    let mix = |salt: u64| {
        of.bytes().chain(word.bytes()).fold(0xcbf2_9ce4_8422_2325_u64 ^ salt, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    format!("{:016x}{:016x}", mix(1), mix(0x5bd1_e995))
}

/// The catalog.
pub fn catalog(url: &str) -> Value {
    SERVICES
        .iter()
        .map(|(kind, name, path)| {
            let endpoints: Vec<Value> = ["public", "internal", "admin"]
                .iter()
                .map(|interface| {
                    json!({
                        "id": derived_id(kind, interface),
                        "interface": interface,
                        "region": REGION,
                        "region_id": REGION,
                        "url": format!("{url}{path}"),
                    })
                })
                .collect();
            json!({"id": derived_id(kind, ""), "type": kind, "name": name, "endpoints": endpoints})
        })
        .collect()
}

/// A token's content, for its view.
pub struct Token<'a> {
    /// The snapshot.
    pub state: &'a State,
    /// The cloud's public URL.
    pub url: &'a str,
    /// The token's user.
    pub user: &'a User,
    /// The authentication methods.
    pub methods: &'a [&'static str],
    /// The token's scope.
    pub scope: &'a Scope,
    /// The roles in this scope.
    pub roles: &'a [Arc<Role>],
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Its audit id.
    pub audit_id: &'a str,
    /// Whether to show the catalog.
    pub with_catalog: bool,
}

fn domain_ref(state: &State, id: &lenticular_model::DomainId) -> Value {
    json!({"id": id, "name": state.domains.get(id).map_or("", |d| &d.name)})
}

/// The body of a token.
pub fn token(token: &Token<'_>) -> Value {
    let mut body = json!({
        "methods": token.methods,
        "user": {
            "id": token.user.id,
            "name": token.user.name,
            "domain": domain_ref(token.state, &token.user.domain_id),
            "password_expires_at": null,
        },
        "audit_ids": [token.audit_id],
        "issued_at": token.issued_at.iso_us(),
        "expires_at": token.expires_at.iso_us(),
    });
    match token.scope {
        Scope::Unscoped => return json!({ "token": body }),
        Scope::Project(id) => {
            let project = token.state.projects.get(id);
            body["project"] = json!({
                "id": id,
                "name": project.map_or("", |p| &p.name),
                "domain": project.map(|p| domain_ref(token.state, &p.domain_id)),
            });
            body["is_domain"] = json!(false);
        }
        Scope::Domain(id) => body["domain"] = domain_ref(token.state, id),
        Scope::System => body["system"] = json!({"all": true}),
    }
    body["roles"] = token.roles.iter().map(|r| json!({"id": r.id, "name": r.name})).collect();
    if token.with_catalog {
        body["catalog"] = catalog(token.url);
    }
    json!({ "token": body })
}

/// The body of a log-in.
#[derive(Debug, Deserialize)]
pub struct Login {
    /// Under `auth`.
    pub auth: Auth,
}

/// Identity and scope.
#[derive(Debug, Deserialize)]
pub struct Auth {
    /// The identity.
    pub identity: Identity,
    /// The scope; by default the user's default project, or unscoped.
    #[serde(default)]
    pub scope: Option<Value>,
}

/// The proofs of identity.
#[derive(Debug, Deserialize)]
pub struct Identity {
    /// The methods to check.
    pub methods: Vec<String>,
    /// A password.
    #[serde(default)]
    pub password: Option<PasswordMethod>,
    /// An earlier token.
    #[serde(default)]
    pub token: Option<TokenMethod>,
}

/// A password and its user.
#[derive(Debug, Deserialize)]
pub struct PasswordMethod {
    /// The password's user.
    pub user: PasswordUser,
}

/// A user by id, or by name and domain.
#[derive(Debug, Deserialize)]
pub struct PasswordUser {
    /// The id.
    #[serde(default)]
    pub id: Option<String>,
    /// The name.
    #[serde(default)]
    pub name: Option<String>,
    /// The name's domain.
    #[serde(default)]
    pub domain: Option<Named>,
    /// The password.
    pub password: String,
}

/// An object by id or by name.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Named {
    /// The id.
    #[serde(default)]
    pub id: Option<String>,
    /// The name.
    #[serde(default)]
    pub name: Option<String>,
    /// The name's domain.
    #[serde(default)]
    pub domain: Option<Box<Named>>,
}

/// An earlier token.
#[derive(Debug, Deserialize)]
pub struct TokenMethod {
    /// Its text.
    pub id: String,
}

fn self_link(url: &str, collection: &str, id: &dyn std::fmt::Display) -> Value {
    json!({"self": format!("{url}/identity/v3/{collection}/{id}")})
}

/// A domain.
pub fn domain(url: &str, domain: &Domain) -> Value {
    json!({
        "id": domain.id,
        "name": domain.name,
        "description": domain.description,
        "enabled": domain.enabled,
        "tags": [],
        "options": {},
        "links": self_link(url, "domains", &domain.id),
    })
}

fn with_extra(mut view: Value, extra: &std::collections::BTreeMap<String, Value>) -> Value {
    if let Value::Object(fields) = &mut view {
        for (key, value) in extra {
            fields.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    view
}

/// A project.
pub fn project(url: &str, project: &Project) -> Value {
    let parent = project.parent_id.map_or(project.domain_id.to_string(), |p| p.to_string());
    let view = json!({
        "id": project.id,
        "name": project.name,
        "domain_id": project.domain_id,
        "description": project.description,
        "enabled": project.enabled,
        "parent_id": parent,
        "is_domain": false,
        "tags": project.tags,
        "options": {},
        "links": self_link(url, "projects", &project.id),
    });
    with_extra(view, &project.extra)
}

/// A user.
pub fn user(url: &str, user: &User) -> Value {
    let mut view = json!({
        "id": user.id,
        "name": user.name,
        "domain_id": user.domain_id,
        "enabled": user.enabled,
        "password_expires_at": null,
        "options": {},
        "links": self_link(url, "users", &user.id),
    });
    if let Some(project) = user.default_project_id {
        view["default_project_id"] = json!(project);
    }
    with_extra(view, &user.extra)
}

/// A role.
pub fn role(url: &str, role: &Role) -> Value {
    json!({
        "id": role.id,
        "name": role.name,
        "domain_id": role.domain_id,
        "description": role.description,
        "options": {},
        "links": self_link(url, "roles", &role.id),
    })
}

/// A line in the listing of role assignments: an assigned role, or a role that the assigned role `prior` implies.
pub fn assignment(
    state: &State,
    url: &str,
    given: &lenticular_model::identity::RoleAssignment,
    (role_id, prior): (RoleId, Option<RoleId>),
    names: bool,
) -> Value {
    let user_id = given.user_id;
    let mut role = json!({ "id": role_id });
    let mut user = json!({ "id": user_id });
    if names {
        let of = state.roles.get(&role_id);
        role["name"] = json!(of.map(|r| &r.name));
        role["domain_id"] = json!(of.and_then(|r| r.domain_id.as_ref()));
        if let Some(u) = state.users.get(&user_id) {
            user["name"] = json!(u.name);
            user["domain"] = domain_ref(state, &u.domain_id);
        }
    }
    let (scope, place) = match &given.target {
        Target::Project(id) => {
            let mut project = json!({ "id": id });
            if let Some(p) = state.projects.get(id).filter(|_| names) {
                project["name"] = json!(p.name);
                project["domain"] = domain_ref(state, &p.domain_id);
            }
            (json!({ "project": project }), format!("projects/{id}"))
        }
        Target::Domain(id) => {
            let domain = if names { domain_ref(state, id) } else { json!({ "id": id }) };
            (json!({ "domain": domain }), format!("domains/{id}"))
        }
        Target::System => (json!({"system": {"all": true}}), "system".to_owned()),
    };
    let granted = prior.unwrap_or(role_id);
    let link = format!("{url}/identity/v3/{place}/users/{user_id}/roles/{granted}");
    let mut links = json!({ "assignment": link });
    if let Some(prior) = prior {
        links["prior_role"] = json!(format!("{url}/identity/v3/roles/{prior}"));
    }
    json!({"role": role, "user": user, "scope": scope, "links": links})
}

/// A listing.
pub fn listing(url: &str, collection: &str, items: Vec<Value>) -> Value {
    let link = format!("{url}/identity/v3/{collection}");
    json!({collection.rsplit('/').next().unwrap_or(collection): items,
           "links": {"next": null, "previous": null, "self": link}})
}

/// Takes the extra attributes out of a request's object: everything that is not one of `known`.
pub fn extra_of(fields: &Map<String, Value>, known: &[&str]) -> std::collections::BTreeMap<String, Value> {
    fields.iter().filter(|(k, _)| !known.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}
