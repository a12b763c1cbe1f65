//! QEMU's own user networking: for one machine without privileges.
//!
//! Each port is a separate network: guests reach the outside by NAT and do not reach each other. The gateway's
//! address leads to the host's own services, which `user_fence` closes to guests where it can.

use super::{NetPlan, Network, Nic, Work};
use lenticular_model::{ServerId, host::host::Wiring};
use lenticular_wire::agent::{GuestSpec, PortSpec};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// The driver.
pub struct UserNetwork;

impl Network for UserNetwork {
    fn describe(&self) -> Work<'_, Wiring> {
        Box::pin(async { Ok(Wiring { driver: "user".to_owned(), ..Wiring::default() }) })
    }

    fn plug<'a>(&'a self, _server: ServerId, guest: &'a GuestSpec) -> Work<'a, NetPlan> {
        Box::pin(async move { Ok(plan(guest)) })
    }

    fn unplug(&self, _server: ServerId) -> Work<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

fn plan(guest: &GuestSpec) -> NetPlan {
    let mut plan = NetPlan::default();
    for port in &guest.ports {
        let forward = !plan.forwards_ssh;
        let netdev = match slirp_net(port) {
            Some(net) => {
                plan.forwards_ssh = true;
                net.netdev(forward)
            }
            None => json!({ "type": "user", "ipv6": false }),
        };
        plan.nics.push(Nic { slot: port.slot, mac: port.mac, mtu: port.mtu, boots: false, netdev });
    }
    plan
}

struct SlirpNet {
    cidr: String,
    router: Ipv4Addr,
    dns: Ipv4Addr,
    guest: Ipv4Addr,
}

impl SlirpNet {
    fn netdev(&self, forward: bool) -> Value {
        let Self { cidr, router, dns, guest } = self;
        // The guest is the first to ask for an address, so it gets the first address of the range.
        let mut netdev = json!({
            "type": "user", "ipv6": false, "net": cidr, "host": router, "dns": dns, "dhcpstart": guest,
        });
        if forward {
            // Port 0: the kernel chooses a free port, and `info usernet` shows it.
            netdev["hostfwd"] = json!([{ "str": format!("tcp:127.0.0.1:0-{guest}:22") }]);
        }
        netdev
    }
}

/// Addresses that slirp accepts: router, resolver and guest differ, and all lie inside the range.
fn slirp_net(port: &PortSpec) -> Option<SlirpNet> {
    let spec = port.addresses.iter().find(|a| a.address.is_ipv4())?;
    let (IpAddr::V4(guest), ipnet::IpNet::V4(cidr)) = (spec.address, spec.cidr) else { return None };
    if !cidr.contains(&guest) || !(4..=30).contains(&cidr.prefix_len()) {
        return None;
    }
    // From the top, where addresses are given out last; the broadcast address is the last resort.
    let free = |taken: &[Ipv4Addr]| {
        let top = u32::from(cidr.broadcast());
        let candidates = (1..8).map(|n| Ipv4Addr::from(top.wrapping_sub(n))).chain([cidr.broadcast()]);
        candidates.filter(|a| cidr.contains(a) && *a != cidr.network()).find(|a| !taken.contains(a))
    };
    let router = match spec.gateway {
        Some(IpAddr::V4(gateway)) if cidr.contains(&gateway) && gateway != guest => gateway,
        _ => free(&[guest])?,
    };
    let dns = free(&[guest, router])?;
    Some(SlirpNet { cidr: cidr.trunc().to_string(), router, dns, guest })
}

/// The way to the guest's ssh, from the QEMU monitor's report on its user networks.
pub(crate) fn ssh_forward(usernet: &str) -> Option<String> {
    let line = usernet.lines().find(|line| line.contains("TCP[HOST_FORWARD]"))?;
    let mut fields = line.split_whitespace().skip(2);
    let (address, port) = (fields.next()?, fields.next()?);
    port.parse::<u16>().ok().map(|port| format!("{address}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::SubnetId;
    use lenticular_wire::agent::AddressSpec;

    fn port(cidr: &str, address: &str, gateway: Option<&str>) -> PortSpec {
        let address = AddressSpec {
            subnet_id: SubnetId::from_random([4; 16]),
            address: address.parse().unwrap(),
            cidr: cidr.parse().unwrap(),
            gateway: gateway.map(|g| g.parse().unwrap()),
            dhcp: true,
            ipv6_mode: None,
            dns: Vec::new(),
            routes: Vec::new(),
        };
        crate::testing::port(vec![address])
    }

    #[test]
    fn addresses_are_those_of_the_port_and_legal() {
        let text = |p: PortSpec| {
            slirp_net(&p).map(|net| {
                let netdev = net.netdev(false);
                let field = |name: &str| netdev[name].as_str().unwrap_or_default().to_owned();
                format!(
                    "{},host={},dns={},dhcpstart={}",
                    field("net"),
                    field("host"),
                    field("dns"),
                    field("dhcpstart")
                )
            })
        };
        for (given, wanted) in [
            (
                port("10.1.0.0/24", "10.1.0.7", Some("10.1.0.1")),
                Some("10.1.0.0/24,host=10.1.0.1,dns=10.1.0.254,dhcpstart=10.1.0.7"),
            ),
            (
                port("10.1.0.0/30", "10.1.0.2", Some("10.1.0.1")),
                Some("10.1.0.0/30,host=10.1.0.1,dns=10.1.0.3,dhcpstart=10.1.0.2"),
            ),
            (
                port("10.1.0.0/24", "10.1.0.254", None),
                Some("10.1.0.0/24,host=10.1.0.253,dns=10.1.0.252,dhcpstart=10.1.0.254"),
            ),
            (port("10.1.0.9/32", "10.1.0.9", None), None),
            (port("fd00::/64", "fd00::9", None), None),
        ] {
            assert_eq!(text(given), wanted.map(str::to_owned));
        }
    }

    #[test]
    fn the_forwarded_port_is_read() {
        let text = "Hub -1 (net0):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n  \
                    TCP[HOST_FORWARD]  12       127.0.0.1 41797       10.1.0.7    22     0     0\n";
        assert_eq!(ssh_forward(text).as_deref(), Some("127.0.0.1:41797"));
        assert_eq!(ssh_forward("nothing"), None);
    }
}
