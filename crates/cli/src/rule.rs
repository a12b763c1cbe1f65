//! Rules about hosts: `lenticular rule`.

use crate::{
    CloudArgs,
    client::{Client, escape},
    cloud,
    table::{Screen, Table, always, dropped},
};
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use lenticular_wire::operator::{EnforceAsk, RuleAsk, RuleEffects, RuleView};
use std::io::Write;

/// The commands for rules.
#[derive(Debug, Clone, Subcommand)]
pub enum RuleCommand {
    /// Lists the rules, and the hosts that break each of them.
    List {
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Adds a rule. Hosts that break it take no more servers; the servers that run there run on.
    Add(AddArgs),
    /// Puts a draft in force: hosts that break it take no more servers.
    Enforce {
        /// Its name.
        name: String,
        /// Enforces a rule that closes more than a third of a zone, or leaves no room for the servers of one host.
        #[arg(long)]
        yes_close: bool,
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Removes a rule.
    Remove {
        /// Its name.
        name: String,
    },
}

/// What a rule does.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Effect {
    /// Hosts with such a version take no servers.
    Deny,
    /// Hosts without such a version take no servers.
    Require,
}

/// A new rule.
#[derive(Debug, Clone, Args)]
pub struct AddArgs {
    /// What it does.
    effect: Effect,
    /// What it is about: kernel, kernel-installed, qemu, agent, microcode, ovs, ovn, libc, snapshot, package:NAME, or
    /// check:NAME.
    subject: String,
    /// The versions, in the order of the host's distribution: '>=3.13.0-24 <3.13.0-46'; '*' is every version.
    #[arg(default_value = "*")]
    range: String,
    /// The reason. It is shown wherever the rule closes a host.
    #[arg(long)]
    reason: String,
    /// Where people read more.
    #[arg(long)]
    link: Option<String>,
    /// The rule's name; else one of the effect and the subject.
    #[arg(long, default_value = "")]
    name: String,
    /// Only the hosts of this zone.
    #[arg(long, conflicts_with = "aggregate")]
    zone: Option<String>,
    /// Only the hosts of this aggregate.
    #[arg(long)]
    aggregate: Option<String>,
    /// Shows what the rule would close, and adds nothing.
    #[arg(long)]
    dry_run: bool,
    /// Adds a draft: a rule that closes nothing, and shows in `rule list` what it would close.
    #[arg(long, conflicts_with = "dry_run")]
    draft: bool,
    /// Adds a rule that closes more than a third of a zone, or leaves no room for the servers of one host.
    #[arg(long)]
    yes_close: bool,
    /// Prints JSON, for scripts.
    #[arg(long)]
    json: bool,
}

/// Shows rules, adds and removes them.
///
/// # Errors
/// The cloud cannot be reached, or refuses.
pub fn rule(command: &RuleCommand, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::login(&cloud::find(cloud)?)?;
    let mut screen = Screen::new(out);
    match command {
        RuleCommand::List { json } => {
            let rules = client.get::<Vec<RuleView>>("/operator/v1/rules")?;
            match json {
                true => screen.json(&rules),
                false => list(&rules, &mut screen),
            }
        }
        RuleCommand::Add(args) => {
            let effects = client.post::<RuleEffects>("/operator/v1/rules", &ask(args))?;
            match args.json {
                true => screen.json(&effects),
                false => show(&effects, &mut screen),
            }
        }
        RuleCommand::Enforce { name, yes_close, json } => {
            let path = format!("/operator/v1/rules/{}/enforce", escape(name));
            let effects = client.post::<RuleEffects>(&path, &EnforceAsk { yes_close: *yes_close })?;
            match json {
                true => screen.json(&effects),
                false => show(&effects, &mut screen),
            }
        }
        RuleCommand::Remove { name } => {
            let path = format!("/operator/v1/rules/{}/remove", escape(name));
            client.post::<serde_json::Value>(&path, &serde_json::json!({}))?;
            screen
                .line(&format!("Rule {name} is removed. If it alone closed hosts, they take servers again."))
        }
    }
}

fn ask(args: &AddArgs) -> RuleAsk {
    RuleAsk {
        name: args.name.clone(),
        effect: match args.effect {
            Effect::Deny => "deny".to_owned(),
            Effect::Require => "require".to_owned(),
        },
        subject: args.subject.clone(),
        range: args.range.clone(),
        zone: args.zone.clone(),
        aggregate: args.aggregate.clone(),
        reason: args.reason.clone(),
        link: args.link.clone(),
        dry_run: args.dry_run,
        draft: args.draft,
        yes_close: args.yes_close,
    }
}

fn list<W: Write>(rules: &[RuleView], screen: &mut Screen<W>) -> Result<()> {
    let mut table = Table::new(&[
        always("rule"),
        always("does"),
        always("closes"),
        dropped(1, "reason"),
        dropped(2, "scope"),
        dropped(3, "by"),
        dropped(4, "since"),
        dropped(5, "link"),
    ]);
    for rule in rules {
        let range = if rule.subject.starts_with("check:") { "" } else { &rule.range };
        table.row([
            &rule.name,
            format!("{} {} {}", rule.effect, rule.subject, range).trim_end(),
            &closes(rule),
            &rule.reason,
            &rule.scope,
            &rule.by,
            rule.since.as_deref().unwrap_or_default(),
            rule.link.as_deref().unwrap_or_default(),
        ]);
    }
    table.print(screen)
}

/// The hosts that a rule closes, or would close.
fn closes(rule: &RuleView) -> String {
    let would = if rule.draft { "draft, would close " } else { "" };
    let unknown = match rule.unknown.len() {
        0 => String::new(),
        n => format!(" ({n} do not report {})", rule.subject),
    };
    format!("{would}{}{unknown}", some(&rule.hosts))
}

/// At most so many names are shown.
const NAMES_MAX: usize = 5;

/// A few of the names, and the number of the others.
pub fn some(names: &[String]) -> String {
    match names.len() {
        0 => "no host".to_owned(),
        n if n <= NAMES_MAX => names.join(", "),
        n => format!("{} and {} more", names[..NAMES_MAX].join(", "), n - NAMES_MAX),
    }
}

fn show<W: Write>(effects: &RuleEffects, screen: &mut Screen<W>) -> Result<()> {
    let RuleEffects { rule, added, closes, unknown, too_much } = effects;
    let verb = match (rule.draft, *added) {
        (true, _) => "is a draft, and closes nothing. In force, it would close",
        (false, true) => "closes",
        (false, false) => "would close",
    };
    let servers: u64 = closes.iter().map(|host| host.servers).sum();
    let hosts = if closes.len() == 1 { "1 host".to_owned() } else { format!("{} hosts", closes.len()) };
    let there = match (closes.is_empty(), servers) {
        (true, _) => String::new(),
        (_, 0) => " No server runs there.".to_owned(),
        (_, 1) => " 1 server runs there, and runs on.".to_owned(),
        (_, n) => format!(" {n} servers run there, and run on."),
    };
    screen.line(&format!("Rule {} {verb} {hosts}.{there}", rule.name))?;
    if !closes.is_empty() {
        let mut table = Table::new(&[always("host"), always("zone"), always("servers")]);
        closes.iter().for_each(|host| table.row([&host.name, &host.zone, &host.servers.to_string()]));
        table.print(screen)?;
    }
    if !unknown.is_empty() {
        let names = some(unknown);
        screen
            .line(&format!("These hosts do not report {}, and so break the rule: {names}.", rule.subject))?;
    }
    if rule.draft {
        screen.line(&format!(
            "Hosts may answer within a minute. See `lenticular rule list`, and then: lenticular rule enforce {}",
            rule.name
        ))?;
    } else if !*added {
        let needs = if too_much.is_empty() { "" } else { ", with --yes-close" };
        let much = too_much.iter().map(|why| format!("It closes much: {why}. "));
        screen.line(&format!(
            "{}Nothing was changed. Add the rule without --dry-run{needs}.",
            much.collect::<String>()
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_wire::operator::ClosedHost;

    fn view() -> RuleView {
        RuleView {
            name: "bad-kernel".to_owned(),
            effect: "deny".to_owned(),
            subject: "kernel".to_owned(),
            range: ">=3.13.0-24 <3.13.0-46".to_owned(),
            scope: "all hosts".to_owned(),
            reason: "guests lose time".to_owned(),
            link: Some("https://bugs.example/1413540".to_owned()),
            by: "admin".to_owned(),
            since: Some("2026-11-30T09:00:00Z".to_owned()),
            draft: false,
            unknown: Vec::new(),
            hosts: (1..=7).map(|n| format!("rack-1-host-0{n}")).collect(),
        }
    }

    #[test]
    fn rules_are_a_table() {
        let (name, subject, link) = ("deny-openssl".to_owned(), "package:openssl".to_owned(), None);
        let (draft, unknown) = (true, vec!["rack-1-host-07".to_owned()]);
        let draft = RuleView { name, subject, link, draft, unknown, range: "<3.0.17".to_owned(), ..view() };
        insta::assert_snapshot!(Screen::printed(|screen| list(&[view(), draft], screen)));
    }

    #[test]
    fn a_look_says_what_a_rule_would_close() {
        let closed =
            |n: u64| ClosedHost { name: format!("rack-1-host-0{n}"), zone: "east".to_owned(), servers: n };
        let effects = RuleEffects {
            rule: RuleView { since: None, ..view() },
            added: false,
            closes: vec![closed(1), closed(2)],
            unknown: vec!["rack-9-host-01".to_owned()],
            too_much: vec!["2 of the 3 hosts of zone east that take servers".to_owned()],
        };
        insta::assert_snapshot!(Screen::printed(|screen| show(&effects, screen)));
    }
}
