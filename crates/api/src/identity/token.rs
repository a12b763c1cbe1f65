//! Fernet tokens: user, scope, time of issue and expiry, sealed with the cloud's keys. The cloud does not store
//! them.

use fernet::Fernet;
use lenticular_model::{
    ApplicationCredentialId, ProjectId, Timestamp, TrustId, UserId,
    error::{Error, Result},
    identity::Proof,
    policy::Scope,
};
use uuid::Uuid;

/// The content of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The token's user.
    pub user_id: UserId,
    /// The token's scope.
    pub scope: Scope,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Its audit id.
    pub audit_id: [u8; 16],
    /// Whether the bearer authenticated with an earlier token.
    pub by_token: bool,
    /// What the token was issued for.
    pub proof: Proof,
}

/// The first byte of every payload: its format.
const FORM: u8 = 1;

/// A time in seconds after the time of every token, with room for the minute that Fernet adds.
const FAR_AHEAD_S: u64 = u64::MAX / 2;

/// Seals and opens tokens.
pub struct Tokens {
    /// The first key seals; every key opens.
    keys: Vec<Fernet>,
    /// How long a token is valid, in seconds.
    pub life_s: i64,
}

impl Tokens {
    /// Seals with the first key and opens with any. To rotate keys, an operator puts a new key first.
    ///
    /// # Errors
    /// There is no key, or a key is malformed.
    pub fn new(keys: &[String], life_s: i64) -> Result<Self> {
        let parsed: Option<Vec<Fernet>> = keys.iter().map(|key| Fernet::new(key.trim())).collect();
        match parsed {
            Some(keys) if !keys.is_empty() => Ok(Self { keys, life_s }),
            _ => Err(Error::internal(
                "a token key is missing or malformed: each is 32 bytes in URL-safe base64",
            )),
        }
    }

    /// A new key.
    pub fn new_key() -> String {
        Fernet::generate_key()
    }

    /// Seals a token.
    pub fn seal(&self, payload: &Payload) -> String {
        self.seal_bytes(&pack(payload))
    }

    /// Opens a token; `None` if this cloud did not issue it.
    pub fn open(&self, text: &str) -> Option<Payload> {
        unpack(&self.open_bytes(text)?)
    }

    /// Seals bytes; the first byte says the kind of the content. Only this cloud can make or read the text.
    pub(crate) fn seal_bytes(&self, bytes: &[u8]) -> String {
        // Sealed content has its own times, by the cloud's clock. Fernet's time uses another clock, and is
        // ignored.
        let sealed = self.keys.first().map(|key| key.encrypt_at_time(bytes, 0));
        sealed.unwrap_or_default().trim_end_matches('=').to_owned()
    }

    /// Opens bytes that one of the keys sealed.
    pub(crate) fn open_bytes(&self, text: &str) -> Option<Vec<u8>> {
        if text.len() > 1_024 {
            return None;
        }
        let padded = format!("{text}{}", &"==="[..(4 - text.len() % 4) % 4]);
        self.keys.iter().find_map(|key| key.decrypt_at_time(&padded, None, FAR_AHEAD_S).ok())
    }
}

/// A token's content as bytes.
pub(crate) fn pack(payload: &Payload) -> Vec<u8> {
    let mut out = vec![FORM, u8::from(payload.by_token)];
    out.extend(payload.audit_id);
    out.extend(payload.issued_at.0.to_be_bytes());
    out.extend(payload.expires_at.0.to_be_bytes());
    out.extend(payload.user_id.0.as_bytes());
    match (&payload.scope, payload.proof) {
        (Scope::Project(id), Proof::ApplicationCredential(by)) => {
            out.push(4);
            out.extend(id.0.as_bytes());
            out.extend(by.0.as_bytes());
            return out;
        }
        (Scope::Project(id), Proof::Trust(by)) => {
            out.push(5);
            out.extend(id.0.as_bytes());
            out.extend(by.0.as_bytes());
            return out;
        }
        // No other scope has another proof than the user's own.
        (_, Proof::Own | Proof::ApplicationCredential(_) | Proof::Trust(_)) => {}
    }
    match &payload.scope {
        Scope::Unscoped => out.push(0),
        Scope::Project(id) => {
            out.push(1);
            out.extend(id.0.as_bytes());
        }
        Scope::Domain(id) => {
            out.push(2);
            out.extend(id.as_str().as_bytes());
        }
        Scope::System => out.push(3),
    }
    out
}

