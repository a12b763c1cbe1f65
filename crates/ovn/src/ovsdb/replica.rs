//! A copy of some tables of a database, updated by the server's messages.

use super::value::{Atom, BadValue, Datum};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// The tables and columns of a copy.
pub type Columns = &'static [(&'static str, &'static [&'static str])];

/// A row, without the columns that have their default value.
pub type Row = BTreeMap<&'static str, Datum>;

/// One effect of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A row was inserted.
    Inserted {
        /// In this table.
        table: &'static str,
        /// The row.
        row: Uuid,
    },
    /// A column of a row changed.
    Modified {
        /// In this table.
        table: &'static str,
        /// The row.
        row: Uuid,
        /// The column.
        column: &'static str,
        /// For a set with several members: the members that were added or removed.
        toggled: Option<Vec<Atom>>,
    },
    /// A row was deleted.
    Deleted {
        /// From this table.
        table: &'static str,
        /// The row.
        row: Uuid,
        /// Its last values.
        old: Row,
    },
}

/// The error: an update does not fit the copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUpdate {
    /// It contains an invalid value.
    #[error(transparent)]
    Value(#[from] BadValue),
    /// It does not have the agreed form.
    #[error("an update of table {0} cannot be read")]
    Form(String),
    /// It changes a missing row.
    #[error("an update changes row {1} of table {0}, which is not there")]
    Missing(String, Uuid),
}

/// The known facts of a column's type.
#[derive(Debug, Clone)]
struct Kind {
    /// True for one value at most: an update then has the new value, not the difference.
    single: bool,
    default: Datum,
}

/// The copy.
#[derive(Debug, Default)]
pub struct Replica {
    kinds: HashMap<(&'static str, &'static str), Kind>,
    tables: BTreeMap<&'static str, HashMap<Uuid, Row>>,
}

impl Replica {
    /// An empty copy, with those columns that the database's schema has.
    pub fn new(columns: Columns, schema: &Value) -> Self {
        let mut replica = Self::default();
        for (table, names) in columns {
            let Some(known) = schema["tables"][table]["columns"].as_object() else { continue };
            replica.tables.insert(table, HashMap::new());
            for name in *names {
                if let Some(column) = known.get(*name) {
                    replica.kinds.insert((table, name), Kind::of(&column["type"]));
                }
            }
        }
        replica
    }

    /// The monitor request for the columns, in the form of `monitor_cond`.
    pub fn requests(&self) -> Value {
        let mut requests = Map::new();
        for table in self.tables.keys() {
            let mut names: Vec<&str> =
                self.kinds.keys().filter(|(of, _)| of == table).map(|(_, name)| *name).collect();
            names.sort_unstable();
            requests.insert((*table).to_owned(), json!([{ "columns": names }]));
        }
        Value::Object(requests)
    }

    /// Whether the database has the column.
    pub fn knows(&self, table: &'static str, column: &'static str) -> bool {
        self.kinds.contains_key(&(table, column))
    }

    /// The rows of a table.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = (Uuid, &Row)> {
        self.tables.get(table).into_iter().flatten().map(|(id, row)| (*id, row))
    }

    /// A row.
    pub fn row(&self, table: &str, row: Uuid) -> Option<&Row> {
        self.tables.get(table)?.get(&row)
    }

    /// The value of a row's column; `None` if the row or column does not exist.
    pub fn cell(&self, table: &'static str, row: Uuid, column: &'static str) -> Option<&Datum> {
        let held = self.row(table, row)?.get(column);
        held.or_else(|| self.default_of(table, column))
    }

    /// The default value of a column; `None` if the database has no such column.
    pub fn default_of(&self, table: &'static str, column: &'static str) -> Option<&Datum> {
        self.kinds.get(&(table, column)).map(|kind| &kind.default)
    }

    /// Applies an answer of `monitor_cond` or an `update2`.
    ///
    /// # Errors
    /// The update does not fit; the copy is unusable from then on.
    pub fn apply(&mut self, updates: &Value, events: &mut Vec<Event>) -> Result<(), BadUpdate> {
        let form = |table: &str| BadUpdate::Form(table.to_owned());
        for (name, rows) in updates.as_object().ok_or_else(|| form("?"))? {
            let Some(table) = self.tables.keys().copied().find(|table| table == name) else { continue };
            for (id, update) in rows.as_object().ok_or_else(|| form(name))? {
                let id: Uuid = id.parse().map_err(|_| form(name))?;
                let update = update.as_object().ok_or_else(|| form(name))?;
                self.apply_row(table, id, update, events)?;
            }
        }
        Ok(())
    }

    fn apply_row(
        &mut self,
        table: &'static str,
        id: Uuid,
        update: &Map<String, Value>,
        events: &mut Vec<Event>,
    ) -> Result<(), BadUpdate> {
        let Some((how, values)) = update.iter().next() else { return Ok(()) };
        let columns = values.as_object();
        let rows = self.tables.entry(table).or_default();
        match (how.as_str(), columns) {
            ("initial" | "insert", Some(columns)) => {
                let mut row = Row::new();
                for (name, value) in columns {
                    if let Some(((_, column), _)) =
                        self.kinds.iter().find(|((t, c), _)| *t == table && c == name)
                    {
                        row.insert(column, Datum::from_json(value)?);
                    }
                }
                rows.insert(id, row);
                events.push(Event::Inserted { table, row: id });
            }
            ("modify", Some(columns)) => {
                let row = rows.get_mut(&id).ok_or_else(|| BadUpdate::Missing(table.to_owned(), id))?;
                for (name, value) in columns {
                    let Some(((_, column), kind)) =
                        self.kinds.iter().find(|((t, c), _)| *t == table && c == name)
                    else {
                        continue;
                    };
                    let toggled = change(row, column, kind, Datum::from_json(value)?);
                    events.push(Event::Modified { table, row: id, column, toggled });
                }
            }
            ("delete", _) => {
                if let Some(old) = rows.remove(&id) {
                    events.push(Event::Deleted { table, row: id, old });
                }
            }
            _ => return Err(BadUpdate::Form(table.to_owned())),
        }
        Ok(())
    }
}

