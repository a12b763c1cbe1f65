//! Guests that stand still: paused, or suspended with a saved memory.

use super::{
    guest::{Guest, RunState, stop_reason},
    step::{Ended, Failure, Outcome, Step},
};
use lenticular_model::host::observation::{Attempt, FailedAttempt, StopReason};
use lenticular_wire::agent::RunGoal;

impl Guest {
    /// A step that lets the guest stand still or go on has ended; `ended` says how its process ended meanwhile, if it did.
    pub(super) fn stillness_done(&mut self, step: &Step, outcome: Outcome, ended: Option<Ended>) {
        match (step, outcome) {
            (Step::Suspend(_), Outcome::Failed(failure)) => {
                if let Some(how) = ended {
                    self.run_state = RunState::Stopped { why: stop_reason(how) };
                    return;
                }
                let attempt = self.attempt().filter(|attempt| matches!(attempt, Attempt::Suspend { .. }));
                self.failed_attempt = attempt.map(|attempt| (attempt, failure));
            }
            (_, Outcome::Failed(_)) => self.stuck = true,
            (Step::Suspend(_), _) => {
                self.run_state = RunState::Stopped { why: StopReason::Ordered };
                (self.has_memory, self.failed_attempt, self.memory_lost) = (true, None, None);
            }
            (Step::DropMemory, _) => self.has_memory = false,
            (step, _) => {
                if let RunState::Running { paused, .. } = &mut self.run_state {
                    *paused = *step == Step::Pause;
                }
            }
        }
    }

    /// The attempt that the guest's order asks for.
    pub(super) fn attempt(&self) -> Option<Attempt> {
        let own = self.own()?;
        match own.run {
            RunGoal::Suspended { attempt: number } => Some(Attempt::Suspend { number }),
            RunGoal::Running => Some(Attempt::Resume { boot: own.assignment.boot }),
            RunGoal::Stopped => None,
        }
    }

    /// The present order's attempt, if it failed.
    pub(super) fn failed_attempt(&self) -> Option<FailedAttempt> {
        let attempt = self.attempt()?;
        let (_, failure) = self.failed_attempt.as_ref().filter(|(failed, _)| *failed == attempt)?;
        let Failure { message, details } = failure.clone();
        Some(FailedAttempt { attempt, message, details })
    }
}
