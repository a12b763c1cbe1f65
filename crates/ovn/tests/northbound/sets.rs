//! The content of a database in a comparable form: rows by our ids instead of the database's UUIDs.

use lenticular_model::State;
use lenticular_ovn::{
    northbound::{Actual, Table, all_keys, rows_of},
    ovsdb::{Atom, Connected, Datum, Replica},
};
use std::collections::{BTreeMap, BTreeSet};

/// A row's columns and places, as text.
pub type Seen = BTreeMap<String, BTreeSet<String>>;

fn text(actual: &Actual, datum: &Datum) -> String {
    let atom = |atom: &Atom| match atom {
        Atom::Uuid(row) => actual.id(*row).map_or("a stranger".to_owned(), |id| id.id.clone()),
        other => format!("{other:?}"),
    };
    match datum {
        Datum::Set(set) => format!("{:?}", set.iter().map(atom).collect::<BTreeSet<_>>()),
        Datum::Map(map) => {
            format!("{:?}", map.iter().map(|(k, v)| (atom(k), atom(v))).collect::<BTreeMap<_, _>>())
        }
    }
}

/// All our rows in a database.
pub fn held(replica: &Replica) -> Seen {
    let actual = Actual::new(replica);
    let mut seen = Seen::new();
    for table in Table::ALL {
        for (row, _) in replica.rows(table.name()) {
            let Some(id) = actual.id(row) else { continue };
            let mut said: BTreeSet<String> = BTreeSet::new();
            for column in table.columns() {
                if let Some(value) = replica.cell(table.name(), row, column)
                    && replica.default_of(table.name(), column).is_none_or(|default| !default.same(value))
                {
                    said.insert(format!("{column} = {}", text(&actual, value)));
                }
            }
            for (_, of, column) in actual.places(row) {
                let of = actual.id(*of).map_or("a stranger", |id| id.id.as_str());
                said.insert(format!("in {column} of {of}"));
            }
            let name = format!("{} {}", table.name(), id.id);
            assert!(seen.insert(name.clone(), said).is_none(), "{name} is there twice");
        }
    }
    seen
}

/// All rows of a State, without rows that no row refers to.
pub fn meant(state: &State, replica: &Replica) -> Seen {
    let actual = Actual::new(replica);
    let rows: Vec<_> = all_keys(state).into_iter().flat_map(|key| rows_of(state, key)).collect();
    let mut there: BTreeSet<_> = rows.iter().map(|row| row.id.clone()).collect();
    loop {
        let kept: BTreeSet<_> = rows
            .iter()
            .filter(|row| row.id.table.is_root() || row.member_of.iter().any(|m| there.contains(&m.of)))
            .filter(|row| there.contains(&row.id))
            .map(|row| row.id.clone())
            .collect();
        if kept.len() == there.len() {
            break;
        }
        there = kept;
    }
    let mut seen = Seen::new();
    for row in rows.iter().filter(|row| there.contains(&row.id)) {
        let table = row.id.table.name();
        let mut said = BTreeSet::new();
        for (column, value) in &row.columns {
            if replica.default_of(table, column).is_none_or(|default| !default.same(value)) {
                said.insert(format!("{column} = {}", text(&actual, value)));
            }
        }
        for (column, to) in row.refs.iter().filter(|(_, to)| there.contains(to)) {
            said.insert(format!("{column} = {:?}", BTreeSet::from([to.id.clone()])));
        }
        for place in row.member_of.iter().filter(|place| there.contains(&place.of)) {
            said.insert(format!("in {} of {}", place.column, place.of.id));
        }
        seen.insert(format!("{table} {}", row.id.id), said);
    }
    seen
}

/// The rows that only one of the two has.
pub fn difference(held: &Seen, meant: &Seen) -> Vec<String> {
    let names: BTreeSet<&String> = held.keys().chain(meant.keys()).collect();
    let differ = names.into_iter().filter(|name| held.get(*name) != meant.get(*name));
    differ.map(|name| format!("{name}: held {:?}, meant {:?}", held.get(name), meant.get(name))).collect()
}

/// Waits until the database has the rows of the State, and no other rows of ours.
pub async fn until_equal(connected: &mut Connected, state: &State) {
    let mut events = Vec::new();
    // The echo's answer comes after the updates of all earlier transactions.
    connected.session.call("echo", serde_json::json!([])).await.unwrap();
    connected.take_in(&mut events).unwrap();
    let waiting = async {
        loop {
            if difference(&held(&connected.replica), &meant(state, &connected.replica)).is_empty() {
                return;
            }
            connected.changed(&mut events).await.unwrap();
        }
    };
    if tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.is_err() {
        let left = difference(&held(&connected.replica), &meant(state, &connected.replica));
        panic!("the database does not become what it should be:\n{}", left.join("\n"));
    }
}
