//! The events of a run, line by line. Its hash shows whether two runs are equal; its end shows why a run failed.

use lenticular_model::Timestamp;
use std::{collections::VecDeque, fmt};

/// How many lines a failure shows.
pub const LINES_SHOWN: usize = 60;

/// The trace of one run.
#[derive(Debug, Clone)]
pub struct Trace {
    begin: Timestamp,
    keep_all: bool,
    hash: u64,
    count: u64,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty trace of a run that begins at `begin`; only the last lines are kept unless `keep_all`.
    pub fn new(begin: Timestamp, keep_all: bool) -> Self {
        Self { begin, keep_all, hash: 0xcbf2_9ce4_8422_2325, count: 0, lines: VecDeque::new() }
    }

    /// Notes a line.
    pub fn line(&mut self, now: Timestamp, text: fmt::Arguments<'_>) {
        let us = now.0 - self.begin.0;
        let line = format!("{:>6}.{:06} {text}", us / 1_000_000, us % 1_000_000);
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        if !self.keep_all && self.lines.len() == LINES_SHOWN {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// A digest of all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The lines that were kept.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// The last lines as one text.
    pub fn tail(&self) -> String {
        let skip = self.lines.len().saturating_sub(LINES_SHOWN);
        self.lines.iter().skip(skip).map(|line| format!("{line}\n")).collect()
    }
}
