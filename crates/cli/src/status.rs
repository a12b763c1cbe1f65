//! The state of the cloud: `lenticular status`.

use crate::{
    CloudArgs,
    client::Client,
    cloud,
    rule::some,
    table::{Screen, Table, always, dropped},
};
use anyhow::Result;
use lenticular_wire::operator::StatusView;
use std::io::Write;

/// Shows which hosts take servers, why others do not, and what operators overrule.
///
/// # Errors
/// The cloud cannot be reached, or refuses.
pub fn status(json: bool, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let status = Client::login(&cloud::find(cloud)?)?.get::<StatusView>("/operator/v1/status")?;
    let mut screen = Screen::new(out);
    match json {
        true => screen.json(&status),
        false => show(&status, &mut screen),
    }
}

fn show<W: Write>(status: &StatusView, screen: &mut Screen<W>) -> Result<()> {
    screen.line(&format!("{} of {} hosts take servers.", status.ready, status.hosts))?;
    status.events.iter().try_for_each(|event| screen.line(event))?;
    if !status.closed.is_empty() {
        let mut table = Table::new(&[always("because of"), always("hosts"), always("why")]);
        for closed in &status.closed {
            table.row([&closed.what, &some(&closed.hosts), &closed.why]);
        }
        table.print(screen)?;
    }
    if !status.overrides.is_empty() {
        let columns =
            [always("overruled"), always("on"), always("until"), dropped(1, "reason"), dropped(2, "by")];
        let mut table = Table::new(&columns);
        for one in &status.overrides {
            table.row([&one.line, &one.host, &one.until, &one.reason, &one.by]);
        }
        table.print(screen)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_wire::operator::{ClosedFor, OverrideView};

    #[test]
    fn the_state_of_the_cloud_is_a_page() {
        let closed = |what: &str, why: &str, hosts: &[&str]| ClosedFor {
            what: what.to_owned(),
            hosts: hosts.iter().map(|name| (*name).to_owned()).collect(),
            why: why.to_owned(),
        };
        let status = StatusView {
            hosts: 12,
            ready: 9,
            closed: vec![
                closed("silent", "since 2026-11-30T09:58:40Z", &["rack-2-host-11"]),
                closed(
                    "rule bad-kernel",
                    "kernel 3.13.0-24.46 is denied by rule bad-kernel: guests lose time",
                    &["rack-1-host-01", "rack-1-host-02"],
                ),
            ],
            events: vec!["3 of 12 hosts of zone nova reach no other host.".to_owned()],
            overrides: vec![OverrideView {
                host: "rack-1-host-03".to_owned(),
                line: "rule bad-kernel".to_owned(),
                reason: "the only host with a GPU".to_owned(),
                by: "admin".to_owned(),
                until: "2026-11-30T18:00:00Z".to_owned(),
            }],
        };
        insta::assert_snapshot!(Screen::printed(|screen| show(&status, screen)));
    }
}
