//! The revocation of tokens.

use lenticular_model::{RevocationId, Timestamp, Txn, identity::Revocation};

/// Revokes a token, and clears the revocations of expired tokens.
pub fn revoke(txn: &mut Txn<'_>, audit_id: &str, expires_at: Timestamp) {
    let over: Vec<RevocationId> =
        txn.revocations.values().filter(|r| r.expires_at < txn.now).map(|r| r.id.clone()).collect();
    for id in over {
        txn.delete::<Revocation>(&id);
    }
    let unknown = Default::default();
    txn.put(Revocation { id: audit_id.into(), created_at: txn.now, updated_at: None, expires_at, unknown });
}
