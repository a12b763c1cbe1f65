//! The operations of a transaction as JSON (RFC 7047, section 5.2).

use super::value::{Atom, Datum};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Columns and their wanted values.
pub type Values = BTreeMap<&'static str, Datum>;

/// The rows that an operation applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Every row.
    All,
    /// This row.
    Row(Atom),
    /// Rows whose column has at least these members.
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
        /// The name of the row for other operations of the transaction.
        name: String,
        /// Its values.
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
    /// Adds members to a set, or pairs to a map if their keys are new.
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
    /// Removes members from a set, or keys from a map.
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
    /// Ends the transaction unless such a row exists.
    Require {
        /// In this table.
        table: &'static str,
        /// The condition.
        of: Condition,
    },
    /// Ends the transaction unless such rows' columns have these values.
    Expect {
        /// In this table.
        table: &'static str,
        /// The condition.
        of: Condition,
        /// The columns.
        row: Values,
    },
    /// A comment for the database's log.
    Comment(String),
}

fn values(row: &Values) -> Value {
    Value::Object(
        row.iter().map(|(column, datum)| ((*column).to_owned(), datum.to_json())).collect::<Map<_, _>>(),
    )
}

impl Operation {
    /// An update of one existing row.
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
