//! Keypairs. The cloud can generate a key, too.

use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    page,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::compute::keypair;
use lenticular_model::{
    UserId,
    compute::keypair::Keypair,
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::{
    compute::{public_key::fingerprinted, query},
    microversion::{Field, since},
    request::{self, de_given},
};
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::{Value, json};

/// The user that a request for key pairs is about. Only callers who may know learn whether a user exists.
fn whose(ctx: &Ctx, user: Option<&str>) -> Result<UserId> {
    let Some(text) = user else { return Ok(ctx.caller.user_id) };
    text.parse().map_err(|_| match policy::check(&ctx.caller, Action::KeypairOthers, None) {
        Ok(()) => Error::invalid(format!("Invalid user id {text}.")),
        Err(error) => error,
    })
}

fn view(ctx: &Ctx, keypair: &Keypair, single: bool) -> Value {
    let mut view = json!({
        "name": keypair.name,
        "public_key": keypair.public_key,
        "fingerprint": keypair.fingerprint,
    });
    if ctx.version.has(2) {
        view["type"] = json!(keypair.key_type);
    }
    if single {
        view["user_id"] = json!(keypair.user_id);
        view["id"] = json!(keypair.number);
        view["created_at"] = json!(keypair.created_at.iso_naive_us());
        view["updated_at"] = Value::Null;
        view["deleted"] = json!(false);
        view["deleted_at"] = Value::Null;
    }
    view
}

/// `GET /os-keypairs`
pub async fn list(ctx: Ctx) -> Handled {
    let ctx = ctx.asking(&query::KEYPAIRS)?;
    let user = whose(&ctx, ctx.query.get("user_id"))?;
    keypair::check_user(&ctx.caller, user)?;
    let mut all: Vec<_> = ctx.state.keypairs_of_user(user).cloned().collect();
    let mut next = None;
    if ctx.version.has(35) {
        let (cut, more) = page::cut(all, &ctx.query, |k| k.name.clone())?;
        next = cut.last().filter(|_| more).map(|last| {
            page::next(&format!("{}/compute/v2.1/os-keypairs", ctx.url()), &ctx.query, &last.name)
        });
        all = cut;
    }
    let views: Vec<Value> = all.iter().map(|k| json!({"keypair": view(&ctx, k, false)})).collect();
    let mut body = json!({ "keypairs": views });
    if let Some(next) = next {
        body["keypairs_links"] = json!([{"rel": "next", "href": next}]);
    }
    json(200, &body)
}

/// `GET /os-keypairs/{name}`
pub async fn show(ctx: Ctx, Path(name): Path<String>) -> Handled {
    let ctx = ctx.asking(&query::KEYPAIR)?;
    let user = whose(&ctx, ctx.query.get("user_id"))?;
    let keypair = keypair::find(&ctx.state, &ctx.caller, user, &name)?;
    json(200, &json!({"keypair": view(&ctx, &keypair, true)}))
}

const FIELDS: &[Field] = &[since("type", 2), since("user_id", 10)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateKeypair {
    name: String,
    #[serde(default, deserialize_with = "de_given")]
    public_key: Option<String>,
    #[serde(rename = "type", default, deserialize_with = "de_given")]
    key_type: Option<String>,
    #[serde(default, deserialize_with = "de_given")]
    user_id: Option<String>,
}

/// `POST /os-keypairs`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let fields = request::sole(body, "keypair")?;
    request::check_version(&fields, FIELDS, ctx.version)?;
    let asked: CreateKeypair = request::read(fields)?;
    check_name(&ctx, &asked.name)?;
    let key_type = asked.key_type.unwrap_or_else(|| "ssh".to_owned());
    if key_type != "ssh" {
        return Err(Error::invalid(format!(
            "Keypair type '{key_type}' is not supported by this cloud; use ssh."
        ))
        .into());
    }
    let user = whose(&ctx, asked.user_id.as_deref())?;
    let (public_key, private_key) = match asked.public_key {
        Some(key) => (one_line(&key)?, None),
        None if ctx.version.has(92) => {
            return Err(
                Error::invalid("'public_key' is a required property from microversion 2.92 on").into()
            );
        }
        None => generate().map(|(public, private)| (public, Some(private)))?,
    };
    let fingerprint = fingerprint(&public_key)?;
    let made = ctx
        .commit("keypair create", move |txn, caller| {
            let name = asked.name.clone();
            keypair::create(txn, caller, user, asked.name, key_type, public_key, fingerprint)?;
            keypair::find(txn, caller, user, &name)
        })
        .await?;
    let mut view = view(&ctx, &made, false);
    view["user_id"] = json!(made.user_id);
    if let Some(private_key) = private_key {
        view["private_key"] = json!(private_key);
    }
    json(if ctx.version.has(2) { 201 } else { 200 }, &json!({ "keypair": view }))
}

fn check_name(ctx: &Ctx, name: &str) -> Result<()> {
    request::check_name("name", name)?;
    let more = |c: char| ctx.version.has(92) && matches!(c, '@' | '.');
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' ') || more(c)) {
        return Err(Error::invalid(format!(
            "Keypair data is invalid: Keypair name contains unsafe characters: {name:?}"
        )));
    }
    Ok(())
}

