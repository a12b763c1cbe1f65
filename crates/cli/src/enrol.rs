//! Enrolment and retirement of hosts: `lenticular host enrol`, `retire` and `refusals`.

use crate::{
    client::{Client, escape},
    table::{Screen, Table, always, dropped},
};
use anyhow::Result;
use clap::Subcommand;
use lenticular_wire::operator::{EnrolAsk, EnrolToken, JournalLine, RetireAsk, RetiredView};
use std::io::Write;

/// The commands for enrolment and retirement.
#[derive(Debug, Clone, Subcommand)]
pub enum EnrolCommand {
    /// Makes a token that enrols one host, once.
    Enrol {
        /// The only host name that the token is valid for. Without a name, the token is valid for any unused
        /// name.
        name: Option<String>,
        /// How long the token is valid: 90s, 30m, 1h, 2d.
        #[arg(long, default_value = "1h", value_parser = seconds)]
        valid_for: i64,
        /// Replaces the host of that name: its certificate is revoked when the new host joins.
        #[arg(long, requires = "name")]
        replace: bool,
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Takes a host out for good, and revokes its certificate. The host must have no servers.
    Retire {
        /// Its name.
        name: String,
        /// The host is lost, and the disks of its servers with it. Only for a host that is silent.
        #[arg(long)]
        force: bool,
    },
    /// Lists agents that were refused: who, when and why.
    Refusals {
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
}

/// Makes a token, retires a host or lists refusals.
pub fn enrol<W: Write>(command: &EnrolCommand, client: &Client, screen: &mut Screen<W>) -> Result<()> {
    match command {
        EnrolCommand::Enrol { name, valid_for, replace, json } => {
            let ask = EnrolAsk { name: name.clone(), valid_for_s: *valid_for, replace: *replace };
            let made: EnrolToken = client.post("/operator/v1/hosts/enrol", &ask)?;
            match json {
                true => screen.json(&made),
                false => token(&made, screen),
            }
        }
        EnrolCommand::Retire { name, force } => {
            let path = format!("/operator/v1/hosts/{}/retire", escape(name));
            retired(&client.post::<RetiredView>(&path, &RetireAsk { force: *force })?, screen)
        }
        EnrolCommand::Refusals { json } => {
            let lines = client.get::<Vec<JournalLine>>("/operator/v1/refusals")?;
            match json {
                true => screen.json(&lines),
                false => refusals(&lines, screen),
            }
        }
    }
}

/// Prints a token for a host, and how to use it.
fn token<W: Write>(made: &EnrolToken, screen: &mut Screen<W>) -> Result<()> {
    let (join, token) = (&made.join, &made.token);
    screen.verbatim(&format!("{token}\n"))?;
    screen
        .line(&format!("With this token one host can join, until {}. Run on that host:", made.expires_at))?;
    let name = made.name.as_ref().map(|name| format!(" --name {name}")).unwrap_or_default();
    screen.verbatim(&format!("\n    lenticular agent --join {join}{name} \\"))?;
    screen.verbatim(&format!("        --state /var/lib/lenticular-agent \\\n        --token {token}"))
}

fn retired<W: Write>(retired: &RetiredView, screen: &mut Screen<W>) -> Result<()> {
    screen.line(&format!("Host {} is retired. Its certificate is revoked.", retired.name))?;
    for server in &retired.lost {
        screen.line(&format!("Server {server} lost its disk with the host, and is in ERROR."))?;
    }
    Ok(())
}

fn refusals<W: Write>(lines: &[JournalLine], screen: &mut Screen<W>) -> Result<()> {
    let columns = [dropped(2, "commit"), always("at"), always("agent"), always("why"), dropped(3, "request")];
    let mut table = Table::new(&columns);
    for line in lines {
        table.row([&line.seq.to_string(), &line.at, &line.by, &line.why, &line.request_id]);
    }
    table.print(screen)
}

/// Reads a time such as `90s`, `30m`, `1h` or `2d`.
fn seconds(text: &str) -> Result<i64, String> {
    let unit = text.char_indices().next_back().map_or(0, |(at, _)| at);
    let (number, unit) = text.split_at(unit);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        _ => return Err("write a number and a unit: 90s, 30m, 1h, 2d".to_owned()),
    };
    let number: i64 = number.parse().map_err(|_| format!("'{number}' is not a whole number"))?;
    let time = number.checked_mul(unit).filter(|s| *s > 0);
    time.ok_or_else(|| "write a time that is longer than 0s and shorter than a human life".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("2d"), Ok(172_800));
        for bad in ["", "h", "1", "1x", "-1h", "0s", "1ü", "99999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_comes_with_the_command_that_uses_it() {
        let made = EnrolToken {
            token: "3q2-7wAAAABqLk2pVJ8hQ5mYb0nXc1dE.kT4uR6sW9zA2bC5eF8gH1iJ3".to_owned(),
            expires_at: "2026-11-30T11:00:00Z".to_owned(),
            join: "https://10.20.0.1:9171".to_owned(),
            name: Some("rack-1-host-07".to_owned()),
        };
        insta::assert_snapshot!(Screen::printed(|screen| token(&made, screen)));
    }

    #[test]
    fn a_retired_host_is_told_with_what_it_took_along() {
        let lost = vec!["5b9c7a0e-3f61-4b0c-9d0e-8a6f1c2b4d5e".to_owned()];
        let view = RetiredView { name: "rack-1-host-07".to_owned(), lost };
        insta::assert_snapshot!(Screen::printed(|screen| retired(&view, screen)));
    }

    #[test]
    fn refusals_are_a_table() {
        let line = |seq, host: &str, why: &str| JournalLine {
            seq,
            at: "2026-11-30T10:02:11Z".to_owned(),
            actor: format!("host/{host}"),
            by: format!("host {host}"),
            request_id: "req-4f0a9c2d-e1b8-4c57-a3d8-6f0e2b7c9a15".to_owned(),
            why: why.to_owned(),
            changes: Vec::new(),
        };
        let lines = [
            line(412, "rack-1-host-07", "The certificate of this host was revoked. Enrol the host again."),
            line(97_133, "rack-2-host-11", "The token was used already; make another: lenticular host enrol"),
        ];
        insta::assert_snapshot!(Screen::printed(|screen| refusals(&lines, screen)));
    }
}
