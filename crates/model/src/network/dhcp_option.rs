//! DHCP options that users may set on their ports: the known options and their permitted values.
//!
//! OVN pastes an option's value into the text of a flow. There a bracket or a semicolon would end the option, and
//! the user's text would become part of the flow. So each value is parsed by its kind, and OVN gets text written
//! from the parsed value.

use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Letters, digits and the characters of names, paths and URLs.
    Text,
    /// A packet's size in bytes.
    Mtu,
    /// One address.
    Address,
    /// Addresses with commas between them.
    Addresses,
    /// Networks and their routers alternately, with commas between them.
    Routes,
}

/// An option: the family, its names and number in dnsmasq, its name in OVN, and the kind of its value.
type Known = (u8, &'static [&'static str], &'static str, Kind);

const KNOWN: &[Known] = &[
    (4, &["router", "3"], "router", Kind::Address),
    (4, &["dns-server", "6"], "dns_server", Kind::Addresses),
    (4, &["log-server", "7"], "log_server", Kind::Addresses),
    (4, &["lpr-server", "9"], "lpr_server", Kind::Addresses),
    (4, &["domain-name", "15"], "domain_name", Kind::Text),
    (4, &["mtu", "26"], "mtu", Kind::Mtu),
    (4, &["ntp-server", "42"], "ntp_server", Kind::Addresses),
    (4, &["tftp-server", "66"], "tftp_server", Kind::Text),
    (4, &["bootfile-name", "67"], "bootfile_name", Kind::Text),
    (4, &["domain-search", "119"], "domain_search_list", Kind::Text),
    (4, &["classless-static-route", "121"], "classless_static_route", Kind::Routes),
    (4, &["server-ip-address", "tftp-server-address", "150"], "tftp_server_address", Kind::Address),
    (4, &["path-prefix", "210"], "path_prefix", Kind::Text),
    (4, &["wpad", "252"], "wpad", Kind::Text),
    (6, &["dns-server", "23"], "dns_server", Kind::Addresses),
    (6, &["domain-search", "24"], "domain_search", Kind::Text),
    (6, &["bootfile-name", "59"], "bootfile_name", Kind::Text),
];

/// The longest text that DHCP carries in one option, in bytes.
const TEXT_BYTES_MAX: usize = 255;

/// OVN's name and value for an option. `None` for addresses of the other family: Neutron accepts them, and no guest
/// gets them.
///
/// # Errors
/// The option does not exist, or it does not take the value. The text is for the user who set it.
pub fn for_ovn(name: &str, value: &str, ip_version: u8) -> Result<Option<(&'static str, String)>, String> {
    let of_family = || KNOWN.iter().filter(|known| known.0 == ip_version);
    let Some((_, _, ovn, kind)) = of_family().find(|known| known.1.contains(&name)) else {
        let all: Vec<&str> = of_family().filter_map(|known| known.1.first().copied()).collect();
        return Err(format!(
            "there is no option '{name}' for IPv{ip_version} here; there are {}",
            all.join(", ")
        ));
    };
    let value = value.trim();
    let addressed = matches!(kind, Kind::Address | Kind::Addresses);
    if addressed
        && items(value).all(|item| item.parse().is_ok_and(|ip: IpAddr| ip.is_ipv4() != (ip_version == 4)))
    {
        return Ok(None);
    }
    let read = match kind {
        Kind::Text => text(value),
        Kind::Mtu => value.parse().ok().filter(|n: &u32| (68..=65_535).contains(n)).map(|n| n.to_string()),
        Kind::Address => value.parse::<Ipv4Addr>().ok().map(|ip| ip.to_string()),
        Kind::Addresses => addresses(value, ip_version),
        Kind::Routes => routes(value),
    };
    let wanted = match kind {
        Kind::Text => "letters, digits and -_.:/@+~%=, (at most 255)",
        Kind::Mtu => "a number from 68 to 65535",
        Kind::Address => "an address",
        Kind::Addresses => "addresses of that family with commas between them",
        Kind::Routes => "networks and routers in turn (10.1.0.0/16,10.0.0.9), with commas between them",
    };
    read.map(|value| Some((*ovn, value)))
        .ok_or_else(|| format!("the value of option '{name}' must be {wanted}"))
}

