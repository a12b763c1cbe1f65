//! What a command waited for and did not get, with its own exit status for scripts.

use std::{error::Error, fmt, process::ExitCode};

/// The command did what it was told to, and the outcome is not the good one.
#[derive(Debug)]
pub enum Unsuccessful {
    /// It was refused, or failed.
    Refused(String),
    /// It has not ended yet.
    Waiting(String),
}

impl Unsuccessful {
    /// The status for scripts.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Refused(_) => ExitCode::from(2),
            Self::Waiting(_) => ExitCode::from(3),
        }
    }
}

impl fmt::Display for Unsuccessful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(text) | Self::Waiting(text)) = self;
        f.write_str(text)
    }
}

impl Error for Unsuccessful {}