/// The content in such bytes.
pub(crate) fn unpack(bytes: &[u8]) -> Option<Payload> {
    let (form, rest) = bytes.split_first()?;
    let (by_token, rest) = rest.split_first()?;
    let (audit_id, rest) = rest.split_first_chunk::<16>()?;
    let (issued_at, rest) = rest.split_first_chunk::<8>()?;
    let (expires_at, rest) = rest.split_first_chunk::<8>()?;
    let (user_id, rest) = rest.split_first_chunk::<16>()?;
    let (kind, rest) = rest.split_first()?;
    let project = |bytes: &[u8]| Some(Scope::Project(ProjectId(Uuid::from_bytes(bytes.try_into().ok()?))));
    let (scope, proof) = match kind {
        0 => (Scope::Unscoped, Proof::Own),
        1 => (project(rest)?, Proof::Own),
        2 => (Scope::Domain(std::str::from_utf8(rest).ok()?.into()), Proof::Own),
        3 => (Scope::System, Proof::Own),
        4 | 5 => {
            let (id, by) = rest.split_first_chunk::<16>()?;
            let by = Uuid::from_bytes(by.try_into().ok()?);
            let proof = match kind {
                4 => Proof::ApplicationCredential(ApplicationCredentialId(by)),
                _ => Proof::Trust(TrustId(by)),
            };
            (project(id)?, proof)
        }
        _ => return None,
    };
    (*form == FORM).then(|| Payload {
        user_id: UserId(Uuid::from_bytes(*user_id)),
        scope,
        issued_at: Timestamp(i64::from_be_bytes(*issued_at)),
        expires_at: Timestamp(i64::from_be_bytes(*expires_at)),
        audit_id: *audit_id,
        by_token: *by_token == 1,
        proof,
    })
}

/// A token's audit id, as Keystone writes it.
pub fn audit_text(id: &[u8; 16]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(scope: Scope) -> Payload {
        Payload {
            user_id: UserId::from_random([1; 16]),
            scope,
            issued_at: Timestamp(1),
            expires_at: Timestamp(2),
            audit_id: [3; 16],
            by_token: true,
            proof: Proof::Own,
        }
    }

    #[test]
    fn tokens_open_with_an_older_key_and_with_no_other() {
        let (old, new) = (Tokens::new_key(), Tokens::new_key());
        let sealed_by_old = Tokens::new(std::slice::from_ref(&old), 60).unwrap();
        let rotated = Tokens::new(&[new.clone(), old], 60).unwrap();
        for scope in [
            Scope::Unscoped,
            Scope::Project(ProjectId::from_random([2; 16])),
            Scope::Domain("default".into()),
            Scope::System,
        ] {
            let token = sealed_by_old.seal(&payload(scope.clone()));
            assert!(token.len() < 255 && !token.ends_with('='));
            assert_eq!(rotated.open(&token), Some(payload(scope)));
            assert_eq!(Tokens::new(std::slice::from_ref(&new), 60).unwrap().open(&token), None);
        }
        let project = Scope::Project(ProjectId::from_random([2; 16]));
        for proof in [
            Proof::ApplicationCredential(ApplicationCredentialId::from_random([4; 16])),
            Proof::Trust(TrustId::from_random([5; 16])),
        ] {
            let delegated = Payload { proof, ..payload(project.clone()) };
            let token = sealed_by_old.seal(&delegated);
            assert!(token.len() < 255, "clients keep tokens in columns of this size");
            assert_eq!(rotated.open(&token), Some(delegated));
        }
        assert_eq!(rotated.open("nonsense"), None);
        assert_eq!(rotated.open(&"A".repeat(10_000)), None);
        assert!(Tokens::new(&["short".to_owned()], 60).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_unpacking_fail(bytes in proptest::collection::vec(0_u8.., 0..128)) {
            let _ = unpack(&bytes);
        }
    }
}
