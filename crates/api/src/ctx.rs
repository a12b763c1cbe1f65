//! The context of a request: the caller, the caller's rights, the version and the snapshot.

use crate::{
    app::App,
    fault::Fault,
    identity::{token::Payload, turns::Asker},
    path::ProjectInPath,
    query::Query,
    serve::{connections::Place, listener::Origin},
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use lenticular_model::{
    Cause, ProjectId, State, Timestamp, Txn, UserId,
    error::{Error, Result},
    identity::{Proof, Target, User},
    policy::{Caller, RoleLevel, Scope},
};
use lenticular_wire::{
    compute::query::List,
    fault::Service,
    microversion::{COMPUTE, Microversion, PLACEMENT, Range, Refusal},
};
use std::sync::Arc;

/// The request's id, drawn by the outermost layer.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

/// The id that the client gave its request. Several services may share it, so it is kept beside our id.
#[derive(Debug, Clone)]
pub struct GlobalRequestId(pub Arc<str>);

/// The path as the client asked for it.
#[derive(Debug, Clone)]
pub struct AskedPath(pub Arc<str>);

/// A request by an authenticated caller.
pub struct Ctx {
    /// The cloud.
    pub app: App,
    /// The snapshot for all reads and checks of this request.
    pub state: Arc<State>,
    /// The caller.
    pub caller: Caller,
    /// The caller's token.
    pub token: Payload,
    /// The id that the client gave the request.
    pub global_request_id: Option<Arc<str>>,
    /// The caller's address.
    pub origin: Origin,
    /// The requested microversion.
    pub version: Microversion,
    /// The URL's query.
    pub query: Query,
    /// The precondition for changes (`If-Match`).
    pub if_match: Option<String>,
}

impl FromRequestParts<App> for Ctx {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> std::result::Result<Self, Fault> {
        let state = app.store.state();
        let text = header(&parts.headers, "x-auth-token")
            .ok_or_else(|| Error::unauthorized("The request you have made requires authentication."))?;
        let (token, _) = authenticate(app, &state, text)?;
        // Nested routers shorten the path, so the outermost layer notes the path and its service.
        let service = parts.extensions.get::<Service>().copied().unwrap_or(Service::Own);
        let path = parts.extensions.get::<AskedPath>().map_or("", |path| &path.0);
        check_access_rules(&state, &token, service, parts.method.as_str(), path)?;
        if let Some(place) = parts.extensions.get::<Arc<Place>>() {
            place.is_known();
        }
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default();
        let caller = caller(&state, &token, request_id);
        if let Some(ProjectInPath(text)) = parts.extensions.get::<ProjectInPath>() {
            check_project(text, caller.project_id())?;
        }
        let global_request_id = parts.extensions.get::<GlobalRequestId>().map(|id| id.0.clone());
        let version = version(service, &parts.headers)?;
        let query = Query::parse(parts.uri.query());
        let Ok(origin) = Origin::from_request_parts(parts, app).await;
        let if_match = header(&parts.headers, "if-match").map(str::to_owned);
        Ok(Self {
            app: app.clone(),
            state,
            caller,
            token,
            global_request_id,
            origin,
            version,
            query,
            if_match,
        })
    }
}

/// Refuses a path that names another project than the token's.
fn check_project(text: &str, own: Option<ProjectId>) -> Result<()> {
    match own.is_some() && text.parse().ok() == own {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "Malformed request URL: URL's project_id '{text}' doesn't match Context's project_id '{}'",
            own.map(|id| id.to_string()).unwrap_or_default()
        ))),
    }
}

