//! Scenarios: a story told in lines that an operator can read, run in a world in which nothing else happens.
//!
//! ```text
//! # Anything after a hash is for people.
//! hosts 4
//! at 10s: create 5 servers
//! at 20s: crash control-plane
//! at 50s: start control-plane
//! at 60s: expect 5 active
//! at 90s: expect rest
//! ```
//!
//! What can be done: `create N servers [on host H]`, `delete|start|stop|reboot server N`, `disable|enable host H`,
//! `reboot host H`, `crash agent H`, `silence host H`, `kill a guest on host H`, `crash control-plane`,
//! `start control-plane`. Servers and hosts are numbered from 1, servers in the order of their making. What can be
//! expected: `N active|building|stopped|error|silent` (silent are hosts), `N running` (guests that really run), and
//! `rest` (nothing is under way).

use crate::{
    config::Config,
    event::ClientRequest,
    world::{BEGIN, World},
};
use lenticular_agent::core::Ended;
use lenticular_model::{
    ServerId,
    compute::server::{BootStyle, Condition, Server},
    host::host::Intent,
    policy::RoleLevel,
};
use std::sync::Arc;

/// A line of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    number: usize,
    at_s: i64,
    words: Vec<String>,
}

/// A story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    hosts: usize,
    seed: u64,
    lines: Vec<Line>,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// A line is invalid; the error names it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scenario = Self { hosts: 3, seed: 1, lines: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let number = index + 1;
            let bad = |why: &str| format!("line {number}: {why}: {line}");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["hosts", n] => scenario.hosts = n.parse().map_err(|_| bad("hosts needs a number"))?,
                ["seed", n] => scenario.seed = n.parse().map_err(|_| bad("seed needs a number"))?,
                ["at", time, ..] if words.len() > 2 => {
                    let at = time.strip_suffix("s:").and_then(|s| s.parse().ok());
                    let at_s = at.ok_or_else(|| bad("a time is written as 'at 10s:'"))?;
                    let words = words[2..].iter().map(|w| (*w).to_owned()).collect();
                    scenario.lines.push(Line { number, at_s, words });
                }
                _ => return Err(bad("a line is 'hosts N', 'seed N' or 'at Ns: …'")),
            }
        }
        if scenario.lines.windows(2).any(|pair| pair[0].at_s > pair[1].at_s) {
            return Err("the lines are not in the order of their times".to_owned());
        }
        Ok(scenario)
    }

    /// Runs the scenario.
    ///
    /// # Errors
    /// An expectation failed, an invariant was violated, or a line cannot be carried out.
    pub fn run(&self) -> Result<(), String> {
        let mut world = World::new(Config::quiet(self.seed, self.hosts));
        for line in &self.lines {
            world.run_until_s(line.at_s);
            let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
            let said = world.say(&words).map_err(|why| {
                format!("line {}: {why}: {}\n\n{}", line.number, line.words.join(" "), world.trace.tail())
            });
            said?;
            if let Some(violation) = &world.violation {
                let (n, what) = (violation.invariant, &violation.what);
                let tail = world.trace.tail();
                return Err(format!("line {}: invariant {n} is violated: {what}\n\n{tail}", line.number));
            }
        }
        Ok(())
    }
}

impl World {
    fn say(&mut self, words: &[&str]) -> Result<(), String> {
        match *words {
            ["expect", ref what @ ..] => self.expect(what),
            ["create", n, "server" | "servers"] => self.say_create(n, None),
            ["create", n, "server" | "servers", "on", "host", host] => {
                let host = self.host_number(host)?;
                self.say_create(n, Some(host))
            }
            [verb @ ("delete" | "start" | "stop" | "reboot"), "server", n] => self.say_act(verb, n),
            [verb @ ("disable" | "enable"), "host", host] => self.say_intent(verb, host),
            ["reboot", "host", host] => {
                let host = self.host_number(host)?;
                done(self.reboot_host(host))
            }
            ["crash", "agent", host] => {
                let host = self.host_number(host)?;
                done(self.crash_agent(host))
            }
            ["silence", "host", host] => {
                let host = self.host_number(host)?;
                done(self.silence(host))
            }
            ["kill", "a", "guest", "on", "host", host] => {
                let host = self.host_number(host)?;
                done(self.end_guest(host, Ended::Died))
            }
            ["crash", "control-plane"] => {
                self.kill_plane("as told");
                Ok(())
            }
            ["start", "control-plane"] => {
                self.start_plane();
                Ok(())
            }
            _ => Err("nobody knows how to do that".to_owned()),
        }
    }

