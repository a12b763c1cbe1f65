//! A lab's own networks: a bridge between its hosts, and with OVN a second bridge for the outside.
//!
//! ```text
//!   this machine: 10.199.N.1  (hosts, control plane)     10.197.N.1  (the external network's router)
//!                     │ bridge                               │ bridge
//!          ┌──────────┴──┬──────────────┐                    │
//!   eth0 10.199.N.11   und0 10.198.N.11 (tunnels)           ext0       in each host's namespace
//! ```

use crate::{config::NetworkKind, exec};
use anyhow::Result;

/// The parameters of a lab's names and addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wires {
    /// The lab's number in names.
    pub tag: u16,
    /// The third byte of its addresses.
    pub range: u8,
    /// What connects guests.
    pub network: NetworkKind,
}

/// Removes the packet filter rules of a lab with these devices.
///
/// # Errors
/// `nft` refuses.
pub(crate) fn open_up(links: &[String]) -> Result<()> {
    let Some(outside) = links.iter().find(|link| link.ends_with("ex")) else { return Ok(()) };
    let there = exec::run("nft", &["list", "tables"], &[])?;
    match there.lines().any(|line| line.trim() == format!("table inet {outside}")) {
        true => exec::run("nft", &["delete", "table", "inet", outside], &[]).map(drop),
        false => Ok(()),
    }
}

/// Runs `ip`.
///
/// # Errors
/// `ip` fails; the error has its message.
pub(crate) fn ip(args: &str) -> Result<String> {
    exec::run("ip", &args.split_whitespace().collect::<Vec<_>>(), &[])
}

impl Wires {
    fn has_ovn(self) -> bool {
        self.network == NetworkKind::Ovn
    }

    fn bridge(self) -> String {
        format!("ll{:04x}br", self.tag)
    }

    fn outside(self) -> String {
        format!("ll{:04x}ex", self.tag)
    }

    /// The first devices of the lab on this machine.
    pub(crate) fn links(self) -> Vec<String> {
        let outside = self.has_ovn().then(|| self.outside());
        std::iter::once(self.bridge()).chain(outside).collect()
    }

    /// The devices on this machine that lead to a host.
    pub(crate) fn links_of(self, n: u8) -> Vec<String> {
        let kinds: &[&str] = if self.has_ovn() { &["h", "u", "x"] } else { &["h"] };
        kinds.iter().map(|kind| format!("ll{:04x}{kind}{n}", self.tag)).collect()
    }

    /// A host's namespace.
    pub(crate) fn namespace(self, n: u8) -> String {
        format!("ll{:04x}-host-{n}", self.tag)
    }

    /// A host's address.
    pub(crate) fn address(self, n: u8) -> String {
        format!("10.199.{}.{}", self.range, 10 + n)
    }

    /// The control plane's address for agents.
    pub(crate) fn agents(self) -> String {
        format!("10.199.{}.1:9171", self.range)
    }

    /// The southbound database's address for hosts.
    pub(crate) fn southbound(self) -> String {
        format!("10.199.{}.1:6642", self.range)
    }

    /// The range of the external network, for the operator who creates the network in the cloud.
    pub(crate) fn external(self) -> Option<String> {
        self.has_ovn().then(|| format!("10.197.{}.0/24", self.range))
    }

    /// Makes the first devices of the lab.
    ///
    /// # Errors
    /// `ip` refuses, or `ethtool` is missing.
    pub(crate) fn make(self) -> Result<()> {
        let bridge = self.bridge();
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("address add 10.199.{}.1/24 dev {bridge}", self.range))?;
        ip(&format!("link set {bridge} up"))?;
        if self.has_ovn() {
            let outside = self.outside();
            ip(&format!("link add {outside} type bridge"))?;
            // The hosts' switches forward packets unchanged: checksums that are left to a device would be wrong.
            exec::run("ethtool", &["-K", &outside, "tx", "off"], &[])?;
            ip(&format!("address add 10.197.{}.1/24 dev {outside}", self.range))?;
            ip(&format!("link set {outside} up"))?;
            self.shut_off(&outside)?;
        }
        Ok(())
    }

    /// Allows guests to reach this machine only at its address in the external network. The hosts' own network
    /// and the machine's other listeners are closed to them.
    fn shut_off(self, outside: &str) -> Result<()> {
        let table = format!("inet {outside}");
        let own = format!("10.197.{}.0/24", self.range);
        let rules = [
            format!("add table {table}"),
            format!("add chain {table} input {{ type filter hook input priority -10; policy accept; }}"),
            format!("add chain {table} forward {{ type filter hook forward priority -10; policy accept; }}"),
            format!("add rule {table} input iifname \"{outside}\" meta nfproto ipv4 ip daddr != {own} drop"),
            // Traffic between hosts on the same wire is not forwarded, although the kernel calls it so.
            format!("add rule {table} forward iifname \"{outside}\" oifname != \"{outside}\" drop"),
        ];
        exec::run("nft", &[rules.join("; ")], &[]).map(drop)
    }

    /// Makes a host's namespace with its devices.
    ///
    /// # Errors
    /// `ip` refuses.
    pub(crate) fn make_host(self, n: u8) -> Result<()> {
        let (namespace, bridge) = (self.namespace(n), self.bridge());
        ip(&format!("netns add {namespace}"))?;
        ip(&format!("-n {namespace} link set lo up"))?;
        let ends = [("eth0", &bridge), ("und0", &bridge), ("ext0", &self.outside())];
        for (link, (end, to)) in self.links_of(n).iter().zip(ends) {
            ip(&format!("link add {link} type veth peer name {end} netns {namespace}"))?;
            // A device that is neither this machine's nor a guest's needs no address here.
            ip(&format!("link set {link} addrgenmode none"))?;
            ip(&format!("link set {link} master {to} up"))?;
        }
        ip(&format!("-n {namespace} address add {}/24 dev eth0", self.address(n)))?;
        ip(&format!("-n {namespace} link set eth0 up"))?;
        ip(&format!("-n {namespace} route add default via 10.199.{}.1", self.range)).map(drop)
    }

    /// The network options of a host's agent.
    pub(crate) fn agent_words(self, n: u8) -> Vec<String> {
        if !self.has_ovn() {
            return Vec::new();
        }
        let words = [
            "--ovn-southbound".to_owned(),
            format!("ssl:{}", self.southbound()),
            "--ovn-underlay".to_owned(),
            format!("und0=10.198.{}.{}/24", self.range, 10 + n),
            "--ovn-physical".to_owned(),
            format!("{}=ext0", lenticular_model::network::network::EXTERNAL_PHYSICAL_NETWORK),
        ];
        words.into()
    }

    /// The network part of the control plane's configuration.
    pub(crate) fn server_config(self) -> String {
        if !self.has_ovn() {
            return String::new();
        }
        format!("\n[ovn]\nsouthbound_listen = \"{}\"\n", self.southbound())
    }
}