impl Ctx {
    /// Runs a command in a transaction for this request, if the request's token is still valid at that time.
    pub async fn commit<T: Send + 'static>(
        &self,
        why: &str,
        command: impl FnOnce(&mut Txn<'_>, &Caller) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (token, request_id) = (self.token.clone(), self.caller.request_id.clone());
        let actor = self.caller.user_id.to_string();
        let cause = Cause { actor, request_id: self.journal_id(), why: why.to_owned() };
        let judged = move |txn: &mut Txn<'_>| {
            // A body may arrive long after its head: user, role and project may be gone by then.
            check(txn, &token, txn.now)?;
            let caller = caller(txn, &token, request_id);
            command(txn, &caller)
        };
        self.app.store.transact(cause, judged).await
    }

    /// The request's name in the journal: our id, with the client's id behind it.
    pub fn journal_id(&self) -> String {
        let own = &self.caller.request_id;
        self.global_request_id.as_ref().map_or_else(|| own.clone(), |given| format!("{own} {given}"))
    }

    /// The asker that this request's password hashing of `user` counts for.
    pub fn asker(&self, user: Option<UserId>) -> Asker {
        Asker { from: self.origin.0, user }
    }

    /// This request with only those parameters that a list of Nova's uses.
    ///
    /// # Errors
    /// The request's version refuses a parameter.
    pub fn asking(mut self, list: &List) -> Result<Self> {
        self.query = Query(list.read(&self.query.0, self.version, self.caller.is_admin())?);
        Ok(self)
    }

    /// What the request's token was issued for.
    pub fn proof(&self) -> Proof {
        self.token.proof
    }

    /// The cloud's public URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.app.config.public_url
    }
}

/// A header as text.
pub fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The range of versions of a service that has microversions.
pub fn range_of(service: Service) -> Option<&'static Range> {
    match service {
        Service::Compute => Some(&COMPUTE),
        Service::Placement => Some(&PLACEMENT),
        _ => None,
    }
}

/// The microversion of a request to a service.
pub fn version(service: Service, headers: &HeaderMap) -> Result<Microversion> {
    let Some(range) = range_of(service) else { return Ok(Microversion(0)) };
    let modern = headers.get_all("openstack-api-version").iter().filter_map(|v| v.to_str().ok());
    let modern = modern.filter_map(|text| range.of_header(text)).next_back();
    let text = modern.or_else(|| header(headers, range.legacy_header?));
    range.negotiate(text).map_err(|refusal| match refusal {
        Refusal::Malformed(why) => Error::invalid(why),
        Refusal::Outside(why) => Error::not_acceptable(why),
    })
}

/// Opens a token and checks that it is valid.
///
/// # Errors
/// The token is expired or revoked, or its user or scope is deleted or disabled.
pub fn authenticate(app: &App, state: &State, text: &str) -> Result<(Payload, Arc<User>)> {
    let refused = || Error::unauthorized("The request you have made requires authentication.");
    let token = app.tokens.open(text).ok_or_else(refused)?;
    let user = check(state, &token, app.now())?;
    Ok((token, user))
}

/// Checks that an opened token is still valid. Returns its user.
///
/// # Errors
/// The token is over, or its rights are.
pub fn check(state: &State, token: &Payload, now: Timestamp) -> Result<Arc<User>> {
    match token.expires_at <= now {
        true => Err(Error::unauthorized("The request you have made requires authentication.")),
        false => check_rights(state, token, now),
    }
}

/// Checks that what a token rests on is still there, whether or not the token itself is over. Returns its user.
///
/// # Errors
/// The token was revoked, or its user, scope, role, application credential or trust is gone.
pub fn check_rights(state: &State, token: &Payload, now: Timestamp) -> Result<Arc<User>> {
    let refused = || Error::unauthorized("The request you have made requires authentication.");
    let audit = crate::identity::token::audit_text(&token.audit_id);
    if state.revocations.contains_key(&lenticular_model::RevocationId::from(audit.as_str())) {
        return Err(refused());
    }
    let user = state.users.get(&token.user_id).filter(|_| is_in(state, token, token.user_id));
    let user = user.cloned().ok_or_else(refused)?;
    let domain_enabled = |id: &lenticular_model::DomainId| {
        state.domains.get(id).is_some_and(|d| d.enabled && token.issued_at >= d.tokens_void_before)
    };
    let scope_holds = match &token.scope {
        Scope::Unscoped | Scope::System => true,
        Scope::Domain(id) => domain_enabled(id),
        Scope::Project(id) => {
            let holds = |p: &lenticular_model::identity::Project| {
                p.enabled && token.issued_at >= p.tokens_void_before && domain_enabled(&p.domain_id)
            };
            state.projects.get(id).is_some_and(|p| holds(p))
        }
    };
    let held = token.scope == Scope::Unscoped
        || !state.roles_by(user.id, &target(&token.scope), token.proof).is_empty();
    (scope_holds && held && proof_holds(state, token, now)).then_some(user).ok_or_else(refused)
}

