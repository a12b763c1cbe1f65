//! An address group: an address set for each family.

use super::{
    Key, RowId,
    row::{Row, symbol},
    schema::Table,
};
use crate::ovsdb::Datum;
use lenticular_model::{AddressGroupId, State};

/// The name of a group's address set of a family in matches.
pub(super) fn set_name(id: AddressGroupId, v4: bool) -> String {
    symbol(if v4 { "addresses4" } else { "addresses6" }, id)
}

/// The rows.
pub(super) fn rows(state: &State, id: AddressGroupId) -> Vec<Row> {
    let Some(group) = state.address_groups.get(&id) else { return Vec::new() };
    let row = |v4: bool| {
        let addresses = group.addresses.iter().filter(|range| range.addr().is_ipv4() == v4);
        Row::new(RowId::part(Table::AddressSet, Key::AddressGroup(id), if v4 { 4 } else { 6 }))
            .noted("name", &group.name)
            .with_one("name", set_name(id, v4))
            .with("addresses", Datum::set(addresses.map(|range| range.trunc().to_string())))
    };
    vec![row(true), row(false)]
}
