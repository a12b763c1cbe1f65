//! Why a server is on its host, or on none: `lenticular server explain`.

use crate::table::{Screen, Table, always};
use anyhow::Result;
use clap::Args;
use lenticular_wire::operator::{Explanation, HostWord};
use std::{collections::BTreeMap, io::Write};

/// The server, and the amount of output.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Its id, or its name if no other has it.
    pub server: String,
    /// Shows this host alone.
    #[arg(long)]
    pub host: Option<String>,
    /// Shows at most this many hosts, the best first.
    #[arg(long, default_value_t = 20)]
    pub hosts: u64,
    /// Shows the result of every filter and every weigher for each host.
    #[arg(long)]
    pub all: bool,
    /// Prints JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// Prints the recorded decision and the current one: a line for each host, the best first.
pub fn show<W: Write>(e: &Explanation, args: &ExplainArgs, screen: &mut Screen<W>) -> Result<()> {
    summary(e, screen)?;
    let then = decided(e);
    let mut table =
        Table::new(&[always("host"), always("when it was placed"), always("if it were placed now")]);
    let recorded = |host: &str| then.get(host).map_or("", String::as_str);
    for word in &e.now {
        table.row([&word.host, recorded(&word.host), &says(word)]);
    }
    let listed = |host: &str| e.now.iter().any(|word| word.host == host);
    let gone = then.keys().filter(|host| e.now.len() == e.now_count && !listed(host));
    for host in gone {
        table.row([host, recorded(host), "is no longer there"]);
    }
    table.print(screen)?;
    if e.now.len() < e.now_count && args.host.is_none() {
        let more = e.now_count - e.now.len();
        screen.line(&format!("{more} more hosts: --hosts N shows more of them, --host NAME shows one."))?;
    }
    let named = e.accepted.len() + e.refused.iter().map(|refusal| refusal.hosts.len()).sum::<usize>();
    if named < e.accepted_count + e.counts.values().sum::<usize>() {
        screen.line("Of many hosts the record names the best, and a few of those that a filter refused.")?;
    }
    screen.line("A weight compares hosts that pass; 0 for all of them means that they are alike.")?;
    if args.all {
        every_word(e, screen)?;
    }
    Ok(())
}

fn summary<W: Write>(e: &Explanation, screen: &mut Screen<W>) -> Result<()> {
    screen.line(&match &e.chosen {
        Some(host) => format!("Server {} ({}) was placed on {host}.", e.name, e.id),
        None => format!("Server {} ({}) found no host.", e.name, e.id),
    })?;
    let all = e.accepted_count + e.counts.values().sum::<usize>();
    let refused = e.counts.iter().map(|(filter, count)| format!(", {filter} refused {count}"));
    let refused: String = refused.collect();
    screen.line(&format!("Then {} of {all} hosts passed{refused}.", e.accepted_count))?;
    screen.line(&format!("Now {} of {} hosts pass.", e.now_passed, e.now_count))
}

/// The recorded decision's result for each host that it names.
fn decided(e: &Explanation) -> BTreeMap<&str, String> {
    let passed = e.accepted.iter().map(|(host, weight)| {
        let word = if e.chosen.as_ref() == Some(host) { "chosen" } else { "passed" };
        (host.as_str(), format!("{word}, weight {weight:.3}"))
    });
    let refused = e.refused.iter().flat_map(|refusal| {
        let text = format!("refused by {}: {}", refusal.filter, refusal.reason);
        refusal.hosts.iter().map(move |host| (host.as_str(), text.clone()))
    });
    passed.chain(refused).collect()
}

/// Whether a host passes now; otherwise the first filter that refuses it, and the reason.
fn says(word: &HostWord) -> String {
    let refusal = word.words.iter().find_map(|(filter, refusal)| Some((filter, refusal.as_ref()?)));
    match (refusal, word.weight) {
        (Some((filter, why)), _) => format!("refused by {filter}: {why}"),
        (None, Some(weight)) => format!("passes, weight {weight:.3}"),
        (None, None) => "passes".to_owned(),
    }
}

