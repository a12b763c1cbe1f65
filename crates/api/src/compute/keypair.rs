//! Keypairs. Until microversion 2.91 the cloud can generate a key, too.

use super::rsa::RsaKey;
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
    Timestamp, UserId,
    compute::keypair::{Keypair, SSH, X509},
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::{
    certificate::certificate_bytes,
    compute::{public_key::fingerprinted, query},
    microversion::{Field, since},
    request::{self, de_given},
};
use md5::{Digest, Md5};
use rcgen::{CertificateParams, KeyPair};
use ring::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::Semaphore;

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
    let key_type = asked.key_type.unwrap_or_else(|| SSH.to_owned());
    if ![SSH, X509].contains(&key_type.as_str()) {
        return Err(Error::invalid(format!(
            "Invalid input for field/attribute type. Value: {key_type}. It must be ssh or x509."
        ))
        .into());
    }
    let user = whose(&ctx, asked.user_id.as_deref())?;
    let (public_key, private_key) = match asked.public_key {
        Some(key) if key_type == X509 => (key, None),
        Some(key) => (one_line(&key)?, None),
        None if ctx.version.has(92) => {
            return Err(
                Error::invalid("'public_key' is a required property from microversion 2.92 on").into()
            );
        }
        None => {
            // Who may not have the key shall not cost the time that the key takes.
            keypair::check_new(&ctx.state, &ctx.caller, user, &asked.name)?;
            generate(&key_type, user, ctx.app.now()).await.map(|(public, private)| (public, Some(private)))?
        }
    };
    let fingerprint = match key_type.as_str() {
        X509 => certificate_fingerprint(&public_key)?,
        _ => fingerprint(&public_key)?,
    };
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

/// One key is generated at a time, so that key pairs take one processor at most.
static TURN: Semaphore = Semaphore::const_new(1);

/// A new key: its public and its private form.
async fn generate(key_type: &str, user: UserId, now: Timestamp) -> Result<(String, String)> {
    let _turn = TURN.acquire().await.map_err(Error::internal)?;
    let is_certificate = key_type == X509;
    let made = tokio::task::spawn_blocking(move || {
        let key = RsaKey::generate()?;
        match is_certificate {
            true => Ok((certificate(&key, user, now)?, key.pkcs8_pem())),
            false => Ok((key.public_line("Generated-by-Nova"), key.pkcs1_pem())),
        }
    });
    made.await.map_err(Error::internal)?
}

/// A certificate that Windows takes for its user's, as Nova makes it: ten years, for clients, with the user's name.
fn certificate(key: &RsaKey, user: UserId, now: Timestamp) -> Result<String> {
    /// The object identifier of a user's principal name.
    const PRINCIPAL_NAME: [u64; 10] = [1, 3, 6, 1, 4, 1, 311, 20, 2, 3];
    let pair = KeyPair::from_pem_and_sign_algo(&key.pkcs8_pem(), &rcgen::PKCS_RSA_SHA256);
    let pair = pair.map_err(Error::internal)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, user.to_string());
    let name = (PRINCIPAL_NAME.to_vec(), format!("{user}@localhost").into());
    params.subject_alt_names = vec![rcgen::SanType::OtherName(name)];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let at = |time: Timestamp| {
        let since_1970 = Duration::from_secs(u64::try_from(time.unix_s()).unwrap_or(0));
        rcgen::date_time_ymd(1970, 1, 1) + since_1970
    };
    (params.not_before, params.not_after) = (at(now), at(now.plus_s(3_650 * 86_400)));
    Ok(params.self_signed(&pair).map_err(Error::internal)?.pem())
}

/// The SHA-1 of a certificate's bytes, in colon-separated hex.
fn certificate_fingerprint(pem: &str) -> Result<String> {
    let bytes = certificate_bytes(pem).ok_or_else(|| {
        Error::invalid(
            "Keypair data is invalid: failed to generate X509 fingerprint. The public key must be a certificate in PEM.",
        )
    })?;
    Ok(colons(digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &bytes).as_ref()))
}

fn colons(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// The MD5 of the key's bytes, in colon-separated hex.
fn fingerprint(public_key: &str) -> Result<String> {
    let bytes = fingerprinted(public_key).ok_or_else(|| {
        Error::invalid(
            "Keypair data is invalid: failed to generate fingerprint. The public key must be one of OpenSSH's: \
             ssh-rsa, ssh-ed25519, ecdsa-sha2-nistp256, -nistp384 or -nistp521, a security key's, or a certificate.",
        )
    })?;
    Ok(colons(&Md5::digest(bytes)))
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

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILSWYQ9d92uE8+6RAvgzXrNeMLfa+cFcvgVqydmvpEmK";

    #[tokio::test]
    async fn a_generated_key_is_an_rsa_key_and_nonsense_has_no_fingerprint() {
        let (public, private) = generate(SSH, UserId::default(), Timestamp::default()).await.unwrap();
        assert!(public.starts_with("ssh-rsa ") && private.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
        assert_eq!(fingerprint(&public).unwrap().len(), 16 * 3 - 1);
        assert!(fingerprint("ssh-rsa nonsense").is_err());
        assert!(fingerprint("").is_err());
    }

    #[tokio::test]
    async fn a_generated_certificate_has_a_fingerprint_of_its_own() {
        let (public, private) = generate(X509, UserId::default(), Timestamp::default()).await.unwrap();
        assert!(
            public.starts_with("-----BEGIN CERTIFICATE-----")
                && private.starts_with("-----BEGIN PRIVATE KEY-----")
        );
        assert_eq!(certificate_fingerprint(&public).unwrap().len(), 20 * 3 - 1);
        assert!(certificate_fingerprint(ED25519).is_err() && certificate_fingerprint("").is_err());
    }

    #[test]
    fn a_public_key_is_one_line() {
        assert_eq!(one_line(&format!("{ED25519}\n")).unwrap(), ED25519);
        assert!(one_line(&format!("{ED25519}\n{ED25519}")).is_err());
        assert!(one_line(&format!("{ED25519} a\0b")).is_err());
    }
}
