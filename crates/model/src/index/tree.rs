//! The trees behind most indexes. Indexes with different ids share a few types of tree, so that the compiler builds
//! few of them.

use crate::{
    Timestamp,
    id::{Id, UuidId},
};
use imbl::{OrdMap, OrdSet};
use std::{marker::PhantomData, sync::Arc};
use uuid::Uuid;

type Entry = (Uuid, u64, Uuid);

/// Moves an entry of a set.
fn replace<K: Ord + Clone>(set: &mut OrdSet<K>, old: Option<K>, new: Option<K>) {
    if old == new {
        return;
    }
    if let Some(key) = old {
        set.remove(&key);
    }
    if let Some(key) = new {
        set.insert(key);
    }
}

/// The entries of a tree from `from` on, as long as they begin with the same id.
fn walk(tree: &OrdSet<Entry>, from: Entry) -> impl Iterator<Item = Entry> + '_ {
    tree.range(from..).copied().take_while(move |(of, ..)| *of == from.0)
}

/// Ids `B` that belong to an id `A`, in the order of a number and then of the ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Links<A, B>(OrdSet<Entry>, PhantomData<(A, B)>);

impl<A: UuidId, B: UuidId> Links<A, B> {
    /// Moves an entry.
    pub(crate) fn set(&mut self, old: Option<(A, u64, B)>, new: Option<(A, u64, B)>) {
        let entry = |(a, n, b): (A, u64, B)| (a.uuid(), n, b.uuid());
        replace(&mut self.0, old.map(entry), new.map(entry));
    }

    /// The ids that belong to `of`.
    pub(crate) fn of(&self, of: A) -> impl Iterator<Item = B> + '_ {
        self.from(of, 0).map(|(_, id)| id)
    }

    /// The numbers and ids that belong to `of`, from a number on.
    pub(crate) fn from(&self, of: A, number: u64) -> impl Iterator<Item = (u64, B)> + '_ {
        walk(&self.0, (of.uuid(), number, Uuid::nil())).map(|(_, n, id)| (n, B::of(id)))
    }

    /// The first id that belongs to `of` with this number.
    pub(crate) fn at(&self, of: A, number: u64) -> Option<B> {
        self.from(of, number).next().filter(|(n, _)| *n == number).map(|(_, id)| id)
    }

    /// All entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (A, u64, B)> + '_ {
        self.0.iter().map(|(a, n, b)| (A::of(*a), *n, B::of(*b)))
    }

    /// Removes all entries.
    #[cfg(test)]
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Ids `B` that belong to an id `A`, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Newest<A, B>(OrdSet<Entry>, PhantomData<(A, B)>);

impl<A: UuidId, B: UuidId> Newest<A, B> {
    /// The entry of an id: the tree is in the order of the complements.
    fn entry((of, at, id): (A, Timestamp, B)) -> Entry {
        (of.uuid(), !at.ordered(), Uuid::from_u128(!id.uuid().as_u128()))
    }

    /// Moves an entry.
    pub(crate) fn set(&mut self, old: Option<(A, Timestamp, B)>, new: Option<(A, Timestamp, B)>) {
        replace(&mut self.0, old.map(Self::entry), new.map(Self::entry));
    }

    /// The ids that belong to `of`, newest first, after the given one.
    pub(crate) fn of(&self, of: A, after: Option<(Timestamp, B)>) -> impl Iterator<Item = B> + '_ {
        let from = after.map_or((of.uuid(), 0, Uuid::nil()), |(at, id)| Self::entry((of, at, id)));
        let entries = walk(&self.0, from).skip_while(move |entry| after.is_some() && *entry == from);
        entries.map(|(.., id)| B::of(Uuid::from_u128(!id.as_u128())))
    }

    /// Removes all entries.
    #[cfg(test)]
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Ids `B` under a text, in the order of the texts and then of the ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Texts<B>(OrdSet<(Arc<str>, Uuid)>, PhantomData<B>);

impl<B: UuidId> Texts<B> {
    /// Moves an entry.
    pub(crate) fn set(&mut self, old: Option<(Arc<str>, B)>, new: Option<(Arc<str>, B)>) {
        let entry = |(text, id): (Arc<str>, B)| (text, id.uuid());
        replace(&mut self.0, old.map(entry), new.map(entry));
    }

    /// The texts and ids from a text on.
    pub(crate) fn from(&self, text: Arc<str>) -> impl Iterator<Item = (&str, B)> + '_ {
        self.0.range((text, Uuid::nil())..).map(|(text, id)| (&**text, B::of(*id)))
    }
}

/// The id that has a name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Names<I: Id>(OrdMap<Arc<str>, I::Raw>);

impl<I: Id> Default for Names<I> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<I: Id> Names<I> {
    /// Moves an entry.
    pub(crate) fn set(&mut self, old: Option<(Arc<str>, I)>, new: Option<(Arc<str>, I)>) {
        if old == new {
            return;
        }
        if let Some((name, _)) = old {
            self.0.remove(&name);
        }
        if let Some((name, id)) = new {
            self.0.insert(name, id.raw().clone());
        }
    }

    /// The id with this name.
    pub(crate) fn get(&self, name: &str) -> Option<I> {
        self.0.get(name).cloned().map(I::from_raw)
    }

    /// All ids in the order of their names.
    pub(crate) fn ids(&self) -> impl Iterator<Item = I> + '_ {
        self.0.values().cloned().map(I::from_raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostId, ProjectId, ServerId};

    fn server(n: u8) -> ServerId {
        ServerId(Uuid::from_u128(n.into()))
    }

    #[test]
    fn links_are_in_the_order_of_their_numbers_and_end_with_their_owner() {
        let (one, two) = (HostId(Uuid::from_u128(1)), HostId(Uuid::from_u128(2)));
        let mut links = Links::default();
        for (host, number, n) in [(one, 7, 1), (one, 3, 2), (one, 3, 1), (two, 0, 4)] {
            links.set(None, Some((host, number, server(n))));
        }
        assert_eq!(links.of(one).collect::<Vec<_>>(), [server(1), server(2), server(1)]);
        assert_eq!(links.from(one, 4).collect::<Vec<_>>(), [(7, server(1))]);
        assert_eq!((links.at(one, 3), links.at(one, 4)), (Some(server(1)), None));
        links.set(Some((one, 3, server(1))), Some((two, 9, server(1))));
        assert_eq!(links.of(one).collect::<Vec<_>>(), [server(2), server(1)]);
        assert_eq!(links.of(two).collect::<Vec<_>>(), [server(4), server(1)]);
    }

    #[test]
    fn the_newest_come_first_and_a_page_begins_after_its_marker_even_if_that_is_gone() {
        let (own, other) = (ProjectId(Uuid::from_u128(1)), ProjectId(Uuid::from_u128(2)));
        let mut newest = Newest::default();
        for (project, at, n) in [(own, -5, 1), (own, 3, 2), (own, 3, 3), (other, 9, 4)] {
            newest.set(None, Some((project, Timestamp(at), server(n))));
        }
        let after = |at: i64, n: u8| newest.of(own, Some((Timestamp(at), server(n)))).collect::<Vec<_>>();
        assert_eq!(newest.of(own, None).collect::<Vec<_>>(), [server(3), server(2), server(1)]);
        assert_eq!(after(3, 3), [server(2), server(1)]);
        assert_eq!(after(0, 9), [server(1)]);
        assert_eq!(after(-5, 1), []);
    }
}
