//! The token in a console's URL: which console of which server, until when, and whose rights it rests on.
//!
//! It holds what the asking client's own token says, so it is worth nothing once that token is: after a log-out, a change
//! of the password, or the loss of the role. The cloud does not store it.

use crate::{
    app::App,
    ctx,
    identity::token::{Payload, pack, unpack},
};
use lenticular_model::{
    ServerId, State, Timestamp,
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::agent::ConsoleKind;
use uuid::Uuid;

/// The first byte: it tells these tokens from others.
const FORM: u8 = 0x81;

/// The content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleToken {
    /// Which console.
    pub kind: ConsoleKind,
    /// The server.
    pub server_id: ServerId,
    /// The end of the token.
    pub expires_at: Timestamp,
    /// The asking client's own token.
    pub client: Payload,
}

impl ConsoleToken {
    /// Seals the token with the cloud's keys.
    pub fn seal(&self, app: &App) -> String {
        app.tokens.seal_bytes(&self.pack())
    }

    /// Opens a token that this cloud has made and that is still valid.
    ///
    /// # Errors
    /// The token is another's, or has expired; or its user may no longer open the console.
    pub fn open(app: &App, state: &State, text: &str) -> Result<Self> {
        let token = app.tokens.open_bytes(text).and_then(|bytes| Self::unpack(&bytes)).ok_or_else(refused)?;
        if token.expires_at <= app.now() || token.client.expires_at <= app.now() {
            return Err(refused());
        }
        token.still_holds(state, app.now())?;
        Ok(token)
    }

    /// Checks that the user may still use the console. An open console outlives its token and the client's, but not the
    /// user's rights.
    ///
    /// # Errors
    /// The user may not, or the server is gone.
    pub fn still_holds(&self, state: &State, now: Timestamp) -> Result<()> {
        ctx::check_rights(state, &self.client, now).map_err(|_| refused())?;
        let server = state.servers.get(&self.server_id).ok_or_else(refused)?;
        let caller = ctx::caller(state, &self.client, String::new());
        policy::check(&caller, Action::ServerRemoteConsole, Some(server.project_id)).map_err(|_| refused())
    }

    fn pack(&self) -> Vec<u8> {
        let kind = match self.kind {
            ConsoleKind::Vnc => 0,
            ConsoleKind::Serial => 1,
        };
        let mut out = vec![FORM, kind];
        out.extend(self.server_id.0.as_bytes());
        out.extend(self.expires_at.0.to_be_bytes());
        out.extend(pack(&self.client));
        out
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        let ([form, kind], rest) = bytes.split_first_chunk()?;
        let (server, rest) = rest.split_first_chunk::<16>()?;
        let (expires_at, rest) = rest.split_first_chunk::<8>()?;
        let kind = match kind {
            0 => ConsoleKind::Vnc,
            1 => ConsoleKind::Serial,
            _ => return None,
        };
        let client = unpack(rest)?;
        let expires_at = Timestamp(i64::from_be_bytes(*expires_at));
        let server_id = ServerId(Uuid::from_bytes(*server));
        (*form == FORM).then_some(Self { kind, server_id, expires_at, client })
    }
}

fn refused() -> Error {
    Error::unauthorized(
        "The console may not be used, or not any more: its URL is over, its user has logged out, or the server is gone. \
         Ask for a new URL.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::{ProjectId, UserId, identity::Proof, policy::Scope};

    #[test]
    fn a_token_keeps_what_it_was_made_for() {
        let client = Payload {
            user_id: UserId::from_random([1; 16]),
            scope: Scope::Project(ProjectId::from_random([2; 16])),
            issued_at: Timestamp(1),
            expires_at: Timestamp(2),
            audit_id: [3; 16],
            by_token: false,
            proof: Proof::Own,
        };
        for kind in [ConsoleKind::Vnc, ConsoleKind::Serial] {
            let (server_id, expires_at) = (ServerId::from_random([4; 16]), Timestamp(9));
            let token = ConsoleToken { kind, server_id, expires_at, client: client.clone() };
            assert_eq!(ConsoleToken::unpack(&token.pack()), Some(token.clone()));
            assert_eq!(unpack(&token.pack()), None, "it is no token of a client");
            assert_eq!(ConsoleToken::unpack(&pack(&token.client)), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_unpacking_fail(bytes in proptest::collection::vec(0_u8.., 0..160)) {
            let _ = ConsoleToken::unpack(&bytes);
        }
    }
}
