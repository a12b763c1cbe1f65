//! Log-ins: which user a request proves to be, by a password, an earlier token or an application credential.

use super::{domain_of, lockout::Account, refused};
use crate::{
    app::App,
    ctx,
    identity::{token::Payload, turns::Asker},
    serve::listener::Origin,
};
use lenticular_model::{
    State as Cloud, Txn, UserId,
    error::{Error, Kind, Result},
    identity::{ApplicationCredential, Proof, User},
};
use lenticular_wire::identity::{self as wire, Named};
use std::{net::IpAddr, sync::Arc};

/// The methods of a log-in.
const METHODS: &[&str] = &["password", "token", "application_credential"];

/// What a request has proven.
pub struct Proven {
    /// The user.
    pub user: Arc<User>,
    /// The earlier token, if it was a proof.
    pub earlier: Option<Payload>,
    /// The application credential, if it was the proof.
    pub credential: Option<Arc<ApplicationCredential>>,
}

/// The user that a request proves to be: by a password, by an earlier token, or by both if the request names
/// both; or by an application credential alone.
pub async fn prove(app: &App, state: &Cloud, origin: Origin, identity: &wire::Identity) -> Result<Proven> {
    let named = |method: &str| identity.methods.iter().any(|m| m == method);
    if let Some(other) = identity.methods.iter().find(|m| !METHODS.contains(&m.as_str())) {
        let why = format!(
            "Attempted to authenticate with an unsupported method: {other}. Use password, token or application_credential."
        );
        return Err(Error::unauthorized(why));
    }
    if named("application_credential") {
        if identity.methods.len() > 1 {
            return Err(Error::unauthorized(
                "The method application_credential cannot be combined with another.",
            ));
        }
        let proof = identity.application_credential.as_ref();
        let proof = proof.ok_or_else(|| super::required("application_credential"))?;
        let (user, credential) = by_application_credential(app, state, origin, proof).await?;
        return Ok(Proven { user, earlier: None, credential: Some(credential) });
    }
    let by_token = match named("token") {
        true => {
            let proof = identity.token.as_ref().ok_or_else(|| super::required("token"))?;
            let found = ctx::authenticate(app, state, &proof.id);
            let found = found.map_err(|_| Error::not_found_text("Could not find token."))?;
            if found.0.proof != Proof::Own {
                return Err(Error::forbidden(
                    "You are not authorized to perform the requested action: Using the token of an application credential or a trust to \
                     create another token. Log in again instead.",
                ));
            }
            Some(found)
        }
        false => None,
    };
    let by_password = match named("password") {
        true => {
            let proof = identity.password.as_ref().ok_or_else(|| super::required("password"))?;
            Some(by_password(app, state, origin, &proof.user).await?)
        }
        false => None,
    };
    let own = |user, earlier| Ok(Proven { user, earlier, credential: None });
    match (by_password, by_token) {
        (Some(user), None) => own(user, None),
        (None, Some((payload, user))) => own(user, Some(payload)),
        (Some(user), Some((payload, same))) if user.id == same.id => own(user, Some(payload)),
        (Some(_), Some(_)) => Err(refused()),
        (None, None) => Err(Error::invalid(
            "Invalid input for field 'methods': it must name password, token or application_credential.",
        )),
    }
}

/// Refuses unless what a log-in has proven still holds: hashing takes long, and the user may have changed meanwhile.
pub fn check_still_holds(txn: &Txn<'_>, proven: &Proven) -> Result<()> {
    let user = txn.users.get(&proven.user.id).filter(|user| is_enabled(txn, user));
    let same_user = user.is_some_and(|user| user.password_hash == proven.user.password_hash);
    let same_credential = proven.credential.as_ref().is_none_or(|by| {
        txn.application_credentials.get(&by.id).is_some_and(|now| now.secret_hash == by.secret_hash)
    });
    if !(same_user && same_credential) {
        return Err(refused());
    }
    proven.earlier.as_ref().map_or(Ok(()), |token| ctx::check(txn, token, txn.now).map(drop))
}

/// A user by id, or by name and domain; `None` if there is no such user.
///
/// # Errors
/// The request names no user, or a name without its domain.
fn named_user(
    state: &Cloud,
    id: Option<&str>,
    name: Option<&str>,
    domain: Option<&Named>,
) -> Result<Option<Arc<User>>> {
    match (id, name) {
        (Some(id), _) => Ok(id.parse::<UserId>().ok().and_then(|id| state.users.get(&id)).cloned()),
        (None, Some(name)) => {
            let domain = domain_of(state, domain).ok_or_else(|| {
                Error::invalid("Expecting to find domain in user. The server could not comply.")
            })?;
            Ok(state.user_named(&domain, name).cloned())
        }
        (None, None) => Err(super::required("id or name of the user")),
    }
}

