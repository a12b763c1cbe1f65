//! The limits of requests.

use std::time::Duration;

/// The largest JSON body, in bytes (as OpenStack's `max_request_body_size`).
pub const BODY_BYTES_MAX: usize = 114_688;

/// The largest body of an agent's report, in bytes: an inventory of ten thousand guests fits.
pub const REPORT_BYTES_MAX: usize = 4 << 20;

/// The longest text in an agent's message, in characters; the rest is cut off.
pub const REPORT_TEXT_MAX: usize = 4_096;

/// How long an ordinary request may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a fencing driver may take at most.
pub const FENCE_TIMEOUT: Duration = Duration::from_secs(600);

/// How long the body of an ordinary request may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an upload or a download may stall.
pub const STREAM_STALL: Duration = Duration::from_secs(60);

/// How long a question to an agent may take. The agent itself gives up after 10 s, and says so.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest listing, and the default length.
pub const PAGE_MAX: usize = 1_000;

/// The largest image, in bytes.
pub const IMAGE_BYTES_MAX: u64 = 1 << 40;

/// The longest console log in an answer, in bytes.
pub const CONSOLE_BYTES_MAX: usize = 1 << 20;
