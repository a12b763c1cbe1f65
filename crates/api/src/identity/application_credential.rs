//! Application credentials.

use super::{auth::user_id, field, filter, id, name, required};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use base64::Engine as _;
use lenticular_control::command::identity::{
    application_credential::{self, AskedRule, NewCredential},
    delegation::AskedRole,
    govern::check_owner,
};
use lenticular_model::{
    Timestamp,
    error::{Error, Result},
    policy::Action,
};
use lenticular_wire::{identity as wire, request::envelope};
use serde_json::{Map, Value, json};

/// The most access rules, and the most roles, of one application credential.
const ITEMS_MAX: usize = 128;

/// The methods that an access rule may name.
const METHODS: &[&str] = &["POST", "GET", "HEAD", "PATCH", "PUT", "DELETE"];

/// `GET /v3/users/{id}/application_credentials`
pub async fn list(ctx: Ctx, Path(user): Path<String>) -> Handled {
    let user = user_id(&user)?;
    check_owner(&ctx.caller, Action::ApplicationCredentialRead, user)?;
    let all = ctx.state.application_credentials_of_user(user);
    let items = all.map(|c| wire::application_credential(&ctx.state, ctx.url(), c)).collect();
    let found = filter::chosen(&ctx.query, items, &["name"])?;
    json(200, &wire::listing(ctx.url(), &format!("users/{user}/application_credentials"), found))
}

/// `GET /v3/users/{id}/application_credentials/{credential}`
pub async fn show(ctx: Ctx, Path((user, text)): Path<(String, String)>) -> Handled {
    let (user, id) = (user_id(&user)?, id("application credential", &text)?);
    let found = application_credential::visible(&ctx.state, &ctx.caller, user, id)?;
    json(200, &json!({"application_credential": wire::application_credential(&ctx.state, ctx.url(), &found)}))
}

/// `POST /v3/users/{id}/application_credentials`. The answer alone has the secret.
pub async fn create(ctx: Ctx, Path(user): Path<String>, Json(body): Json) -> Handled {
    let (user, proof) = (user_id(&user)?, ctx.proof());
    application_credential::check_create(&ctx.state, &ctx.caller, proof, user)?;
    let fields = envelope(body, "application_credential")?;
    let secret = match field::<String>(&fields, "secret")?.filter(|secret| !secret.is_empty()) {
        Some(secret) => secret,
        None => new_secret()?,
    };
    let mut new = read(&fields)?;
    // Hashing costs a core for a while, so the request is checked first.
    new.secret_hash = ctx.app.passwords.hash(ctx.asker(Some(user)), secret.clone()).await?;
    let url = ctx.url().to_owned();
    let mut view = ctx
        .commit("application credential create", move |txn, caller| {
            let made = application_credential::create(txn, caller, proof, user, new)?;
            Ok(wire::application_credential(txn, &url, &made))
        })
        .await?;
    view["secret"] = json!(secret);
    json(201, &json!({ "application_credential": view }))
}

/// `DELETE /v3/users/{id}/application_credentials/{credential}`
pub async fn delete(ctx: Ctx, Path((user, text)): Path<(String, String)>) -> Handled {
    let (user, id, proof) = (user_id(&user)?, id("application credential", &text)?, ctx.proof());
    ctx.commit("application credential delete", move |txn, caller| {
        application_credential::delete(txn, caller, proof, user, id)
    })
    .await?;
    empty(204)
}

