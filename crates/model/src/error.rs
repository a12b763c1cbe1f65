//! One error type for the whole cloud: a kind, a code for programs, and a message that says what happened and what
//! to do.

use std::borrow::Cow;
use std::fmt;

/// The kind of a refusal. The API layer chooses the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is malformed or contradicts itself (400).
    Invalid,
    /// The caller is unknown (401).
    Unauthorized,
    /// The caller may not do it (403).
    Forbidden,
    /// A quota or limit would be exceeded (403; 413 in older APIs).
    OverQuota,
    /// The object does not exist, or not for the caller (404).
    NotFound,
    /// The request contradicts the present state (409).
    Conflict,
    /// The API has removed the resource (410).
    Gone,
    /// The caller has seen an older version of the record that it changes (412).
    Outdated,
    /// The requested version or format is not supported (406).
    NotAcceptable,
    /// The request did not arrive completely in time (408).
    TimedOut,
    /// The body is too large (413).
    TooLarge,
    /// Too many such requests at once (429).
    TooMany,
    /// The body's media type is not supported (415).
    UnsupportedMedia,
    /// The service is overloaded, or a later attempt may work (503).
    Unavailable,
    /// An internal fault of the cloud (500).
    Internal,
    /// The API knows the action, and this cloud's hosts cannot do it (501).
    NotImplemented,
}

/// A refusal. `message` is for the caller; `internal` is for the log alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    /// The kind of refusal.
    pub kind: Kind,
    /// The name clients match on where an API has one (Neutron's error types); else empty.
    pub code: &'static str,
    /// What happened and what to do, for the caller.
    pub message: Cow<'static, str>,
    /// Text for the operator alone.
    pub internal: Option<String>,
}

/// The result of anything that can be refused.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $method:ident => $kind:ident;)*) => {$(
        $(#[$doc])*
        pub fn $method(message: impl Into<Cow<'static, str>>) -> Self {
            Self { kind: Kind::$kind, code: "", message: message.into(), internal: None }
        }
    )*};
}

impl Error {
    kinds! {
        /// A malformed request.
        invalid => Invalid;
        /// An unknown caller.
        unauthorized => Unauthorized;
        /// A caller without the right.
        forbidden => Forbidden;
        /// An exceeded quota.
        over_quota => OverQuota;
        /// A conflict with the present state.
        conflict => Conflict;
        /// A resource that the API has removed.
        gone => Gone;
        /// An action that no host of this cloud can do.
        not_implemented => NotImplemented;
        /// A change of a record that has changed since the caller read it.
        outdated => Outdated;
        /// An unsupported version.
        not_acceptable => NotAcceptable;
        /// A request that did not arrive completely in time.
        timed_out => TimedOut;
        /// More requests than the service accepts at once.
        too_many => TooMany;
        /// A body over its limit.
        too_large => TooLarge;
        /// A body of the wrong type.
        unsupported_media => UnsupportedMedia;
        /// A temporary failure.
        unavailable => Unavailable;
        /// A missing object, described in words.
        not_found_text => NotFound;
    }

    /// `what` with this id does not exist, or not for the caller.
    pub fn not_found(what: &str, id: impl fmt::Display) -> Self {
        Self::not_found_text(format!("{what} {id} could not be found."))
    }

    /// An internal fault. `internal` goes to the log; the caller reads only that a fault occurred.
    pub fn internal(internal: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Internal,
            code: "",
            message: "The cloud hit an internal error. Tell its operator the request id.".into(),
            internal: Some(internal.to_string()),
        }
    }

    /// The same error with the API's name for it.
    pub fn coded(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.internal.as_ref().map_or(Ok(()), |text| write!(f, " [{text}]"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl std::error::Error for Error {}
