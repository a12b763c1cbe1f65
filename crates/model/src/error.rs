//! One error for the whole cloud: its kind, a name for machines, and what happened and what to do, for people.

use std::borrow::Cow;
use std::fmt;

/// What sort of refusal this is; the HTTP status is decided at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is malformed or contradicts itself (400).
    Invalid,
    /// Who asks is unknown (401).
    Unauthorized,
    /// Who asks may not (403).
    Forbidden,
    /// A quota or limit would be passed (403; 413 in older APIs).
    OverQuota,
    /// What is asked for does not exist, or not for who asks (404).
    NotFound,
    /// What is asked for contradicts the present state (409).
    Conflict,
    /// The caller has seen an older version of what it changes (412).
    Outdated,
    /// The version or form asked for is not spoken (406).
    NotAcceptable,
    /// The request did not come whole in time (408).
    TimedOut,
    /// The body is too large (413).
    TooLarge,
    /// Too many of the like are asked for at once (429).
    TooMany,
    /// The body has another media type (415).
    UnsupportedMedia,
    /// It was asked for too much of it, or later may work (503).
    Unavailable,
    /// Something here is broken (500).
    Internal,
}

/// A refusal. `message` is for whoever asked; `internal` is for the log alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    /// What sort of refusal.
    pub kind: Kind,
    /// The name clients match on where an API has one (Neutron's error types); else empty.
    pub code: &'static str,
    /// What happened and what to do, for the person who asked.
    pub message: Cow<'static, str>,
    /// What only the operator should read.
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
        /// A passed quota.
        over_quota => OverQuota;
        /// A conflict with the present state.
        conflict => Conflict;
        /// A change of something that has changed since.
        outdated => Outdated;
        /// A version that is not spoken.
        not_acceptable => NotAcceptable;
        /// A request that did not come whole in time.
        timed_out => TimedOut;
        /// More requests than are taken at once.
        too_many => TooMany;
        /// A body over its limit.
        too_large => TooLarge;
        /// A body of the wrong type.
        unsupported_media => UnsupportedMedia;
        /// A passing inability.
        unavailable => Unavailable;
        /// Something absent, in words.
        not_found_text => NotFound;
    }

    /// `what` with this id does not exist, or not for the caller.
    pub fn not_found(what: &str, id: impl fmt::Display) -> Self {
        Self::not_found_text(format!("{what} {id} could not be found."))
    }

    /// Something here is broken; `internal` goes to the log, the caller reads only that it did.
    pub fn internal(internal: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Internal,
            code: "",
            message: "The cloud hit an internal error. Tell its operator the request id.".into(),
            internal: Some(internal.to_string()),
        }
    }

    /// The same error under the name that the API gives it.
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
