//! Our rows in the database: rows by their ids, and the sets that rows are in.

use super::{ID, Key, RowId, schema::Table};
use crate::ovsdb::{Atom, Datum, Event, Replica};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

/// A place in a set, by the UUID of the row with the set.
pub type Place = (Table, Uuid, &'static str);

/// An index over a copy of the database.
#[derive(Debug, Default)]
pub struct Actual {
    /// Our rows. Several rows with one id are damage, which is repaired.
    ids: BTreeMap<RowId, BTreeSet<Uuid>>,
    /// The ids of our rows: the inverse of `ids`.
    rows: HashMap<Uuid, RowId>,
    /// The sets that rows are in, ours and others'.
    places: HashMap<Uuid, BTreeSet<Place>>,
}

fn id_in(external_ids: Option<&Datum>) -> Option<String> {
    external_ids?.text_of(ID).map(str::to_owned)
}

impl Actual {
    /// An index over an existing copy.
    pub fn new(replica: &Replica) -> Self {
        let mut actual = Self::default();
        for table in Table::ALL {
            for (row, _) in replica.rows(table.name()) {
                actual.inserted(replica, *table, row);
            }
        }
        actual
    }

    /// Applies a change of the copy. Returns the keys of the touched rows.
    pub fn apply(&mut self, replica: &Replica, event: &Event) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        let mut touch = |id: Option<&RowId>| touched.extend(id.and_then(|id| Key::of_row(&id.id).ok()));
        match event {
            Event::Inserted { table, row } => {
                let Some(table) = Table::from_name(table) else { return touched };
                self.inserted(replica, table, *row);
                touch(self.rows.get(row));
            }
            Event::Modified { table, row, column, toggled } => {
                let Some(table) = Table::from_name(table) else { return touched };
                touch(self.rows.get(row));
                if *column == "external_ids" {
                    self.name(*row, None);
                    let id = id_in(replica.cell(table.name(), *row, "external_ids"));
                    self.name(*row, id.map(|id| RowId { id, table }));
                    touch(self.rows.get(row));
                }
                if let Some(column) = table.sets().iter().find(|set| *set == column) {
                    let members = toggled.iter().flatten().filter_map(|atom| match atom {
                        Atom::Uuid(member) => Some(*member),
                        _ => None,
                    });
                    for member in members {
                        self.toggle(member, (table, *row, column));
                        touch(self.rows.get(&member));
                    }
                }
            }
            Event::Deleted { table, row, old } => {
                let Some(table) = Table::from_name(table) else { return touched };
                touch(self.rows.get(row));
                self.name(*row, None);
                self.places.remove(row);
                for column in table.sets() {
                    for member in old.get(column).into_iter().flat_map(Datum::rows) {
                        self.leave(member, &(table, *row, column));
                        touch(self.rows.get(&member));
                    }
                }
            }
        }
        touched
    }

    fn inserted(&mut self, replica: &Replica, table: Table, row: Uuid) {
        let id = id_in(replica.cell(table.name(), row, "external_ids"));
        self.name(row, id.map(|id| RowId { id, table }));
        for column in table.sets() {
            let members: Vec<Uuid> =
                replica.cell(table.name(), row, column).into_iter().flat_map(Datum::rows).collect();
            for member in members {
                self.places.entry(member).or_default().insert((table, row, column));
            }
        }
    }

    fn name(&mut self, row: Uuid, id: Option<RowId>) {
        if let Some(old) = self.rows.remove(&row)
            && let Some(rows) = self.ids.get_mut(&old)
        {
            rows.remove(&row);
            if rows.is_empty() {
                self.ids.remove(&old);
            }
        }
        if let Some(id) = id {
            self.ids.entry(id.clone()).or_default().insert(row);
            self.rows.insert(row, id);
        }
    }

    fn toggle(&mut self, member: Uuid, place: Place) {
        if !self.places.entry(member).or_default().insert(place) {
            self.leave(member, &place);
        }
    }

    fn leave(&mut self, member: Uuid, place: &Place) {
        if let Some(places) = self.places.get_mut(&member) {
            places.remove(place);
            if places.is_empty() {
                self.places.remove(&member);
            }
        }
    }

    /// The row with an id, if it exists.
    pub fn row(&self, id: &RowId) -> Option<Uuid> {
        self.ids.get(id)?.first().copied()
    }

    /// The id of a row of ours.
    pub fn id(&self, row: Uuid) -> Option<&RowId> {
        self.rows.get(&row)
    }

    /// The sets that a row is in.
    pub fn places(&self, row: Uuid) -> impl Iterator<Item = &Place> {
        self.places.get(&row).into_iter().flatten()
    }

    /// All rows of a key.
    pub fn of_key(&self, key: Key) -> impl Iterator<Item = (&RowId, &BTreeSet<Uuid>)> {
        let head = key.to_string();
        let from = RowId { id: head.clone(), table: Table::ALL[0] };
        let rows = self.ids.range(from..);
        let (until, own) = (head.clone(), head);
        rows.take_while(move |(id, _)| id.id.starts_with(&until)).filter(move |(id, _)| {
            // All keys have the same length, except those that are plain words.
            id.id.len() == own.len() || id.id.as_bytes().get(own.len()) == Some(&b'/')
        })
    }

    /// Every key that has rows, and the ids that belong to no key of this version.
    pub fn keys(&self) -> (BTreeSet<Key>, Vec<&RowId>) {
        let (mut keys, mut strange) = (BTreeSet::new(), Vec::new());
        for id in self.ids.keys() {
            match Key::of_row(&id.id) {
                Ok(key) => drop(keys.insert(key)),
                Err(_) => strange.push(id),
            }
        }
        (keys, strange)
    }

    /// The rows of an id.
    pub fn rows_of_id(&self, id: &RowId) -> impl Iterator<Item = Uuid> + '_ {
        self.ids.get(id).into_iter().flatten().copied()
    }
}
