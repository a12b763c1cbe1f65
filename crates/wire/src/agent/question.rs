//! Questions that change nothing, and their answers.

use lenticular_model::ServerId;
use serde::{Deserialize, Serialize};

/// A question that changes nothing. It comes with the answer to the agent's poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The question's id; the answer repeats it.
    pub id: u64,
    /// The subject.
    pub ask: Subject,
}

/// The subjects of questions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "about")]
pub enum Subject {
    /// The end of a guest's console log.
    Console {
        /// The server.
        server_id: ServerId,
        /// How many lines; `None` for all lines that the host keeps.
        lines: Option<u32>,
    },
    /// What the host measures of a guest. The answer is [`super::Diagnostics`] as JSON.
    Diagnostics {
        /// The server.
        server_id: ServerId,
    },
}

impl Subject {
    /// True if agents of version 2 know the subject.
    pub fn is_in_v2(&self) -> bool {
        matches!(self, Self::Console { .. })
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's id.
    pub id: u64,
    /// The text, or why there is none.
    pub result: Result<String, String>,
}
