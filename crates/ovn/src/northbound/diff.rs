//! The operations that make the database equal to the wanted rows, and no others.

use super::{Actual, Key, Membership, Row, RowId, actual::Place};
use crate::ovsdb::{Atom, Condition, Datum, Operation, Replica};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The operations to run, and the keys that could not be written completely yet.
#[derive(Debug, Default)]
pub struct RowChanges {
    /// The operations of one transaction.
    pub operations: Vec<Operation>,
    /// Keys whose rows refer to missing rows: they are retried after other changes.
    pub incomplete: BTreeSet<Key>,
}

/// The wanted rows of each key.
pub type Wanted = BTreeMap<Key, Vec<Row>>;

/// Compares the keys' rows with the database's rows.
pub fn diff(wanted: &Wanted, actual: &Actual, replica: &Replica) -> RowChanges {
    let mut differ = Differ::new(actual, replica);
    for (key, rows) in wanted {
        for row in rows {
            differ.announce(row);
        }
        let keep: BTreeSet<&RowId> = rows.iter().map(|row| &row.id).collect();
        for (id, there) in actual.of_key(*key) {
            // Of several rows with one id, all but the first are damage.
            let gone = if keep.contains(id) { 1 } else { 0 };
            there.iter().skip(gone).for_each(|row| differ.remove(id, *row));
        }
    }
    for (key, rows) in wanted {
        for row in rows {
            if !differ.write(row) {
                differ.incomplete.insert(*key);
            }
        }
    }
    differ.finish()
}

/// Removes rows of ours that no key of this version explains.
pub fn remove_strange(ids: &[&RowId], actual: &Actual, replica: &Replica) -> Vec<Operation> {
    let mut differ = Differ::new(actual, replica);
    for id in ids {
        actual.rows_of_id(id).for_each(|row| differ.remove(id, row));
    }
    differ.finish().operations
}

struct Differ<'a> {
    actual: &'a Actual,
    replica: &'a Replica,
    /// Names of the rows that this transaction inserts.
    names: BTreeMap<RowId, String>,
    inserts: Vec<Operation>,
    updates: Vec<Operation>,
    joins: BTreeMap<(RowId, &'static str), BTreeSet<Atom>>,
    leaves: BTreeMap<Place, BTreeSet<Atom>>,
    deletes: Vec<Operation>,
    incomplete: BTreeSet<Key>,
}

impl<'a> Differ<'a> {
    fn new(actual: &'a Actual, replica: &'a Replica) -> Self {
        Self {
            actual,
            replica,
            names: BTreeMap::new(),
            inserts: Vec::new(),
            updates: Vec::new(),
            joins: BTreeMap::new(),
            leaves: BTreeMap::new(),
            deletes: Vec::new(),
            incomplete: BTreeSet::new(),
        }
    }

    /// Registers that the row will exist, so that other rows can refer to it.
    fn announce(&mut self, row: &Row) {
        if self.actual.row(&row.id).is_none() {
            let name = format!("row{}", self.names.len());
            self.names.insert(row.id.clone(), name);
        }
    }

    fn atom(&self, id: &RowId) -> Option<Atom> {
        let there = self.actual.row(id).map(Atom::Uuid);
        there.or_else(|| self.names.get(id).cloned().map(Atom::Named))
    }

    /// Writes the row; false if a row that it refers to is missing.
    fn write(&mut self, row: &Row) -> bool {
        let mut complete = true;
        let mut columns = row.columns.clone();
        for (column, to) in &row.refs {
            match self.atom(to) {
                Some(atom) => drop(columns.insert(column, Datum::one(atom))),
                None => complete = false,
            }
        }
        let places: Vec<&Membership> = row.member_of.iter().collect();
        let known: Vec<&Membership> = places.iter().copied().filter(|m| self.atom(&m.of).is_some()).collect();
        complete &= known.len() == places.len();
        // A row that no row may refer to would be removed at once, and rows that refer to its name would fail.
        if !row.id.table.is_root() && known.is_empty() {
            return false;
        }
        columns.retain(|column, _| self.replica.knows(row.id.table.name(), column));
        match self.actual.row(&row.id) {
            Some(there) => self.change(row, there, columns, &known),
            None => self.insert(row, columns, &known),
        }
        complete
    }

    fn insert(&mut self, row: &Row, columns: BTreeMap<&'static str, Datum>, places: &[&Membership]) {
        let Some(name) = self.names.get(&row.id).cloned() else { return };
        let table = row.id.table.name();
        self.inserts.push(Operation::Insert { table, name: name.clone(), row: columns });
        for place in places {
            self.join(place, Atom::Named(name.clone()));
        }
    }

    fn change(
        &mut self,
        row: &Row,
        there: Uuid,
        mut columns: BTreeMap<&'static str, Datum>,
        places: &[&Membership],
    ) {
        let table = row.id.table;
        for column in table.columns() {
            let Some(held) = self.replica.cell(table.name(), there, column) else { continue };
            let default = self.replica.default_of(table.name(), column);
            match (columns.get(column), default) {
                (Some(wanted), _) if wanted.same(held) => drop(columns.remove(column)),
                (Some(_), _) => {}
                (None, Some(default)) if !default.same(held) => {
                    columns.insert(column, default.clone());
                }
                (None, _) => {}
            }
        }
        if !columns.is_empty() {
            self.updates.push(Operation::update(table.name(), there, columns));
        }
        let wanted: BTreeSet<Place> =
            places.iter().filter_map(|m| Some((m.of.table, self.actual.row(&m.of)?, m.column))).collect();
        let held: BTreeSet<Place> = self.actual.places(there).copied().collect();
        for place in places {
            let here = self.actual.row(&place.of).map(|of| (place.of.table, of, place.column));
            if here.is_none_or(|here| !held.contains(&here)) {
                self.join(place, Atom::Uuid(there));
            }
        }
        // Members that other writers added stay.
        for place in held.difference(&wanted).filter(|(_, of, _)| self.actual.id(*of).is_some()) {
            self.leaves.entry(*place).or_default().insert(Atom::Uuid(there));
        }
    }

    fn join(&mut self, place: &Membership, member: Atom) {
        self.joins.entry((place.of.clone(), place.column)).or_default().insert(member);
    }

    fn remove(&mut self, id: &RowId, row: Uuid) {
        for place in self.actual.places(row) {
            self.leaves.entry(*place).or_default().insert(Atom::Uuid(row));
        }
        let of = Condition::Row(Atom::Uuid(row));
        self.deletes.push(Operation::Delete { table: id.table.name(), of });
    }

    fn finish(self) -> RowChanges {
        let mut operations = Vec::new();
        // Removals come before additions: one row may take over a name that another gives up.
        for ((table, of, column), members) in &self.leaves {
            let of = Condition::Row(Atom::Uuid(*of));
            let members = Datum::Set(members.clone());
            operations.push(Operation::Remove { table: table.name(), of, column, members });
        }
        operations.extend(self.deletes.iter().cloned());
        operations.extend(self.inserts.iter().cloned());
        operations.extend(self.updates.iter().cloned());
        for ((id, column), members) in &self.joins {
            let Some(of) = self.atom(id) else { continue };
            operations.push(Operation::Add {
                table: id.table.name(),
                of: Condition::Row(of),
                column,
                members: Datum::Set(members.clone()),
            });
        }
        RowChanges { operations, incomplete: self.incomplete }
    }
}
