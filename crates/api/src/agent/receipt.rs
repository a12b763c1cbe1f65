//! Receipts: sealed proofs of what the control plane has told a host.
//!
//! Orders carry a receipt for the commit that they lead to. A host shows the receipt with the commit that it has
//! applied. A host may know a commit that the store has not reached. With a receipt, the store itself went back:
//! it is a restored backup, and no host gets orders. Without a receipt, only the host is wrong, and only this
//! host gets no orders.

use crate::identity::token::Tokens;
use lenticular_model::{HostId, Incarnation};
use uuid::Uuid;

/// The first byte: it tells receipts from tokens.
const FORM: u8 = 0x80;

/// Seals that a host was told of everything up to a commit of an incarnation of the store.
pub fn seal(keys: &Tokens, host: HostId, life: Incarnation, commit: u64) -> String {
    keys.seal_bytes(&pack(host, life, commit))
}

/// True if the control plane gave this receipt for exactly this host, incarnation and commit.
pub fn proves(keys: &Tokens, receipt: &str, host: HostId, life: Incarnation, commit: u64) -> bool {
    keys.open_bytes(receipt).is_some_and(|bytes| bytes == pack(host, life, commit))
}

fn pack(host: HostId, life: Incarnation, commit: u64) -> Vec<u8> {
    let Incarnation(life) = life;
    let mut out = vec![FORM];
    out.extend(host.0.as_bytes());
    out.extend(Uuid::as_bytes(&life));
    out.extend(commit.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_proves_one_commit_of_one_incarnation_to_one_host() {
        let keys = Tokens::new(&[Tokens::new_key()], 60).unwrap();
        let (host, life) = (HostId::from_random([1; 16]), Incarnation::from_random([2; 16]));
        let receipt = seal(&keys, host, life, 7);
        assert!(proves(&keys, &receipt, host, life, 7));
        assert!(!proves(&keys, &receipt, host, life, 8));
        assert!(!proves(&keys, &receipt, HostId::from_random([3; 16]), life, 7));
        assert!(!proves(&keys, &receipt, host, Incarnation::from_random([4; 16]), 7));
        assert!(!proves(&Tokens::new(&[Tokens::new_key()], 60).unwrap(), &receipt, host, life, 7));
        assert!(!proves(&keys, "nonsense", host, life, 7));
        assert!(keys.open(&receipt).is_none(), "a receipt is no token");
    }
}
