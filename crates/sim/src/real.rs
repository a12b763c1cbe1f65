//! The real state of guests on hosts. Agents and the control plane may believe something else.

use lenticular_agent::core::FoundMemory;
use lenticular_model::{DiskId, ServerId};
use std::collections::BTreeMap;

/// What a disk has: the number of its making, and the number of writes.
pub(crate) type Content = (u64, u64);

/// The real state of a guest's root disk, with its other disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) generation: u64,
    /// The number of the disk's making.
    pub(crate) made: u64,
    /// How many times it was written.
    pub(crate) writes: u64,
    /// The guest's other disks.
    pub(crate) more: BTreeMap<DiskId, Content>,
}

impl Disk {
    /// The guest writes to all its disks.
    pub(crate) fn write(&mut self) {
        self.writes += 1;
        self.more.values_mut().for_each(|(_, writes)| *writes += 1);
    }
}

/// The real state of a guest's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) number: u64,
    pub(crate) boot: u64,
    /// The layout of its machine.
    pub(crate) layout: u32,
    /// The guest has shut itself down, and the process waits for a look.
    pub(crate) ended: bool,
    /// The guest stands still: its memory has gone to another host.
    pub(crate) paused: bool,
    /// Its owner lets it stand still.
    pub(crate) held: bool,
    /// The run of the agent that learns of its end.
    pub(crate) watched_by: Option<u64>,
}

/// The real state of a saved memory. It belongs to the disks as they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) generation: u64,
    pub(crate) boot: u64,
    pub(crate) layout: u32,
    pub(crate) root: Content,
    pub(crate) more: BTreeMap<DiskId, Content>,
}

/// The real state of an arriving guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arriving {
    pub(crate) generation: u64,
    /// The content of the arrived root disk, once all disks are complete.
    pub(crate) got: Option<Content>,
    /// The contents of the other arrived disks.
    pub(crate) got_more: BTreeMap<DiskId, Content>,
    /// The process that waits for the guest, and its boot.
    pub(crate) waits: Option<(u64, u64)>,
    /// The layout of its machine.
    pub(crate) layout: u32,
    /// True if the order said the layout.
    pub(crate) layout_told: bool,
}

/// The real state of a guest; the agent and the control plane may believe something else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Real {
    /// Data from another host.
    pub(crate) arriving: Option<Arriving>,
    pub(crate) disk: Option<Disk>,
    /// Vanished disks.
    pub(crate) away: Option<Disk>,
    /// A vanished disk beside the root disk.
    pub(crate) away_more: Option<(DiskId, Content)>,
    pub(crate) process: Option<Process>,
    pub(crate) memory: Option<Memory>,
}

impl Real {
    /// The process, unless its guest has ended or stands still.
    pub(crate) fn running(&self) -> Option<&Process> {
        self.process.as_ref().filter(|p| !p.ended && !p.paused && !p.held)
    }

    /// The complete disks of the guest, with their generation.
    pub(crate) fn disks(&self, id: ServerId) -> BTreeMap<DiskId, u64> {
        let all = self.disk.iter().flat_map(|disk| {
            let ids = [DiskId::root_of(id)].into_iter().chain(disk.more.keys().copied());
            ids.map(|id| (id, disk.generation))
        });
        all.collect()
    }

    /// True if anything of the guest exists.
    pub(crate) fn is_there(&self) -> bool {
        self.disk.is_some() || self.process.is_some() || self.arriving.is_some()
    }

    /// The disk's content, here or arrived: the number of its making, and the number of writes.
    pub(crate) fn content(&self) -> Option<Content> {
        let disk = self.disk.as_ref().map(|disk| (disk.made, disk.writes));
        disk.or(self.arriving.as_ref().and_then(|arriving| arriving.got))
    }

    /// The saved memory, as its host finds it.
    pub(crate) fn found_memory(&self) -> Option<FoundMemory> {
        self.memory.as_ref().map(|memory| FoundMemory { generation: memory.generation, boot: memory.boot })
    }
}