fn text(value: &str) -> Option<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/@+~%=,".contains(&b);
    let good = !value.is_empty() && value.len() <= TEXT_BYTES_MAX && value.bytes().all(fits);
    good.then(|| format!("\"{value}\""))
}

fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

fn addresses(value: &str, ip_version: u8) -> Option<String> {
    let read = |item: &str| -> Option<IpAddr> {
        match ip_version {
            4 => item.parse::<Ipv4Addr>().ok().map(Into::into),
            _ => item.parse::<Ipv6Addr>().ok().map(Into::into),
        }
    };
    let all = items(value).map(read).collect::<Option<Vec<_>>>()?;
    Some(braced(all.iter().map(ToString::to_string)))
}

fn routes(value: &str) -> Option<String> {
    let all: Vec<&str> = items(value).collect();
    let pairs = all.chunks(2).map(|pair| match pair {
        [network, router] => Some((network.parse::<Ipv4Net>().ok()?, router.parse::<Ipv4Addr>().ok()?)),
        _ => None,
    });
    let pairs = pairs.collect::<Option<Vec<_>>>()?;
    Some(braced(pairs.iter().map(|(network, router)| format!("{network},{router}"))))
}

fn braced(all: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", all.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_parsed_by_their_kind_and_written_from_the_parsed_value() {
        let v4 = |name, value| for_ovn(name, value, 4).ok().flatten();
        assert_eq!(v4("mtu", " 1400 "), Some(("mtu", "1400".to_owned())));
        assert_eq!(v4("67", "pxelinux.0"), Some(("bootfile_name", "\"pxelinux.0\"".to_owned())));
        assert_eq!(v4("6", "8.8.8.8,1.1.1.1"), Some(("dns_server", "{8.8.8.8, 1.1.1.1}".to_owned())));
        let route = ("classless_static_route", "{10.1.0.0/16,10.0.0.9}".to_owned());
        assert_eq!(v4("classless-static-route", "10.1.0.0/16, 10.0.0.9"), Some(route));
        assert_eq!(for_ovn("23", "2001:db8::1", 6), Ok(Some(("dns_server", "{2001:db8::1}".to_owned()))));
        for (name, value, ip_version) in [
            ("server-ip-address", "2015::badd", 4),
            ("dns-server", "::1,::2", 4),
            ("dns-server", "8.8.8.8", 6),
        ] {
            assert_eq!(for_ovn(name, value, ip_version), Ok(None), "{name}");
        }
        for (name, value) in [
            (
                "mtu",
                "1400); eth.src = 0e:24:b6:71:b9:01; next(25); reg0[3] = put_dhcp_opts(offerip = 10.0.0.99",
            ),
            ("router", "6.6.6.6); next;"),
            ("classless-static-route", "{0.0.0.0/0,1.1.1.1}); drop; ("),
            ("classless-static-route", "10.1.0.0/16"),
            ("dns-server", "{8.8.8.8}, offerip = 1.2.3.4"),
            ("dns-server", "8.8.8.8,2001:db8::1"),
            ("bootfile-name", "a\"); drop; (\""),
            ("bootfile-name", ""),
            ("server-ip-address", "x"),
            ("zzz", "x"),
        ] {
            assert!(for_ovn(name, value, 4).is_err(), "{name} {value}");
        }
        assert!(for_ovn("zzz", "x", 4).unwrap_err().contains("bootfile-name"));
    }

    proptest! {
        #[test]
        fn nothing_that_ends_an_option_gets_through(
            known in 0..KNOWN.len(),
            value in "[0-9a-z.,;(){}\"' :/=\\[\\]\\\\]{0,24}",
        ) {
            let (ip_version, names, _, kind) = KNOWN[known];
            if let Ok(Some((_, written))) = for_ovn(names[0], &value, ip_version) {
                let inner = match kind {
                    Kind::Text => written.strip_prefix('"').and_then(|w| w.strip_suffix('"')),
                    Kind::Addresses | Kind::Routes => written.strip_prefix('{').and_then(|w| w.strip_suffix('}')),
                    Kind::Mtu | Kind::Address => Some(written.as_str()),
                };
                let inner = inner.expect("it is wrapped as its kind is");
                prop_assert!(!inner.contains([';', '(', ')', '{', '}', '"', '\\', '[', ']', '\'']), "{written}");
            }
        }
    }
}