/// Whether the application credential or the trust that a token is of still holds, for the same user and project.
fn proof_holds(state: &State, token: &Payload, now: Timestamp) -> bool {
    let (user, project, end) = match token.proof {
        Proof::Own => return true,
        Proof::ApplicationCredential(id) => match state.application_credentials.get(&id) {
            Some(by) => (by.user_id, by.project_id, by.expires_at),
            None => return false,
        },
        Proof::Trust(id) => match state.trusts.get(&id) {
            Some(by)
                if [by.trustor_user_id, by.trustee_user_id].iter().all(|id| is_in(state, token, *id)) =>
            {
                (by.user(), by.project_id, by.expires_at)
            }
            _ => return false,
        },
    };
    user == token.user_id && token.scope == Scope::Project(project) && end.is_none_or(|end| end > now)
}

/// Whether a user may be the user of a token: it was not shut out since the token was issued.
fn is_in(state: &State, token: &Payload, user: UserId) -> bool {
    state.users.get(&user).is_some_and(|user| {
        let domain = state.domains.get(&user.domain_id);
        user.enabled
            && token.issued_at >= user.password_changed_at
            && domain.is_some_and(|d| d.enabled && token.issued_at >= d.tokens_void_before)
    })
}

/// Refuses a request that the access rules of the token's application credential do not allow.
///
/// # Errors
/// No rule allows it, or the service is not one of OpenStack's.
fn check_access_rules(
    state: &State,
    token: &Payload,
    service: Service,
    method: &str,
    path: &str,
) -> Result<()> {
    let Proof::ApplicationCredential(id) = token.proof else { return Ok(()) };
    let Some(credential) = state.application_credentials.get(&id) else { return Ok(()) };
    if credential.access_rule_ids.is_empty() {
        return Ok(());
    }
    // The rules' paths begin below the root of the service.
    let below = path.get(1..).and_then(|path| path.find('/').map(|at| &path[at..])).unwrap_or("");
    // A token may always be looked at and given back.
    let of_token = service == Service::Identity && below == "/v3/auth/tokens";
    let is_own_look = of_token && ["GET", "HEAD", "DELETE"].contains(&method);
    let rules = state.access_rules_of(credential);
    let allows = |kind: &str| rules.iter().any(|rule| rule.allows(kind, method, below));
    match is_own_look || service.kind().is_some_and(allows) {
        true => Ok(()),
        false => Err(Error::unauthorized("The request you have made requires authentication.")),
    }
}

/// The target that a scope's roles are assigned on. An unscoped token has no roles; the system stands in for it.
pub fn target(scope: &Scope) -> Target {
    match scope {
        Scope::Project(id) => Target::Project(*id),
        Scope::Domain(id) => Target::Domain(id.clone()),
        Scope::System | Scope::Unscoped => Target::System,
    }
}

/// The bearer of a token that is valid.
pub fn caller(state: &State, token: &Payload, request_id: String) -> Caller {
    let level = match &token.scope {
        Scope::Unscoped => RoleLevel::None,
        scope => {
            let target = target(scope);
            State::level_of(&state.roles_by(token.user_id, &target, token.proof), &target)
        }
    };
    Caller { user_id: token.user_id, scope: token.scope.clone(), level, request_id }
}
