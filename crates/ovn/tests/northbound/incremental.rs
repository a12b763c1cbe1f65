//! A change dirties every key whose rows differ afterwards.

use crate::world::{World, step};
use lenticular_ovn::northbound::{Key, all_keys, dirty::dirty, rows_of};
use proptest::prelude::*;
use std::collections::BTreeSet;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn keys_that_are_not_dirty_have_the_rows_they_had(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            let before = world.state.clone();
            let update = world.step(step);
            let mut keys = BTreeSet::new();
            for (kind, id) in &update.changes {
                dirty(&before, &update.state, *kind, id, &mut keys);
            }
            let all: BTreeSet<Key> = all_keys(&before).into_iter().chain(all_keys(&update.state)).collect();
            for key in all.difference(&keys) {
                prop_assert_eq!(rows_of(&before, *key), rows_of(&update.state, *key), "{} after {:?}", key, step);
            }
        }
    }

    #[test]
    fn rows_have_ids_of_their_key_and_no_two_the_same(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        let mut seen = BTreeSet::new();
        for key in all_keys(&world.state) {
            for row in rows_of(&world.state, key) {
                prop_assert_eq!(Key::of_row(&row.id.id), Ok(key));
                prop_assert!(seen.insert(row.id.clone()), "{:?} is there twice", row.id);
                let own: BTreeSet<&str> = row.id.table.columns().iter().copied().collect();
                for column in row.columns.keys().chain(row.refs.keys()) {
                    prop_assert!(own.contains(column), "{column} of {:?} is not compared", row.id.table);
                }
                prop_assert!(row.id.table.is_root() || !row.member_of.is_empty(), "{:?} hangs on nothing", row.id);
                for place in &row.member_of {
                    prop_assert!(place.of.table.sets().contains(&place.column));
                }
            }
        }
    }
}
