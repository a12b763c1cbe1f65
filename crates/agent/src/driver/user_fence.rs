//! Keeps guests of QEMU's user networking from the services of their own host.
//!
//! QEMU sends such a guest's packets, and the gateway's address leads to the host's loopback. Where each guest
//! has its own user, the host's packet filter matches packets by that user. A guest may answer connections to it,
//! such as ssh through the forwarded port, and ask the host's resolver. Everything else on the host is closed to
//! it.

use super::guest_user::{self, USERS};
use crate::exec::{self, Limits};
use sha2::{Digest, Sha256};
use std::{net::IpAddr, path::Path, time::Duration};

const LIMITS: Limits = Limits { deadline: Duration::from_secs(10), memory_mb_and_cpu_s: None };
/// The consequence of a missing fence.
const OPEN: &str = "guests reach all services of this host, those of its loopback too";

/// Puts the rules into the packet filter, and replaces existing rules.
pub(crate) async fn put_up(state_dir: &Path) {
    if !guest_user::are_given().await {
        tracing::warn!(
            "{OPEN}: they have no users of their own here. Run the agent as root, or run only guests of people you trust"
        );
        return;
    }
    let resolvers = resolvers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    if let Err(why) = nft(&rules(&table(state_dir), &resolvers)).await {
        tracing::warn!(
            why,
            "{OPEN}: the packet filter cannot be set up. Install nftables and restart the agent"
        );
    }
}

/// Removes the rules, after the last guest.
pub(crate) async fn take_down(state_dir: &Path) {
    let table = table(state_dir);
    if exec::which("nft").is_none() || !guest_user::are_given().await {
        return;
    }
    // The command adds the table first, so that the deletion of a missing table is no error.
    if let Err(why) = nft(&format!("add table inet {table}; delete table inet {table}")).await {
        tracing::warn!(why, table, "a table of the packet filter is left behind");
    }
}

async fn nft(rules: &str) -> Result<(), String> {
    let nft = exec::which("nft").ok_or("nft is not installed")?;
    exec::run(&nft, &[rules], LIMITS).await.map(drop).map_err(|error| error.to_string())
}

/// Each agent of a machine has its own table: an agent's end leaves the others' tables.
fn table(state_dir: &Path) -> String {
    let path = state_dir.canonicalize().unwrap_or_else(|_| state_dir.to_owned());
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    format!("lenticular_user_{}", lenticular_wire::hex(&digest[..4]))
}

/// The host's DNS servers, which QEMU uses to answer its guests.
fn resolvers(conf: &str) -> Vec<IpAddr> {
    let named = conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    named.filter_map(|address| address.trim().parse().ok()).collect()
}

/// The whole table, as one change.
fn rules(table: &str, resolvers: &[IpAddr]) -> String {
    let asks = resolvers.iter().map(|address| {
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        format!("{family} daddr {address} meta l4proto {{ tcp, udp }} th dport 53 accept; ")
    });
    let (first, last) = (USERS.start, USERS.end - 1);
    format!(
        "add table inet {table}; delete table inet {table}; table inet {table} {{ chain output {{ type filter hook output \
         priority filter; policy accept; meta skuid != {first}-{last} accept; ct state established,related accept; \
         {}fib daddr type local counter reject with icmpx admin-prohibited; oif \"lo\" counter reject with icmpx \
         admin-prohibited; }}; }}",
        asks.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_and_named() {
        let conf = "# by hand\nnameserver 127.0.0.53\n nameserver ::1 \nnameserver fe80::1%eth0\nsearch example.org\n";
        let found = resolvers(conf);
        assert_eq!(found, ["127.0.0.53".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        let text = rules("t", &found);
        for wanted in [
            "meta skuid != 1800000000-1800065535 accept",
            "ip daddr 127.0.0.53 meta l4proto { tcp, udp } th dport 53 accept",
            "ip6 daddr ::1 meta l4proto { tcp, udp } th dport 53 accept",
        ] {
            assert!(text.contains(wanted), "{text}");
        }
    }

    #[test]
    fn each_state_directory_has_its_own_table() {
        let (a, b) = (table(Path::new("/nowhere/a")), table(Path::new("/nowhere/b")));
        assert!(a != b && a.starts_with("lenticular_user_") && a == table(Path::new("/nowhere/a")));
    }
}
