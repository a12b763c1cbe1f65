//! An agent's link to a control plane in the same process: the same messages, without the wire.

use bytes::Bytes;
use lenticular_agent::{Call, Chunks, Link, LinkError};
use lenticular_api::App;
use lenticular_model::{
    error::{Error, Kind},
    HostId, ImageId, ServerId,
};
use lenticular_wire::agent::{Answer, Hello, Orders, OrdersQuery, Report, Welcome};

/// The link.
pub struct Inside(pub App);

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

impl Link for Inside {
    fn hello<'a>(&'a self, hello: &'a Hello) -> Call<'a, Welcome> {
        Box::pin(async move { self.0.agent_hello(hello.clone()).await.map_err(link_error) })
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

    fn image(&self, _: ImageId) -> Call<'_, Box<dyn Chunks>> {
        Box::pin(async { Ok(Box::new(Nothing) as Box<dyn Chunks>) })
    }

    fn user_data(&self, server: ServerId) -> Call<'_, Option<Vec<u8>>> {
        Box::pin(async move { self.0.agent_user_data(server).await.map_err(link_error) })
    }
}