    fn host_number(&self, text: &str) -> Result<usize, String> {
        let number: Option<usize> = text.parse().ok().filter(|n| (1..=self.hosts.len()).contains(n));
        number.map(|n| n - 1).ok_or_else(|| format!("there is no host {text}"))
    }

    fn say_create(&mut self, count: &str, host: Option<usize>) -> Result<(), String> {
        let count: u32 = count.parse().map_err(|_| format!("'{count}' is no number"))?;
        let ask = self.create("1", count, host);
        let caller = self.clients.caller(0, RoleLevel::Admin);
        self.ask(caller, ask);
        Ok(())
    }

    fn say_act(&mut self, verb: &str, n: &str) -> Result<(), String> {
        let id = self.numbered(n).ok_or_else(|| format!("there is no server {n}"))?;
        let ask = match verb {
            "delete" => ClientRequest::Delete(id),
            "start" => ClientRequest::Start(id),
            "stop" => ClientRequest::Stop(id),
            _ => ClientRequest::Reboot(id, BootStyle::Hard),
        };
        let caller = self.clients.caller(0, RoleLevel::Admin);
        self.ask(caller, ask);
        Ok(())
    }

    fn say_intent(&mut self, verb: &str, host: &str) -> Result<(), String> {
        let number = self.host_number(host)?;
        let id = self.hosts[number].id.ok_or_else(|| format!("host {host} has not registered yet"))?;
        let reason = Some("the scenario says so".to_owned());
        let intent = if verb == "enable" { Intent::Enabled } else { Intent::Disabled { reason } };
        let caller = self.clients.caller(0, RoleLevel::Admin);
        self.ask(caller, ClientRequest::Intent(id, intent));
        Ok(())
    }

    /// The server with this number, in the order of creation.
    fn numbered(&self, n: &str) -> Option<ServerId> {
        let n: usize = n.parse().ok()?;
        let mut servers: Vec<&Arc<Server>> = self.plane.published.servers.values().collect();
        servers.sort_by_key(|s| (s.created_at, s.launch_index));
        servers.get(n.checked_sub(1)?).map(|s| s.id)
    }

    fn expect(&mut self, what: &[&str]) -> Result<(), String> {
        if what == ["rest"] {
            if let Some(why) = self.restless() {
                return Err(format!("not at rest: {why}"));
            }
            self.check_rest();
            return Ok(());
        }
        let [wanted, of] = what else { return Err("'expect N active' or 'expect rest'".to_owned()) };
        let wanted: usize = wanted.parse().map_err(|_| format!("'{wanted}' is no number"))?;
        let count =
            |condition| self.plane.published.servers.values().filter(|s| s.condition == condition).count();
        let found = match *of {
            "active" => count(Condition::Active),
            "building" => count(Condition::Building),
            "stopped" => count(Condition::Stopped),
            "error" => count(Condition::Error),
            "silent" => self.plane.published.hosts.values().filter(|h| !h.is_up()).count(),
            "running" => {
                let guests = self.hosts.iter().flat_map(|h| h.guests.values());
                guests.filter(|real| real.running().is_some()).count()
            }
            other => return Err(format!("nobody knows what '{other}' is")),
        };
        match found == wanted {
            true => Ok(()),
            false => {
                let at_s = self.now.since_ms(BEGIN) / 1_000;
                Err(format!("at {at_s} s there are {found} {of}, and {wanted} were expected"))
            }
        }
    }
}

fn done(done: bool) -> Result<(), String> {
    if done {
        return Ok(());
    }
    Err("there was nothing to do that to".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        assert!(Scenario::parse("at ten: rest").is_err_and(|why| why.starts_with("line 1")));
        assert!(Scenario::parse("at 9s: expect rest\nat 8s: expect rest").is_err());
        let run = |text: &str| Scenario::parse(text).and_then(|s| s.run());
        assert!(run("at 1s: fly to the moon").is_err_and(|why| why.contains("nobody knows")));
        assert!(run("at 1s: reboot host 9").is_err_and(|why| why.contains("no host 9")));
        assert!(
            run("at 5s: create 2 servers\nat 60s: expect 3 active")
                .is_err_and(|why| why.contains("2 active"))
        );
    }
}
