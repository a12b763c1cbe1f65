//! Checks by plugins that the host's own configuration allows by name: programs with Nagios's interface (Monitoring
//! Plugins Development Guidelines). The exit code is the level: 0 passed, 1 warning, 2 failed, 3 unknown. The first line of
//! output is the text, up to the performance data after `|`.

use super::Verdict;
use crate::exec::{self, ExecError, Limits};
use lenticular_model::host::evidence::Level;
use std::{path::Path, time::Duration};

/// A plugin.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How often it runs.
    pub every: Duration,
    /// When it is ended with all its children, if it has not ended.
    pub deadline: Duration,
}

/// The longest text that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 512;

impl Plugin {
    /// Runs the plugin once.
    pub(super) async fn run(&self) -> Verdict {
        let Some((program, args)) = self.command.split_first() else {
            return Some((Level::Unknown, "no program is named".to_owned()));
        };
        let limits = Limits { deadline: self.deadline, memory_mb_and_cpu_s: None };
        let ended = exec::run(Path::new(program), args, limits).await;
        match ended {
            Ok(_) => None,
            Err(ExecError::Failed { code: Some(code @ 1..=3), stdout, .. }) => {
                let level = match code {
                    1 => Level::Warn,
                    2 => Level::Fail,
                    _ => Level::Unknown,
                };
                Some((level, first_line(&stdout).unwrap_or_else(|| format!("{program} says nothing"))))
            }
            Err(ExecError::TimedOut { seconds, .. }) => {
                Some((Level::Unknown, format!("{program} did not end within {seconds} s")))
            }
            Err(ExecError::Missing(_) | ExecError::Start { .. }) => {
                Some((Level::Unknown, format!("{program} cannot be run. Look at the agent's configuration.")))
            }
            Err(error) => Some((Level::Unknown, error.to_string())),
        }
    }
}

/// The text of a plugin, without performance data and without characters that a terminal would obey.
fn first_line(output: &str) -> Option<String> {
    let line = output.lines().next()?.split('|').next()?.trim();
    let plain: String = line.chars().filter(|c| !c.is_control()).collect();
    let end = plain.floor_char_boundary(TEXT_BYTES_MAX);
    (!plain.is_empty()).then(|| plain[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(script: &str) -> Plugin {
        let command = ["sh", "-c", script].map(str::to_owned).into();
        Plugin { command, every: Duration::from_secs(60), deadline: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn the_exit_code_is_the_level_and_the_first_line_the_text() {
        for (code, level) in [(1, Level::Warn), (2, Level::Fail), (3, Level::Unknown)] {
            let script = format!("echo 'DISK 91%\u{1b}[31m | used=91%;80;90'; echo more; exit {code}");
            assert_eq!(plugin(&script).run().await, Some((level, "DISK 91%[31m".to_owned())));
        }
        assert_eq!(plugin("echo OK; exit 0").run().await, None);
        assert_eq!(plugin("exit 2").run().await, Some((Level::Fail, "sh says nothing".to_owned())));
    }

    #[tokio::test]
    async fn what_does_not_keep_the_rules_is_unknown() {
        let unknown = |verdict: Verdict, words: &str| {
            let (level, text) = verdict.unwrap();
            assert!(level == Level::Unknown && text.contains(words), "{level:?} {text}");
        };
        unknown(plugin("exit 4").run().await, "4");
        let missing = Plugin { command: vec!["/no/such/plugin".to_owned()], ..plugin("") };
        unknown(missing.run().await, "cannot be run");
        // It floods, and its text is cut.
        let (_, text) = plugin("yes x | head -c 10000000 | tr -d '\\n'; exit 2").run().await.unwrap();
        assert_eq!(text.len(), TEXT_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_plugin_that_hangs_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("sleep 600 & echo $! > {0}; echo $$ >> {0}; wait", pids.display());
        let (level, text) = plugin(&script).run().await.unwrap();
        assert!(level == Level::Unknown && text.contains("did not end within 1 s"), "{text}");
        let pids = std::fs::read_to_string(pids).unwrap();
        assert_eq!(pids.lines().count(), 2);
        crate::testing::all_end(&pids).await;
    }
}