/// The current result of every filter and every weigher.
fn every_word<W: Write>(e: &Explanation, screen: &mut Screen<W>) -> Result<()> {
    let mut table = Table::new(&[always("host"), always("filter or weigher"), always("says now")]);
    for word in &e.now {
        for (filter, refusal) in &word.words {
            table.row([
                &word.host,
                filter,
                &refusal.as_ref().map_or("passes".to_owned(), |why| format!("refuses: {why}")),
            ]);
        }
        for w in &word.weighers {
            // Adding zero turns -0 into 0.
            let says = format!("{} {}, adds {:.3}", w.measured, w.unit, w.adds + 0.0);
            table.row([&word.host, &w.name, &says]);
        }
    }
    table.print(screen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_wire::operator::{Refusal, WeigherView};

    fn args(all: bool) -> ExplainArgs {
        ExplainArgs { server: "web-1".to_owned(), host: None, hosts: 20, all, json: false }
    }

    fn word(host: &str, weight: Option<f64>, refusal: Option<(usize, &str)>) -> HostWord {
        let filters =
            ["ComputeFilter", "AvailabilityZoneFilter", "ServerGroupAntiAffinityFilter", "MEMORY_MB"];
        let why = |n: usize| refusal.filter(|(at, _)| *at == n).map(|(_, why)| why.to_owned());
        let weigher = |name: &str, unit: &str, measured, adds| WeigherView {
            name: name.to_owned(),
            measured,
            unit: unit.to_owned(),
            adds,
        };
        let weighers = weight.map(|weight| {
            vec![
                weigher("RAMWeigher", "MiB of memory free", 241_664.0, weight),
                weigher("IoOpsWeigher", "servers being made or moved", 1.0, -0.0),
            ]
        });
        HostWord {
            host: host.to_owned(),
            weight,
            weighers: weighers.unwrap_or_default(),
            words: filters.iter().enumerate().map(|(n, filter)| ((*filter).to_owned(), why(n))).collect(),
        }
    }

    fn explanation() -> Explanation {
        let refusal = |filter: &str, reason: &str, hosts: &[&str]| Refusal {
            filter: filter.to_owned(),
            reason: reason.to_owned(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        Explanation {
            id: "11e4a1f0-6b1c-4c53-9f7d-2d5a8c0b9e31".to_owned(),
            name: "web-1".to_owned(),
            chosen: Some("rack-1-host-07".to_owned()),
            accepted: vec![("rack-1-host-07".to_owned(), 2.75), ("rack-1-host-08".to_owned(), 1.125)],
            accepted_count: 2,
            refused: vec![
                refusal(
                    "ComputeFilter",
                    "is disabled: waits for new memory, ticket 4711",
                    &["rack-2-host-11"],
                ),
                refusal(
                    "ServerGroupAntiAffinityFilter",
                    "has 1 of the server group already",
                    &["rack-2-host-12"],
                ),
            ],
            counts: BTreeMap::from([
                ("ComputeFilter".to_owned(), 1),
                ("ServerGroupAntiAffinityFilter".to_owned(), 1),
            ]),
            now: vec![
                word("rack-1-host-07", Some(2.5), None),
                word("rack-2-host-11", Some(0.0), None),
                word("rack-1-host-08", None, Some((0, "is silent since 2026-11-30T09:58:40Z"))),
                word("rack-2-host-13", None, Some((3, "has 512 MEMORY_MB left, 2048 needed"))),
            ],
            now_count: 4,
            now_passed: 2,
        }
    }

    #[test]
    fn a_placed_server_is_explained_with_a_line_for_each_host() {
        insta::assert_snapshot!(Screen::printed(|screen| show(&explanation(), &args(false), screen)));
    }

    #[test]
    fn all_shows_every_filter_and_weigher() {
        insta::assert_snapshot!(Screen::printed(|screen| show(&explanation(), &args(true), screen)));
    }

    #[test]
    fn a_server_without_a_host_is_explained_in_a_large_cloud() {
        let hosts: Vec<String> = (1..=2).map(|n| format!("rack-1-host-{n:02}")).collect();
        let large = Explanation {
            chosen: None,
            accepted: Vec::new(),
            accepted_count: 0,
            refused: vec![Refusal {
                filter: "MEMORY_MB".to_owned(),
                reason: "has 1536 MEMORY_MB left, 2048 needed".to_owned(),
                hosts: hosts.clone(),
            }],
            counts: BTreeMap::from([("MEMORY_MB".to_owned(), 100)]),
            now: hosts
                .iter()
                .map(|host| word(host, None, Some((3, "has 512 MEMORY_MB left, 2048 needed"))))
                .collect(),
            now_count: 100,
            now_passed: 0,
            ..explanation()
        };
        insta::assert_snapshot!(Screen::printed(|screen| show(&large, &args(false), screen)));
    }
}
