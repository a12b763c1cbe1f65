//! A batch as the arrays that the commit statement takes.

use crate::{
    engine::{Batch, Before},
    sql::to_sql,
    sum,
};
use tokio_postgres::types::ToSql;

/// One field for each parameter after the epoch, in their order.
#[derive(Default)]
pub(super) struct Columns<'b> {
    entry_seq: Vec<i64>,
    entry_at: Vec<i64>,
    actor: Vec<&'b str>,
    request_id: Vec<&'b str>,
    why: Vec<&'b str>,
    entry_sum: Vec<i64>,
    change_seq: Vec<i64>,
    change_kind: Vec<&'b str>,
    change_id: Vec<&'b str>,
    before: Vec<Option<&'b str>>,
    is_stored: Vec<bool>,
    change_sum: Vec<i64>,
    written_kind: Vec<&'b str>,
    written_id: Vec<&'b str>,
    doc: Vec<&'b str>,
    written_seq: Vec<i64>,
    written_sum: Vec<i64>,
    removed_kind: Vec<&'b str>,
    removed_id: Vec<&'b str>,
}

impl<'b> Columns<'b> {
    pub(super) fn of(batch: &'b Batch) -> Self {
        let mut to = Self::default();
        for entry in &batch.entries {
            to.entry_seq.push(to_sql(entry.seq));
            to.entry_at.push(entry.at.0);
            to.actor.push(&entry.cause.actor);
            to.request_id.push(&entry.cause.request_id);
            to.why.push(&entry.cause.why);
            to.entry_sum.push(sum::of_entry(entry));
        }
        for change in &batch.changes {
            let before = match &change.before {
                Before::Known(doc) => doc.as_deref(),
                Before::Stored => None,
            };
            to.change_seq.push(to_sql(change.seq));
            to.change_kind.push(change.kind.name());
            to.change_id.push(&change.id);
            to.before.push(before);
            to.is_stored.push(change.before == Before::Stored);
            to.change_sum.push(sum::of_image(change.kind, &change.id, before, change.seq));
        }
        for ((kind, id), row) in &batch.records {
            if let Some(doc) = &row.doc {
                to.written_kind.push(kind.name());
                to.written_id.push(id);
                to.doc.push(doc);
                to.written_seq.push(to_sql(row.seq));
                to.written_sum.push(sum::of_image(*kind, id, Some(doc), row.seq));
            } else {
                to.removed_kind.push(kind.name());
                to.removed_id.push(id);
            }
        }
        to
    }

    pub(super) fn params<'p>(&'p self, epoch: &'p String) -> [&'p (dyn ToSql + Sync); 20] {
        [
            epoch,
            &self.entry_seq,
            &self.entry_at,
            &self.actor,
            &self.request_id,
            &self.why,
            &self.entry_sum,
            &self.change_seq,
            &self.change_kind,
            &self.change_id,
            &self.before,
            &self.is_stored,
            &self.change_sum,
            &self.written_kind,
            &self.written_id,
            &self.doc,
            &self.written_seq,
            &self.written_sum,
            &self.removed_kind,
            &self.removed_id,
        ]
    }
}
