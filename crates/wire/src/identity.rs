//! Keystone's bodies.

use lenticular_model::{
    ProjectId, RoleId, State, Timestamp, UserId,
    identity::{
        AccessRule, Actor, ApplicationCredential, Domain, Endpoint, Group, Project, Proof, Region, Role,
        RoleAssignment, Service, Target, Trust, User, catalog::PUBLIC_URL,
    },
    policy::Scope,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

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

/// The caller that a catalog is for: what differs in its URLs.
#[derive(Debug, Clone, Copy)]
pub struct CatalogOf {
    /// The user.
    pub user: UserId,
    /// The project of the token.
    pub project: Option<ProjectId>,
}

/// The URL of an endpoint; `None` if it needs a project and there is none.
fn endpoint_url(template: &str, url: &str, of: CatalogOf) -> Option<String> {
    let mut found = template.replace(PUBLIC_URL, url).replace("$(user_id)s", &of.user.to_string());
    for word in ["$(project_id)s", "$(tenant_id)s"] {
        if found.contains(word) {
            found = found.replace(word, &of.project?.to_string());
        }
    }
    Some(found)
}

/// The catalog.
pub fn catalog(state: &State, url: &str, of: CatalogOf) -> Vec<Value> {
    let services = state.services.values().filter(|service| service.enabled);
    let view = |service: &Arc<Service>| {
        let endpoints = state.endpoints_of_service(service.id).filter(|endpoint| endpoint.enabled);
        let endpoints = endpoints.filter_map(|endpoint| {
            Some(json!({
                "id": endpoint.id,
                "interface": endpoint.interface.word(),
                "region": endpoint.region_id,
                "region_id": endpoint.region_id,
                "url": endpoint_url(&endpoint.url, url, of)?,
            }))
        });
        let name = service.name.as_deref().unwrap_or_default();
        json!({"id": service.id, "type": service.kind, "name": name, "endpoints": endpoints.collect::<Vec<_>>()})
    };
    services.map(view).collect()
}

/// A service.
pub fn service(url: &str, service: &Service) -> Value {
    let mut view = json!({
        "id": service.id,
        "type": service.kind,
        "enabled": service.enabled,
        "links": self_link(url, "services", &service.id),
    });
    for (field, text) in [("name", &service.name), ("description", &service.description)] {
        if let Some(text) = text {
            view[field] = json!(text);
        }
    }
    with_extra(view, &service.extra)
}

/// An endpoint.
pub fn endpoint(url: &str, endpoint: &Endpoint) -> Value {
    let view = json!({
        "id": endpoint.id,
        "interface": endpoint.interface.word(),
        "region": endpoint.region_id,
        "region_id": endpoint.region_id,
        "service_id": endpoint.service_id,
        "url": endpoint.url.replace(PUBLIC_URL, url),
        "enabled": endpoint.enabled,
        "links": self_link(url, "endpoints", &endpoint.id),
    });
    with_extra(view, &endpoint.extra)
}

/// A region.
pub fn region(url: &str, region: &Region) -> Value {
    let view = json!({
        "id": region.id,
        "description": region.description,
        "parent_region_id": region.parent_region_id,
        "links": self_link(url, "regions", &region.id),
    });
    with_extra(view, &region.extra)
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
    /// What it was issued for.
    pub proof: Proof,
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
    if let Proof::ApplicationCredential(id) = token.proof
        && let Some(credential) = token.state.application_credentials.get(&id)
    {
        let rules = token.state.access_rules_of(credential);
        body["application_credential"] =
            json!({"id": id, "name": credential.name, "restricted": !credential.unrestricted});
        if !rules.is_empty() {
            body["application_credential"]["access_rules"] =
                rules.iter().map(|r| access_rule_fields(r)).collect();
        }
    }
    if let Proof::Trust(id) = token.proof
        && let Some(trust) = token.state.trusts.get(&id)
    {
        body["OS-TRUST:trust"] = json!({
            "id": id,
            "impersonation": trust.impersonation,
            "trustor_user": {"id": trust.trustor_user_id},
            "trustee_user": {"id": trust.trustee_user_id},
        });
    }
    if token.with_catalog {
        let project = match token.scope {
            Scope::Project(id) => Some(*id),
            _ => None,
        };
        let of = CatalogOf { user: token.user.id, project };
        body["catalog"] = json!(catalog(token.state, token.url, of));
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
    /// An application credential.
    #[serde(default)]
    pub application_credential: Option<ApplicationCredentialMethod>,
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

/// An application credential by id, or by name and user, with its secret.
#[derive(Debug, Deserialize)]
pub struct ApplicationCredentialMethod {
    /// The id.
    #[serde(default)]
    pub id: Option<String>,
    /// The name.
    #[serde(default)]
    pub name: Option<String>,
    /// The name's user.
    #[serde(default)]
    pub user: Option<Named>,
    /// The secret.
    pub secret: String,
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

/// A group.
pub fn group(url: &str, group: &Group) -> Value {
    json!({
        "id": group.id,
        "name": group.name,
        "domain_id": group.domain_id,
        "description": group.description,
        "links": self_link(url, "groups", &group.id),
    })
}

/// An application credential, without its secret.
pub fn application_credential(state: &State, url: &str, credential: &ApplicationCredential) -> Value {
    let roles = credential.role_ids.iter().filter_map(|id| state.roles.get(id));
    let roles: Vec<Value> =
        roles.map(|r| json!({"id": r.id, "name": r.name, "domain_id": r.domain_id})).collect();
    let collection = format!("users/{}/application_credentials", credential.user_id);
    let mut view = json!({
        "id": credential.id,
        "name": credential.name,
        "description": credential.description,
        "project_id": credential.project_id,
        "expires_at": credential.expires_at.map(Timestamp::iso_naive_us),
        "unrestricted": credential.unrestricted,
        "roles": roles,
        "links": self_link(url, &collection, &credential.id),
    });
    let rules = state.access_rules_of(credential);
    if !rules.is_empty() {
        view["access_rules"] = rules.iter().map(|rule| access_rule_fields(rule)).collect();
    }
    view
}

/// A trust; in a list without its roles.
pub fn trust(state: &State, url: &str, trust: &Trust, with_roles: bool) -> Value {
    let mut view = json!({
        "id": trust.id,
        "trustor_user_id": trust.trustor_user_id,
        "trustee_user_id": trust.trustee_user_id,
        "project_id": trust.project_id,
        "impersonation": trust.impersonation,
        "expires_at": trust.expires_at.map(Timestamp::iso_us),
        "deleted_at": null,
        "remaining_uses": null,
        "redelegation_count": 0,
        "links": self_link(url, "OS-TRUST/trusts", &trust.id),
    });
    if with_roles {
        let roles = trust.role_ids.iter().filter_map(|id| state.roles.get(id));
        view["roles"] = roles.map(|r| role(url, r)).collect();
        let link = format!("{url}/identity/v3/OS-TRUST/trusts/{}/roles", trust.id);
        view["roles_links"] = json!({"self": link, "next": null, "previous": null});
    }
    view
}

fn access_rule_fields(rule: &AccessRule) -> Value {
    json!({"id": rule.id, "service": rule.service, "method": rule.method, "path": rule.path})
}

/// An access rule.
pub fn access_rule(url: &str, rule: &AccessRule) -> Value {
    let mut view = access_rule_fields(rule);
    view["links"] = self_link(url, &format!("users/{}/access_rules", rule.user_id), &rule.id);
    view
}

/// A role in a rule that a role implies others.
fn role_of_rule(url: &str, role: &Role) -> Value {
    json!({"id": role.id, "name": role.name, "description": role.description,
           "links": self_link(url, "roles", &role.id)})
}

/// The rule that a role implies another.
pub fn role_inference(url: &str, prior: &Role, implied: &Role) -> Value {
    let link = format!("{url}/identity/v3/roles/{}/implies/{}", prior.id, implied.id);
    json!({
        "role_inference": {"prior_role": role_of_rule(url, prior), "implies": role_of_rule(url, implied)},
        "links": {"self": link},
    })
}

/// A role and the roles that it implies directly.
pub fn role_inferences(url: &str, prior: &Role, implied: &[Arc<Role>]) -> Value {
    let implies: Vec<Value> = implied.iter().map(|role| role_of_rule(url, role)).collect();
    json!({"prior_role": role_of_rule(url, prior), "implies": implies})
}

/// A line in the listing of role assignments.
pub struct AssignmentLine<'a> {
    /// The assignment that the line comes of.
    pub given: &'a RoleAssignment,
    /// The role: the assigned role, or one that it implies.
    pub role_id: RoleId,
    /// The holder: the assignment's, or a user of its group.
    pub actor: Actor,
    /// The target: the assignment's, or a project that inherits.
    pub target: Target,
    /// True if the assignment is shown itself, and the projects below its target inherit it.
    pub inherited: bool,
}

/// A line in the listing of role assignments.
pub fn assignment(state: &State, url: &str, line: &AssignmentLine<'_>, names: bool) -> Value {
    let AssignmentLine { given, role_id, actor, .. } = line;
    let mut role = json!({ "id": role_id });
    if names {
        let of = state.roles.get(role_id);
        role["name"] = json!(of.map(|r| &r.name));
        role["domain_id"] = json!(of.and_then(|r| r.domain_id.as_ref()));
    }
    let mut scope = scope_of(state, &line.target, names);
    if line.inherited {
        scope["OS-INHERIT:inherited_to"] = json!("projects");
    }
    let v3 = format!("{url}/identity/v3");
    let mut links = json!({ "assignment": assignment_link(&v3, given) });
    if *role_id != given.role_id {
        links["prior_role"] = json!(format!("{v3}/roles/{}", given.role_id));
    }
    if let (Actor::Group(group), Actor::User(user)) = (given.actor, actor) {
        links["membership"] = json!(format!("{v3}/groups/{group}/users/{user}"));
    }
    let mut view = json!({"role": role, "scope": scope, "links": links});
    let (noun, holder) = match actor {
        Actor::User(id) => {
            let of = state.users.get(id).map(|user| (&user.name, &user.domain_id));
            ("user", actor_of(state, &json!(id), of.filter(|_| names)))
        }
        Actor::Group(id) => {
            let of = state.groups.get(id).map(|group| (&group.name, &group.domain_id));
            ("group", actor_of(state, &json!(id), of.filter(|_| names)))
        }
    };
    view[noun] = holder;
    view
}

fn actor_of(state: &State, id: &Value, named: Option<(&String, &lenticular_model::DomainId)>) -> Value {
    let mut view = json!({ "id": id });
    if let Some((name, domain)) = named {
        view["name"] = json!(name);
        view["domain"] = domain_ref(state, domain);
    }
    view
}

fn scope_of(state: &State, target: &Target, names: bool) -> Value {
    match target {
        Target::Project(id) => {
            let mut project = json!({ "id": id });
            if let Some(p) = state.projects.get(id).filter(|_| names) {
                project["name"] = json!(p.name);
                project["domain"] = domain_ref(state, &p.domain_id);
            }
            json!({ "project": project })
        }
        Target::Domain(id) => {
            let domain = if names { domain_ref(state, id) } else { json!({ "id": id }) };
            json!({ "domain": domain })
        }
        Target::System => json!({"system": {"all": true}}),
    }
}

/// The URL of an assignment.
fn assignment_link(v3: &str, given: &RoleAssignment) -> String {
    let place = match &given.target {
        Target::Project(id) => format!("projects/{id}"),
        Target::Domain(id) => format!("domains/{id}"),
        Target::System => "system".to_owned(),
    };
    let holder = match given.actor {
        Actor::User(id) => format!("users/{id}"),
        Actor::Group(id) => format!("groups/{id}"),
    };
    match given.inherited {
        false => format!("{v3}/{place}/{holder}/roles/{}", given.role_id),
        true => format!("{v3}/OS-INHERIT/{place}/{holder}/roles/{}/inherited_to_projects", given.role_id),
    }
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
