//! What the control plane asks of an agent outside of its orders, and the answers. No record changes by it.

use lenticular_model::{ServerId, host::guest_spec::Base};
use serde::{Deserialize, Serialize};

/// A question, or a command that changes no record. It comes with the answer to the agent's poll.
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
    /// A console of a guest. The agent opens it, and a connection that carries it (`GET /agent/v1/hosts/H/consoles/C`). The
    /// answer is empty.
    OpenConsole {
        /// The server.
        server_id: ServerId,
        /// Which console.
        kind: ConsoleKind,
        /// The connection's name, which only the asked agent knows.
        connection: String,
    },
    /// Sets the password of one of the guest's users, by the guest's own agent. The answer is empty.
    SetPassword {
        /// The server.
        server_id: ServerId,
        /// The user's name in the guest.
        user: String,
        /// The password.
        password: String,
    },
    /// An image that servers on the host may need soon: the host fetches it, and answers before it has it.
    FetchImage {
        /// The image.
        base: Base,
    },
    /// An interrupt that the guest cannot mask. The answer is empty.
    Interrupt {
        /// The server.
        server_id: ServerId,
    },
}

/// A way to look at a guest and to type into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleKind {
    /// Its screen, keyboard and pointer, by the RFB protocol (RFC 6143).
    Vnc,
    /// Its serial line.
    Serial,
}

/// The protocol that a connection of an agent changes to when it carries a console: bytes in both directions.
pub const CONSOLE_PROTOCOL: &str = "lenticular-console";

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
