//! What a transaction does: operations as JSON (RFC 7047, section 5.2).

use super::value::{Atom, Datum};
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Columns and what they are to hold.
pub type Values = BTreeMap<&'static str, Datum>;

/// Which rows an operation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Every row.
    All,
    /// This row.
    Row(Atom),
    /// Rows whose column holds at least this.
    Includes(&'static str, Datum),
}

impl Condition {
    fn to_json(&self) -> Value {
        match self {
            Self::All => json!([]),
            Self::Row(row) => json!([["_uuid", "==", row.to_json()]]),
            Self::Includes(column, datum) => json!([[column, "includes", datum.to_json()]]),
        }
    }
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Adds a row.
    Insert {
        /// To this table.
        table: &'static str,
        /// The name that other operations of the transaction call it by.
        name: String,
        /// What it holds.
        row: Values,
    },
    /// Sets columns.
    Update {
        /// Of this table.
        table: &'static str,
        /// Of these rows.
        of: Condition,
        /// To this.
        row: Values,
    },
    /// Adds members to a set, or pairs to a map whose keys are not there.
    Add {
        /// Of this table.
        table: &'static str,
        /// Of these rows.
        of: Condition,
        /// To this column.
        column: &'static str,
        /// These.
        members: Datum,
    },
    /// Takes members out of a set, or keys out of a map.
    Remove {
        /// Of this table.
        table: &'static str,
        /// Of these rows.
        of: Condition,
        /// Out of this column.
        column: &'static str,
        /// These.
        members: Datum,
    },
    /// Removes rows.
    Delete {
        /// Of this table.
        table: &'static str,
        /// These.
        of: Condition,
    },
    /// Ends the transaction unless there is such a row.
    Require {
        /// In this table.
        table: &'static str,
        /// Such.
        of: Condition,
    },
    /// Ends the transaction unless such rows' columns hold this.
    Expect {
        /// In this table.
        table: &'static str,
        /// Such.
        of: Condition,
        /// The columns.
        row: Values,
    },
    /// A word for the database's log.
    Comment(String),
}

fn values(row: &Values) -> Value {
    Value::Object(
        row.iter().map(|(column, datum)| ((*column).to_owned(), datum.to_json())).collect::<Map<_, _>>(),
    )
}

impl Operation {
    /// The operation on one row that is there.
    pub fn update(table: &'static str, row: Uuid, values: Values) -> Self {
        Self::Update { table, of: Condition::Row(Atom::Uuid(row)), row: values }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let mutate = |table: &str, of: &Condition, column: &str, how: &str, members: &Datum| {
            json!({
                "op": "mutate", "table": table, "where": of.to_json(),
                "mutations": [[column, how, members.to_json()]],
            })
        };
        match self {
            Self::Insert { table, name, row } => {
                json!({ "op": "insert", "table": table, "uuid-name": name, "row": values(row) })
            }
            Self::Update { table, of, row } => {
                json!({ "op": "update", "table": table, "where": of.to_json(), "row": values(row) })
            }
            Self::Add { table, of, column, members } => mutate(table, of, column, "insert", members),
            Self::Remove { table, of, column, members } => mutate(table, of, column, "delete", members),
            Self::Delete { table, of } => json!({ "op": "delete", "table": table, "where": of.to_json() }),
            Self::Require { table, of } => json!({
                "op": "wait", "table": table, "where": of.to_json(), "columns": ["_uuid"],
                "until": "!=", "rows": [], "timeout": 0,
            }),
            Self::Expect { table, of, row } => json!({
                "op": "wait", "table": table, "where": of.to_json(), "columns": row.keys().collect::<Vec<_>>(),
                "until": "==", "rows": [values(row)], "timeout": 0,
            }),
            Self::Comment(text) => json!({ "op": "comment", "comment": text }),
        }
    }
}
