//! An agent's link to a control plane in the same process: the same messages, without the wire.

use bytes::Bytes;
use lenticular_agent::{Call, Chunks, Link, LinkError, peer::Stream};
use lenticular_api::App;
use lenticular_model::{
    HostId, ImageId, ServerId,
    error::{Error, Kind},
};
use lenticular_wire::agent::{Answer, Orders, OrdersQuery, Registration, Report, Welcome};
use std::path::Path;

/// The link.
pub(crate) struct InProcessLink(pub App);

fn link_error(error: Error) -> LinkError {
    match error.kind {
        Kind::NotFound => LinkError::Unknown,
        Kind::Unavailable => LinkError::Unreachable { at: "this process".to_owned(), why: error.to_string() },
        _ => LinkError::Refused { status: lenticular_wire::fault::status(&error), body: error.to_string() },
    }
}

/// No bytes: simulated hosts copy no images.
struct Nothing;

impl Chunks for Nothing {
    fn next(&mut self) -> Call<'_, Option<Bytes>> {
        Box::pin(async { Ok(None) })
    }
}

/// The disk of a simulated guest: an empty qcow2 disk of this size.
fn blank_disk(bytes: u64) -> Bytes {
    const CLUSTER: u64 = 1 << 16;
    // An entry of the first level covers as many clusters as a cluster has entries.
    let entries = bytes.div_ceil(CLUSTER * (CLUSTER / 8));
    let tables = (entries * 8).div_ceil(CLUSTER);
    let mut disk = vec![0; ((3 + tables) * CLUSTER) as usize];
    let mut put = |at: u64, field: &[u8]| disk[at as usize..][..field.len()].copy_from_slice(field);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &16_u32.to_be_bytes());
    put(24, &bytes.to_be_bytes());
    put(36, &(entries as u32).to_be_bytes());
    put(40, &(3 * CLUSTER).to_be_bytes());
    put(48, &CLUSTER.to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    put(CLUSTER, &(2 * CLUSTER).to_be_bytes());
    (0..3 + tables).for_each(|n| put(2 * CLUSTER + 2 * n, &1_u16.to_be_bytes()));
    disk.into()
}

impl Link for InProcessLink {
    fn register<'a>(&'a self, registration: &'a Registration) -> Call<'a, Welcome> {
        Box::pin(async move { self.0.agent_register(registration.clone()).await.map_err(link_error) })
    }

    fn orders(&self, host: HostId, query: OrdersQuery) -> Call<'_, Orders> {
        Box::pin(async move { self.0.agent_orders(host, &query).await.map_err(link_error) })
    }

    fn report<'a>(&'a self, host: HostId, report: &'a Report) -> Call<'a, ()> {
        Box::pin(async move { self.0.agent_report(host, report.clone()).await.map_err(link_error) })
    }

    fn answer<'a>(&'a self, host: HostId, answer: &'a Answer) -> Call<'a, ()> {
        Box::pin(async move {
            self.0.agent_answer(host, answer.clone());
            Ok(())
        })
    }

    fn join_console<'a>(&'a self, host: HostId, connection: &'a str) -> Call<'a, Stream> {
        Box::pin(async move {
            let (agents_end, ours) = tokio::io::duplex(4096);
            self.0.agent_joins_console(host, connection, Box::new(ours)).map_err(link_error)?;
            Ok(Box::new(agents_end) as Stream)
        })
    }

    fn image(&self, _: ImageId) -> Call<'_, Box<dyn Chunks>> {
        Box::pin(async { Ok(Box::new(Nothing) as Box<dyn Chunks>) })
    }

    fn upload<'a>(&'a self, server: ServerId, upload: &'a str, _: &'a Path) -> Call<'a, ()> {
        Box::pin(async move {
            let state = self.0.store.state();
            let known = state.servers.get(&server).and_then(|s| Some((s.host_id?, s.size.disk_gb)));
            let (host, disk_gb) = known.ok_or(LinkError::Unknown)?;
            let blank = Ok::<_, std::convert::Infallible>(blank_disk(u64::from(disk_gb.max(1)) << 30));
            let bytes = futures_util::stream::iter([blank]);
            self.0.agent_saves_disk(host, server, upload.to_owned(), bytes).await.map_err(link_error)
        })
    }

    fn password<'a>(&'a self, server: ServerId, password: &'a str) -> Call<'a, ()> {
        Box::pin(async move {
            let host = self.0.store.state().servers.get(&server).and_then(|known| known.host_id);
            let host = host.ok_or(LinkError::Unknown)?;
            self.0.agent_password(host, server, password.to_owned()).await.map_err(link_error)
        })
    }

    fn user_data(&self, server: ServerId) -> Call<'_, Option<Vec<u8>>> {
        Box::pin(async move { self.0.agent_user_data(server).await.map_err(link_error) })
    }

    fn files(&self, server: ServerId) -> Call<'_, Option<Vec<u8>>> {
        Box::pin(async move { self.0.agent_files(server).await.map_err(link_error) })
    }
}
