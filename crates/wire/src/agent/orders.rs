//! The poll for orders, and its answer.

use super::Question;
use lenticular_model::{
    Incarnation, Timestamp,
    host::{host::HostOrder, order::Order},
};
use serde::{Deserialize, Serialize};

/// A poll for orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdersQuery {
    /// The session from the last welcome.
    pub session: u64,
    /// The incarnation of the store that `after` belongs to.
    pub incarnation: Incarnation,
    /// The last commit with applied orders; 0 asks for all orders.
    pub after: u64,
    /// How long to wait for changes, in milliseconds.
    #[serde(default)]
    pub wait_ms: u64,
    /// The receipt that came with the orders of that commit.
    #[serde(default)]
    pub receipt: Option<String>,
}

/// The changed orders of a host after a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The incarnation of the store. If it differs from the agent's, `after` is 0 and all orders are included.
    pub incarnation: Incarnation,
    /// The commit that these orders follow.
    pub after: u64,
    /// The commit that these orders lead to.
    pub upto: u64,
    /// The proof that the control plane told of `upto`. The agent keeps the receipt, and shows it with that
    /// commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The servers with changed orders, each order complete.
    #[serde(alias = "orders")]
    pub servers: Vec<Order>,
    /// The order about the host itself, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostOrder>,
    /// The control plane's time when it answered; `None` from one that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Questions that wait for an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
}