fn is_enabled(state: &Cloud, user: &User) -> bool {
    user.enabled && state.domains.get(&user.domain_id).is_some_and(|d| d.enabled)
}

async fn by_password(
    app: &App,
    state: &Cloud,
    Origin(from): Origin,
    proof: &wire::PasswordUser,
) -> Result<Arc<User>> {
    let found = named_user(state, proof.id.as_deref(), proof.name.as_deref(), proof.domain.as_ref())?;
    let asker = Asker { from, user: found.as_ref().map(|user| user.id) };
    let named = proof.name.as_ref().or(proof.id.as_ref()).map_or("", String::as_str);
    let secret = Secret {
        given: &proof.password,
        hash: found.as_ref().and_then(|user| user.password_hash.clone()),
        account: asker.user.map(Account::User),
    };
    let user = found.filter(|user| is_enabled(state, user));
    admitted(app, asker, secret, named, user).await
}

async fn by_application_credential(
    app: &App,
    state: &Cloud,
    Origin(from): Origin,
    proof: &wire::ApplicationCredentialMethod,
) -> Result<(Arc<User>, Arc<ApplicationCredential>)> {
    let found = match (&proof.id, &proof.name) {
        (Some(id), _) => id.parse().ok().and_then(|id| state.application_credentials.get(&id)).cloned(),
        (None, Some(name)) => {
            let user = proof.user.as_ref().ok_or_else(|| super::required("user"))?;
            let user = named_user(state, user.id.as_deref(), user.name.as_deref(), user.domain.as_deref())?;
            user.and_then(|user| state.application_credential_named(user.id, name)).cloned()
        }
        (None, None) => return Err(super::required("id or name of the application credential")),
    };
    let asker = Asker { from, user: found.as_ref().map(|credential| credential.user_id) };
    let named = proof.id.as_ref().or(proof.name.as_ref()).map_or("", String::as_str);
    let secret = Secret {
        given: &proof.secret,
        hash: found.as_ref().map(|credential| credential.secret_hash.clone()),
        account: found.as_ref().map(|credential| Account::ApplicationCredential(credential.id)),
    };
    let bearer = found.and_then(|credential| {
        let user = state.users.get(&credential.user_id).filter(|user| is_enabled(state, user))?;
        let valid = credential.expires_at.is_none_or(|end| end > app.now());
        valid.then(|| (user.clone(), credential))
    });
    admitted(app, asker, secret, named, bearer).await
}

/// A secret to check.
pub struct Secret<'s> {
    /// The secret in the request.
    pub given: &'s str,
    /// The hash of the right one; `None` if the account does not exist, or has no secret.
    pub hash: Option<String>,
    /// What a wrong secret is counted against.
    pub account: Option<Account>,
}

/// The bearer, if the secret is right and the bearer may log in. A log-in that is refused is counted and logged; the
/// client gets the same answer for every reason, after the same time.
async fn admitted<T>(
    app: &App,
    asker: Asker,
    secret: Secret<'_>,
    named: &str,
    bearer: Option<T>,
) -> Result<T> {
    let account = secret.account;
    match judge(app, asker, secret).await {
        Ok(true) => match bearer {
            Some(bearer) => {
                if let Some(account) = account {
                    app.lockout.clear(account);
                }
                app.metrics.login("right");
                Ok(bearer)
            }
            None => Err(note_refused(app, "disabled", asker.from, named)),
        },
        Ok(false) => Err(note_refused(app, "wrong", asker.from, named)),
        Err(error) if error.kind == Kind::TooMany => {
            app.metrics.login("too many");
            Err(error)
        }
        Err(error) if error.kind == Kind::Unauthorized => Err(note_refused(app, "locked", asker.from, named)),
        Err(error) => Err(error),
    }
}

/// Checks a secret. A wrong secret is counted against its account.
///
/// # Errors
/// The account is locked, or too many requests wait.
pub async fn judge(app: &App, asker: Asker, secret: Secret<'_>) -> Result<bool> {
    let rule = &app.config.settings.security_compliance;
    if secret.account.is_some_and(|account| app.lockout.is_locked(account, rule, app.now())) {
        return Err(refused());
    }
    // A missing account costs as much time as an existing one.
    let right = app.passwords.verify(asker, secret.given.to_owned(), secret.hash).await?;
    if let Some(account) = secret.account.filter(|_| !right) {
        app.lockout.failed(account, rule, app.now());
    }
    Ok(right)
}

/// Counts a refused log-in and logs it.
fn note_refused(app: &App, why: &'static str, from: IpAddr, user: &str) -> Error {
    app.metrics.login(why);
    let user: String = user.chars().take(64).flat_map(char::escape_debug).collect();
    tracing::warn!(%from, user, why, "a log-in was refused");
    refused()
}
