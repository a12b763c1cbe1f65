//! The choice of ranges that subnets take from subnet pools.

use ipnet::IpNet;
use lenticular_model::{
    ProjectId, State,
    error::{Error, Result},
    network::{
        subnet::{overlap, to_address, to_number},
        subnet_pool::SubnetPool,
    },
};

/// Allocates a range of a pool for a project's new subnet: the given range, or a free range of the given or default
/// prefix length.
///
/// # Errors
/// The pool has no free range, or the project's quota is reached.
pub(crate) fn allocate(
    state: &State,
    pool: &SubnetPool,
    project: ProjectId,
    cidr: Option<IpNet>,
    prefixlen: Option<u8>,
) -> Result<IpNet> {
    let length = cidr.map(|c| c.prefix_len()).or(prefixlen).unwrap_or(pool.default_prefixlen);
    if length < pool.min_prefixlen {
        let why = format!(
            "Unable to allocate subnet with prefix length {length}, minimum allowed prefix is {}.",
            pool.min_prefixlen
        );
        return Err(bad("MinPrefixSubnetAllocationError", why));
    }
    if length > pool.max_prefixlen {
        let why = format!(
            "Unable to allocate subnet with prefix length {length}, maximum allowed prefix is {}.",
            pool.max_prefixlen
        );
        return Err(bad("MaxPrefixSubnetAllocationError", why));
    }
    let mut taken: Vec<IpNet> = state.subnets_of_pool(pool.id).map(|s| s.cidr).collect();
    taken.sort_by_key(|c| to_number(c.network()));
    let refused = |reason: String| {
        Error::conflict(format!("Failed to allocate subnet: {reason}.")).coded("SubnetAllocationError")
    };
    let range = match cidr.map(|c| c.trunc()) {
        Some(cidr) => {
            let free =
                pool.prefixes.iter().any(|p| p.contains(&cidr)) && !taken.iter().any(|t| overlap(t, &cidr));
            free.then_some(cidr).ok_or_else(|| {
                refused("Cannot allocate requested subnet from the available set of prefixes".to_owned())
            })?
        }
        None => first_gap(&pool.prefixes, &taken, length)
            .ok_or_else(|| refused(format!("Insufficient prefix space to allocate subnet size /{length}")))?,
    };
    if let Some(limit) = pool.default_quota {
        let own = state.subnets_of_pool(pool.id).filter(|s| s.project_id == project);
        let used = own.fold(0_u64, |sum, s| sum.saturating_add(weight(&s.cidr)));
        if used.saturating_add(weight(&range)) > limit {
            let why = "Per-tenant subnet pool prefix quota exceeded.";
            return Err(Error::conflict(why).coded("SubnetPoolQuotaExceeded"));
        }
    }
    Ok(range)
}

/// The amount of a range in a project's quota of the pool: addresses, or networks of 64 bits.
fn weight(range: &IpNet) -> u64 {
    let bits = if range.addr().is_ipv4() { 32 } else { 64 };
    1_u64.checked_shl(u32::from(bits.max(range.prefix_len()) - range.prefix_len())).unwrap_or(u64::MAX)
}

/// The lowest free range of this prefix length in `prefixes`; `taken` is sorted.
fn first_gap(prefixes: &[IpNet], taken: &[IpNet], length: u8) -> Option<IpNet> {
    let mut sorted = prefixes.to_vec();
    sorted.sort_by_key(|p| to_number(p.network()));
    sorted.iter().filter(|p| p.prefix_len() <= length).find_map(|prefix| {
        let size = 1_u128.checked_shl(u32::from(prefix.max_prefix_len() - length))?;
        let (mut candidate, last) = (to_number(prefix.network()), to_number(prefix.broadcast()));
        for other in taken.iter().filter(|t| prefix.contains(*t) || t.contains(prefix)) {
            let (low, high) = (to_number(other.network()), to_number(other.broadcast()));
            if candidate.checked_add(size - 1)? < low {
                break;
            }
            if high >= candidate {
                // The next boundary of this size after the taken range.
                candidate = (high / size).checked_add(1)?.checked_mul(size)?;
            }
        }
        let fits = candidate.checked_add(size - 1)? <= last;
        fits.then(|| IpNet::new(to_address(candidate, prefix.addr()), length).ok())?
    })
}

fn bad(code: &'static str, why: impl Into<String>) -> Error {
    Error::invalid(why.into()).coded(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn gaps_are_found_in_order_and_at_boundaries() {
        let pool = [net("10.0.0.0/22"), net("10.1.0.0/24")];
        assert_eq!(first_gap(&pool, &[], 24), Some(net("10.0.0.0/24")));
        let taken = [net("10.0.0.0/25"), net("10.0.2.0/24")];
        assert_eq!(first_gap(&pool, &taken, 24), Some(net("10.0.1.0/24")));
        assert_eq!(first_gap(&pool, &taken, 25), Some(net("10.0.0.128/25")));
        assert_eq!(first_gap(&pool, &taken, 23), None);
        assert_eq!(first_gap(&pool, &[net("10.0.0.0/22")], 24), Some(net("10.1.0.0/24")));
        assert_eq!(
            first_gap(&[net("255.255.255.0/24")], &[net("255.255.255.0/25")], 25),
            Some(net("255.255.255.128/25"))
        );
        assert_eq!(first_gap(&[net("fd00::/62")], &[net("fd00::/64")], 64), Some(net("fd00:0:0:1::/64")));
    }

    #[test]
    fn quotas_count_addresses_and_networks() {
        assert_eq!(weight(&net("10.0.0.0/24")), 256);
        assert_eq!(weight(&net("fd00::/60")), 16);
        assert_eq!(weight(&net("fd00::/80")), 1);
    }

    proptest! {
        #[test]
        fn what_is_given_out_never_overlaps_and_fills_the_pool(lengths in proptest::collection::vec(26_u8..31, 1..80)) {
            let pool = [net("10.0.0.0/25"), net("10.0.1.0/26")];
            let mut taken: Vec<IpNet> = Vec::new();
            for length in lengths {
                match first_gap(&pool, &taken, length) {
                    Some(range) => {
                        prop_assert!(pool.iter().any(|p| p.contains(&range)) && range.prefix_len() == length);
                        prop_assert!(!taken.iter().any(|t| overlap(t, &range)));
                        taken.push(range);
                        taken.sort_by_key(|c| to_number(c.network()));
                    }
                    None => {
                        let step = 1_u32 << (32 - length);
                        let free = pool.iter().any(|p| {
                            let low = to_number(p.network()) as u32;
                            let size = 1_u32 << (32 - p.prefix_len());
                            (low..low + size).step_by(step as usize).any(|at| {
                                let range = IpNet::new(std::net::Ipv4Addr::from(at).into(), length).unwrap();
                                p.contains(&range) && !taken.iter().any(|t| overlap(t, &range))
                            })
                        });
                        prop_assert!(!free, "there was room for a /{length}");
                    }
                }
            }
        }
    }
}
