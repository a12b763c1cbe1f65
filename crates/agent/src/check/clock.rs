//! The check `clock`: whether the host's clock agrees with the control plane's.
//!
//! The control plane writes its time into each answer to a poll. The answer's way makes the host's clock seem ahead by as
//! long; one slow answer does not count.

use super::Verdict;
use lenticular_model::host::evidence::Level;
use std::collections::VecDeque;

/// A difference of more than so many milliseconds fails the check: certificates and tokens begin to look wrong.
const FAILS_MS: i64 = 2_000;
/// A difference of more than so many milliseconds is a warning.
const WARNS_MS: i64 = 500;
/// How many answers are compared.
const ANSWERS: usize = 3;

/// The differences that the last answers showed.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead_ms: VecDeque<i64>,
}

impl Clock {
    /// Takes in by how many milliseconds the host's clock was ahead of an answer. Returns the verdict, once there are
    /// enough answers.
    pub(crate) fn answered(&mut self, ahead_ms: i64) -> Option<Verdict> {
        self.ahead_ms.push_back(ahead_ms);
        if self.ahead_ms.len() > ANSWERS {
            self.ahead_ms.pop_front();
        }
        let mut sorted: Vec<i64> = self.ahead_ms.iter().copied().collect();
        sorted.sort_unstable();
        (sorted.len() == ANSWERS).then(|| judge(sorted[ANSWERS / 2]))
    }
}

fn judge(ahead_ms: i64) -> Verdict {
    let level = match ahead_ms.abs() {
        ms if ms > FAILS_MS => Level::Fail,
        ms if ms > WARNS_MS => Level::Warn,
        _ => return None,
    };
    let (by, side) = (ahead_ms.abs(), if ahead_ms > 0 { "ahead of" } else { "behind" });
    let text = format!(
        "the clock is {}.{:03} s {side} the control plane's. Look at what sets it, such as chrony.",
        by / 1_000,
        by % 1_000
    );
    Some((level, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_and_one_slow_answer_is_not() {
        let mut clock = Clock::default();
        assert_eq!([clock.answered(3), clock.answered(9_000)], [None, None]);
        assert_eq!(clock.answered(4), Some(None), "one answer was slow");
        assert_eq!(clock.answered(-2_500).unwrap(), None);
        let (level, text) = clock.answered(-2_500).unwrap().unwrap();
        assert!(level == Level::Fail && text.contains("2.500 s behind"), "{text}");
        assert_eq!(judge(700).unwrap().0, Level::Warn);
    }
}
