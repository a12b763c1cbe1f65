//! Runs actions: programs that the host's own configuration allows by name.

use super::Runtime;
use crate::exec::{self, ExecError, Limits};
use lenticular_model::host::action::{ActionResult, ActionState, OUTPUT_BYTES_MAX};
use std::{path::Path, time::Duration};

/// A program that the control plane may order by its name.
#[derive(Debug, Clone)]
pub struct HostAction {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// When it is ended with all its children, if it has not ended.
    pub deadline: Duration,
}

impl HostAction {
    /// `expect` says what should come of it.
    async fn run(&self, expect: &str) -> ActionState {
        let Some((program, args)) = self.command.split_first() else {
            return ended(Some("no program is named".to_owned()), "");
        };
        let limits = Limits { deadline: self.deadline, memory_mb_and_cpu_s: None };
        match exec::run_with([("LENTICULAR_EXPECT", expect)], Path::new(program), args, limits).await {
            Ok(output) => ended(None, &output),
            Err(ExecError::Failed { program, status, stdout, stderr, .. }) => {
                ended(Some(format!("'{program}' failed ({status})")), &format!("{stdout}{stderr}"))
            }
            Err(error) => ended(Some(error.to_string()), ""),
        }
    }
}

/// Keeps the end of the output, without characters that a terminal would obey.
fn ended(trouble: Option<String>, output: &str) -> ActionState {
    let plain: String = output.trim().chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let start = plain.ceil_char_boundary(plain.len().saturating_sub(OUTPUT_BYTES_MAX));
    let cut = |text: String| text.chars().take(OUTPUT_BYTES_MAX / 4).collect();
    ActionState::Ended { trouble: trouble.map(cut), output: plain[start..].to_owned() }
}

impl Runtime {
    /// Begins the action that is ordered, once the agent has saved that it runs.
    pub(super) fn begin_action(&mut self) {
        let Some(order) = self.held_action.take() else { return };
        tracing::info!(number = order.number, action = order.name, "an action begins, as ordered");
        let action = self.config.actions.get(&order.name).cloned();
        self.actions.spawn(async move {
            let state = match action {
                Some(action) => action.run(&order.expect).await,
                None => {
                    let why = format!("this host's configuration allows no action '{}'", order.name);
                    ended(Some(why), "")
                }
            };
            ActionResult { number: order.number, state }
        });
    }

    /// Takes in how an action ended.
    pub(super) fn action_ended(&mut self, ended: Result<ActionResult, tokio::task::JoinError>) {
        match ended {
            Ok(ended) => {
                tracing::info!(number = ended.number, state = ?ended.state, "the action has ended");
                self.core.action_ended(ended);
            }
            Err(error) => tracing::error!(%error, "an action was lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(script: &str) -> HostAction {
        let command = ["sh", "-c", script].map(str::to_owned).into();
        HostAction { command, deadline: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn success_and_failure_keep_the_end_of_the_output() {
        let said = |trouble: Option<&str>, output: &str| ActionState::Ended {
            trouble: trouble.map(str::to_owned),
            output: output.to_owned(),
        };
        assert_eq!(action("echo one; echo two").run("").await, said(None, "one\ntwo"));
        assert_eq!(action("echo $LENTICULAR_EXPECT").run("kernel=6.1").await, said(None, "kernel=6.1"));
        let failed = action("printf 'half\\033[31m'; echo why >&2; exit 3").run("").await;
        assert_eq!(failed, said(Some("'sh' failed (exit status: 3)"), "half[31mwhy"));
        let ActionState::Ended { output, .. } = action("yes ä | head -c 100000; echo end").run("").await
        else {
            panic!("it has ended");
        };
        assert!(output.len() <= OUTPUT_BYTES_MAX && output.ends_with("end"));
    }

    #[tokio::test]
    async fn an_action_that_hangs_is_ended() {
        let ActionState::Ended { trouble, .. } = action("sleep 600").run("").await else {
            panic!("it has ended");
        };
        assert_eq!(trouble.as_deref(), Some("'sh' did not end within 1 s"));
    }
}
