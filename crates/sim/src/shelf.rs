//! Shelved servers: their disks on the way to the image store, and the image store's content.

use crate::{
    event::{Event, From, Reply, Request, Save},
    host::Doing,
    world::{World, note},
};
use lenticular_agent::core::Step;
use lenticular_model::{
    ImageId, ServerId, State,
    error::{Error, Kind},
};

/// How long an agent waits before it sends a disk again, in milliseconds.
const AGAIN_MS: i64 = 3_000;

impl Doing {
    /// The upload with an unknown outcome.
    pub(crate) fn waits_for_shelf(&self) -> Option<(String, u64)> {
        match &self.step {
            Step::Upload(_, upload) | Step::Snapshot(_, upload) if !self.fails && self.taken.is_none() => {
                Some((upload.clone(), self.number))
            }
            _ => None,
        }
    }
}

impl World {
    /// A host sends a disk to the image store.
    pub(crate) fn send_to_shelf(&mut self, n: usize, server: ServerId, upload: String, number: u64) {
        let name = self.name(server);
        let host = &self.hosts[n];
        let Some(agent) = &host.agent else { return };
        let (agent_run, host_id) = (agent.agent_run, host.id);
        let Some(real) = host.guests.get(&server) else { return };
        let copies = self.hosts[n].agent.as_ref().and_then(|agent| agent.doing.get(&server));
        let copies = copies.is_some_and(|doing| matches!(doing.step, Step::Snapshot(..)));
        if real.running().is_some() && !copies {
            return self.violate(1, format!("the disk of {name} is sent to the image store while it runs"));
        }
        let (Some(content), Some(host_id)) = (real.content(), host_id) else {
            let doing = self.hosts[n].live(agent_run).and_then(|agent| agent.doing.get_mut(&server));
            doing.into_iter().for_each(|doing| doing.fails = true);
            return;
        };
        let save = Save { host_id, server, upload, number, content };
        self.send_to_plane(n, Request::Save(From { host: n, agent_run, call: number }, save));
    }

    /// A sent disk got no answer.
    pub(crate) fn send_again(
        &mut self,
        n: usize,
        agent_run: u64,
        server: ServerId,
        (upload, number): (String, u64),
    ) {
        self.send_to_shelf(n, server, upload, number);
        // An unreadable disk ends the upload.
        self.after_ms(AGAIN_MS, Event::StepEnds { host: n, agent_run, server, number });
    }

    /// The control plane has accepted or refused a sent disk.
    pub(crate) fn answer_save(&mut self, from: From, save: &Save, answer: Result<(), Error>) {
        let taken = match answer {
            Ok(()) => true,
            // The agent tries again.
            Err(error) if error.kind == Kind::Unavailable => return,
            Err(_) => false,
        };
        self.coverage.note("shelf", if taken { "saved" } else { "not wanted" });
        let name = self.name(save.server);
        note!(self, "the disk of {name} is sent to the image store: {taken}");
        self.send_to_agent(from, Reply::Saved(save.server, save.number, taken));
    }

    /// A disk's bytes are in the image store before the commit that counts them.
    pub(crate) fn place_shelved(&mut self, save: &Save) {
        let server = self.plane.published.servers.get(&save.server);
        if let Some(shelf) = server.filter(|s| s.is_being_shelved()).and_then(|s| s.shelf.as_ref()) {
            self.clients.shelved.insert(shelf.image_id(), save.content);
        }
    }

    /// An image's bytes are removed after its record.
    pub(crate) fn forget_shelved(&mut self, after: &State, id: &str) {
        let gone = id.parse().ok().filter(|id: &ImageId| !after.images.contains_key(id));
        if gone.and_then(|id| self.clients.shelved.remove(&id)).is_some() {
            self.coverage.note("shelf", "gone");
        }
    }
}