/// Changes a column; returns the members of a set that were added or removed.
fn change(row: &mut Row, column: &'static str, kind: &Kind, told: Datum) -> Option<Vec<Atom>> {
    if kind.single {
        row.insert(column, told);
        return None;
    }
    let held = row.entry(column).or_insert_with(|| match &told {
        Datum::Map(_) => Datum::Map(BTreeMap::new()),
        Datum::Set(_) => Datum::empty(),
    });
    match (held, told) {
        (Datum::Set(held), Datum::Set(told)) => {
            for atom in &told {
                if !held.remove(atom) {
                    held.insert(atom.clone());
                }
            }
            Some(told.into_iter().collect())
        }
        (Datum::Map(held), Datum::Map(told)) => {
            for (key, value) in told {
                match held.get(&key) {
                    Some(same) if *same == value => drop(held.remove(&key)),
                    _ => drop(held.insert(key, value)),
                }
            }
            None
        }
        (held, told) => {
            *held = told;
            None
        }
    }
}

impl Kind {
    fn of(kind: &Value) -> Self {
        let Some(full) = kind.as_object() else {
            return Self { single: true, default: default_of(kind) };
        };
        let single = full.get("max").is_none_or(|max| max.as_u64() == Some(1));
        let optional = full.get("min").is_some_and(|min| min.as_u64() == Some(0));
        let default = match (optional, full.contains_key("value")) {
            (_, true) => Datum::Map(BTreeMap::new()),
            (true, false) => Datum::empty(),
            (false, false) => default_of(&full["key"]),
        };
        Self { single, default }
    }
}

/// The default value of a scalar.
fn default_of(base: &Value) -> Datum {
    match base["type"].as_str().or_else(|| base.as_str()) {
        Some("integer") => Datum::one(0),
        Some("boolean") => Datum::one(false),
        Some("real") => Datum::one(Atom::Real(super::value::Real(0.0))),
        Some("uuid") => Datum::one(Uuid::nil()),
        _ => Datum::one(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns = &[("T", &["name", "names", "pairs", "maybe", "not_in_the_schema"])];

    fn replica() -> Replica {
        let schema = json!({ "tables": { "T": { "columns": {
            "name": { "type": "string" },
            "names": { "type": { "key": "string", "min": 0, "max": "unlimited" } },
            "pairs": { "type": { "key": "string", "value": "string", "min": 0, "max": "unlimited" } },
            "maybe": { "type": { "key": { "type": "boolean" }, "min": 0, "max": 1 } },
        }}}});
        Replica::new(COLUMNS, &schema)
    }

    #[test]
    fn updates_are_differences_for_sets_and_maps_and_values_for_the_rest() {
        let mut replica = replica();
        let row = Uuid::from_u128(1);
        let mut events = Vec::new();
        let mut say = |replica: &mut Replica, how: &str, columns: Value| {
            let update = json!({ "T": { row.to_string(): { how: columns } } });
            replica.apply(&update, &mut events).unwrap();
            std::mem::take(&mut events)
        };
        say(&mut replica, "initial", json!({ "names": ["set", ["a", "b"]], "pairs": ["map", [["k", "1"]]] }));
        assert_eq!(replica.cell("T", row, "name"), Some(&Datum::one("")));
        assert_eq!(replica.cell("T", row, "maybe"), Some(&Datum::empty()));
        assert_eq!(replica.cell("T", row, "not_in_the_schema"), None);
        let toggled = say(&mut replica, "modify", json!({ "names": ["set", ["b", "c"]] }));
        assert_eq!(replica.cell("T", row, "names"), Some(&Datum::set(["a", "c"])));
        assert!(matches!(&toggled[0], Event::Modified { toggled: Some(atoms), .. } if atoms.len() == 2));
        say(&mut replica, "modify", json!({ "pairs": ["map", [["k", "2"], ["l", "3"]]], "maybe": true }));
        assert_eq!(replica.cell("T", row, "pairs"), Some(&Datum::map([("k", "2"), ("l", "3")])));
        say(&mut replica, "modify", json!({ "pairs": ["map", [["k", "2"]]], "maybe": ["set", []] }));
        assert_eq!(replica.cell("T", row, "pairs"), Some(&Datum::map([("l", "3")])));
        assert_eq!(replica.cell("T", row, "maybe"), Some(&Datum::empty()));
        say(&mut replica, "delete", Value::Null);
        assert_eq!(replica.rows("T").count(), 0);
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let mut replica = replica();
        let id = Uuid::from_u128(9).to_string();
        for update in [
            json!([]),
            json!({ "T": 1 }),
            json!({ "T": { "x": {} } }),
            json!({ "T": { id: { "modify": {} } } }),
        ] {
            assert!(replica.apply(&update, &mut Vec::new()).is_err(), "{update}");
        }
        assert!(replica.knows("T", "name") && !replica.knows("T", "not_in_the_schema"));
    }
}
