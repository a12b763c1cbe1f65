//! Fencing by a command on the control plane's machine: `ipmitool`, a Redfish client, a fence agent, or a script.
//!
//! ```toml
//! [fencing.ipmi]
//! off = ["ipmitool", "-I", "lanplus", "-H", "{host}-bmc", "-U", "fence", "-f", "/etc/lenticular/bmc", "power", "off"]
//! confirm = ["ipmitool", "-I", "lanplus", "-H", "{host}-bmc", "-U", "fence", "-f", "/etc/lenticular/bmc", "power", "status"]
//! expect = "Chassis Power is off"
//! ```
//!
//! Success of `off` alone proves nothing: machines take time, and some controllers report success for everything.
//! So there is always a second command. It is repeated until its output contains `expect`, or until the deadline.

use crate::exec;
use lenticular_api::{FenceDriver, Fencing};
use lenticular_model::host::host::Host;
use serde::Deserialize;
use std::time::Duration;

/// The pause between two checks whether the host is off.
const AGAIN: Duration = Duration::from_millis(500);
/// How much of the command's output is kept, in characters.
const SAID_CHARS_MAX: usize = 500;

/// Commands that switch a host off and check that it is off. In each word, `{host}` is replaced by the host's
/// name, and `{address}` by its address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FenceCommand {
    /// Switches the host off. May run for a host that is already off.
    off: Vec<String>,
    /// Reports whether the host is off.
    confirm: Vec<String>,
    /// A part of `confirm`'s output that proves that the host is off.
    expect: String,
    /// The deadline of the whole fencing, in seconds.
    #[serde(default = "default_deadline_s")]
    deadline_s: u64,
}

fn default_deadline_s() -> u64 {
    60
}

impl FenceCommand {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Names the missing part.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.off.is_empty() || self.confirm.is_empty() {
            return Err("'off' and 'confirm' must each name a program".to_owned());
        }
        if self.expect.trim().is_empty() {
            return Err("'expect' must name what 'confirm' says of a host that is off".to_owned());
        }
        if !(1..=540).contains(&self.deadline_s) {
            return Err("'deadline_s' must be 1 to 540".to_owned());
        }
        Ok(())
    }

    async fn run(&self, host: &Host) -> Result<String, String> {
        let words = |words: &[String]| -> Vec<String> {
            let fill = |word: &String| word.replace("{host}", &host.name).replace("{address}", &host.address);
            words.iter().map(fill).collect()
        };
        let (off, confirm) = (words(&self.off), words(&self.confirm));
        // The command's own result does not count; only the state that is seen afterwards counts.
        let switched = exec::run_in_time(&off).await.map_err(|error| format!("{error:#}"));
        loop {
            let said = exec::run_in_time(&confirm).await;
            match (said, &switched) {
                (Ok(said), _) if said.contains(&self.expect) => {
                    return Ok(said.trim().chars().take(SAID_CHARS_MAX).collect());
                }
                (_, Err(why)) => return Err(format!("it could not be switched off: {why}")),
                _ => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

impl FenceDriver for FenceCommand {
    fn off<'a>(&'a self, host: &'a Host) -> Fencing<'a> {
        Box::pin(async move {
            match tokio::time::timeout(Duration::from_secs(self.deadline_s), self.run(host)).await {
                Ok(done) => done,
                Err(_) => Err(format!(
                    "it was not seen to be off within {} s ('{}' did not say '{}')",
                    self.deadline_s,
                    self.confirm.join(" "),
                    self.expect
                )),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        let capacity = serde_json::json!({"vcpus": 1, "memory_mb": 1, "disk_gb": 1});
        let hypervisor = serde_json::json!({"driver": "sim", "version": 1, "acceleration": "", "arch": "", "cpu_model": ""});
        serde_json::from_value(serde_json::json!({
            "id": "00000000-0000-0000-0000-000000000001", "created_at": 1, "updated_at": null, "name": name,
            "intent": {"is": "enabled"}, "zone": "nova", "address": "10.0.0.1", "capacity": capacity,
            "hypervisor": hypervisor, "boot_id": "", "number": 1, "cpu_ratio": 1.0,
        }))
        .unwrap()
    }

    fn command(off: &str, confirm: &str, expect: &str) -> FenceCommand {
        let sh = |script: &str| ["sh", "-c", script, "sh", "{host}"].map(str::to_owned).to_vec();
        FenceCommand { off: sh(off), confirm: sh(confirm), expect: expect.to_owned(), deadline_s: 5 }
    }

    #[tokio::test]
    async fn only_what_is_seen_off_counts_as_off() {
        let dir = tempfile::tempdir().unwrap();
        let power = dir.path().join("power");
        let at = power.display();
        let right = command(&format!("echo $1 is off > {at}"), &format!("cat {at}"), "is off");
        assert_eq!(right.off(&host("rack-1")).await, Ok("rack-1 is off".to_owned()));
        // The command reports success and does nothing.
        std::fs::write(&power, "is on").unwrap();
        let liar = FenceCommand { deadline_s: 1, ..command("true", &format!("cat {at}"), "is off") };
        assert!(liar.off(&host("rack-1")).await.unwrap_err().contains("not seen to be off within 1 s"));
        // The command fails, but the host is off already.
        std::fs::write(&power, "is off").unwrap();
        assert!(command("false", &format!("cat {at}"), "is off").off(&host("rack-1")).await.is_ok());
        let broken = command("echo no such controller >&2; false", "echo is on", "is off");
        assert!(broken.off(&host("rack-1")).await.unwrap_err().contains("no such controller"));
    }

    #[test]
    fn a_driver_that_would_believe_anything_is_refused() {
        let good = command("true", "true", "off");
        assert!(good.check().is_ok());
        assert!(FenceCommand { expect: " ".to_owned(), ..good.clone() }.check().is_err());
        assert!(FenceCommand { confirm: Vec::new(), ..good.clone() }.check().is_err());
        assert!(FenceCommand { deadline_s: 0, ..good }.check().is_err());
    }
}