/// The key without blanks around it. A guest would take a second line as a second key, and no fingerprint would
/// show it.
fn one_line(key: &str) -> Result<String> {
    let key = key.trim();
    match key.chars().any(char::is_control) {
        true => Err(Error::invalid("Keypair data is invalid: a public key has one line.")),
        false => Ok(key.to_owned()),
    }
}

/// An Ed25519 key: public in one line, private in OpenSSH's PEM.
fn generate() -> Result<(String, String)> {
    use ssh_key::{
        LineEnding, PrivateKey,
        private::{Ed25519Keypair, KeypairData},
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Error::internal)?;
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, "Generated-by-Nova").map_err(Error::internal)?;
    let public = key.public_key().to_openssh().map_err(Error::internal)?;
    let private = key.to_openssh(LineEnding::LF).map_err(Error::internal)?;
    Ok((public, private.to_string()))
}

/// The MD5 of the key's bytes, in colon-separated hex.
fn fingerprint(public_key: &str) -> Result<String> {
    let bytes = fingerprinted(public_key).ok_or_else(|| {
        Error::invalid(
            "Keypair data is invalid: failed to generate fingerprint. The public key must be one of OpenSSH's: \
             ssh-rsa, ssh-ed25519, ecdsa-sha2-nistp256, -nistp384 or -nistp521, a security key's, or a certificate.",
        )
    })?;
    let digest = Md5::digest(bytes);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
}

/// `DELETE /os-keypairs/{name}`
pub async fn delete(ctx: Ctx, Path(name): Path<String>) -> Handled {
    let ctx = ctx.asking(&query::KEYPAIR)?;
    let user = whose(&ctx, ctx.query.get("user_id"))?;
    ctx.commit("keypair delete", move |txn, caller| keypair::delete(txn, caller, user, &name)).await?;
    empty(if ctx.version.has(2) { 204 } else { 202 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_has_a_fingerprint_and_nonsense_has_none() {
        let (public, private) = generate().unwrap();
        assert!(public.starts_with("ssh-ed25519 ") && private.contains("BEGIN OPENSSH PRIVATE KEY"));
        assert_eq!(fingerprint(&public).unwrap().len(), 16 * 3 - 1);
        assert!(fingerprint("ssh-rsa nonsense").is_err());
        assert!(fingerprint("").is_err());
    }

    #[test]
    fn a_public_key_is_one_line() {
        let (public, _) = generate().unwrap();
        assert_eq!(one_line(&format!("{public}\n")).unwrap(), public);
        assert!(one_line(&format!("{public}\n{public}")).is_err());
        assert!(one_line(&format!("{public} a\0b")).is_err());
    }
}