/// A secret of 64 random bytes, as text for a URL.
fn new_secret() -> Result<String> {
    let mut bytes = [0; 64];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

fn read(fields: &Map<String, Value>) -> Result<NewCredential> {
    Ok(NewCredential {
        name: name(fields, 255)?.ok_or_else(|| required("name"))?,
        description: field(fields, "description")?,
        secret_hash: String::new(),
        roles: asked_roles(fields)?,
        expires_at: field::<String>(fields, "expires_at")?.map(|text| time(&text)).transpose()?,
        unrestricted: field(fields, "unrestricted")?.unwrap_or(false),
        access_rules: items(fields, "access_rules")?
            .unwrap_or_default()
            .iter()
            .map(rule)
            .collect::<Result<_>>()?,
    })
}

fn items(fields: &Map<String, Value>, name: &str) -> Result<Option<Vec<Map<String, Value>>>> {
    let items = field::<Vec<Map<String, Value>>>(fields, name)?;
    match items.as_ref().is_some_and(|items| items.len() > ITEMS_MAX) {
        true => Err(Error::invalid(format!(
            "Invalid input for field '{name}': it has more than {ITEMS_MAX} items."
        ))),
        false => Ok(items),
    }
}

/// The roles of a request; `None` if there are none.
pub fn asked_roles(fields: &Map<String, Value>) -> Result<Option<Vec<AskedRole>>> {
    let roles = items(fields, "roles")?.filter(|roles| !roles.is_empty());
    roles.map(|roles| roles.iter().map(role).collect()).transpose()
}

fn time(text: &str) -> Result<Timestamp> {
    Timestamp::parse(text).ok_or_else(|| {
        Error::invalid(format!("Invalid input for field 'expires_at': '{text}' is not a time in ISO 8601."))
    })
}

fn role(fields: &Map<String, Value>) -> Result<AskedRole> {
    match (field::<String>(fields, "id")?, field::<String>(fields, "name")?) {
        (Some(text), None) => Ok(AskedRole::Id(id("role", &text)?)),
        (None, Some(name)) => Ok(AskedRole::Name(name)),
        _ => Err(Error::invalid(
            "Invalid input for field 'roles': each item must have either an id or a name.",
        )),
    }
}

fn rule(fields: &Map<String, Value>) -> Result<AskedRule> {
    let bad = |why: &str| Error::invalid(format!("Invalid input for field 'access_rules': {why}."));
    let text = |name: &str| field::<String>(fields, name);
    let (service, method, path) = (text("service")?, text("method")?, text("path")?);
    if let Some(known) = text("id")? {
        return Ok(AskedRule::Known(id("access rule", &known)?));
    }
    let (Some(service), Some(method), Some(path)) = (service, method, path) else {
        return Err(bad("a rule needs service, method and path, or the id of an existing rule"));
    };
    if !METHODS.contains(&method.as_str()) {
        return Err(bad(&format!("'{method}' is not one of {}", METHODS.join(", "))));
    }
    if !path.starts_with('/') || path.chars().count() > 225 {
        return Err(bad("a path begins with '/' and has at most 225 characters"));
    }
    if !(1..=64).contains(&service.chars().count()) || service.chars().any(char::is_control) {
        return Err(bad("a service is a type such as compute, of at most 64 characters"));
    }
    Ok(AskedRule::New { service, method, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_value(value: Value) -> Result<NewCredential> {
        read(value.as_object().unwrap())
    }

    #[test]
    fn requests_are_read_as_keystone_reads_them() {
        let rule = json!({"service": "compute", "method": "GET", "path": "/v2.1/servers"});
        let whole = json!({
            "name": "ci", "roles": [{"name": "member"}], "expires_at": "2027-01-01T00:00:00", "access_rules": [rule],
        });
        let new = read_value(whole).unwrap();
        assert!(new.roles.is_some_and(|roles| roles.len() == 1) && new.access_rules.len() == 1);
        assert_eq!(new.expires_at, Timestamp::parse("2027-01-01T00:00:00Z"));
        let least = read_value(json!({"name": "ci", "roles": [], "description": null})).unwrap();
        assert!(least.roles.is_none() && !least.unrestricted && least.access_rules.is_empty());
        for bad in [
            json!({}),
            json!({"name": "ci", "roles": [{}]}),
            json!({"name": "ci", "roles": [{"id": "1", "name": "member"}]}),
            json!({"name": "ci", "expires_at": "soon"}),
            json!({"name": "ci", "unrestricted": "yes"}),
            json!({"name": "ci", "access_rules": [{"service": "compute", "method": "GET"}]}),
            json!({"name": "ci", "access_rules": [{"service": "compute", "method": "get", "path": "/"}]}),
            json!({"name": "ci", "access_rules": [{"service": "compute", "method": "GET", "path": "v2"}]}),
            json!({"name": "ci", "access_rules": [{"service": "", "method": "GET", "path": "/v2"}]}),
            json!({"name": "ci", "access_rules": vec![json!({}); ITEMS_MAX + 1]}),
        ] {
            assert!(read_value(bad.clone()).is_err(), "{bad}");
        }
    }
}
