//! The API in process: what it answers, as snapshots, with the store in memory and hosts whose guests are simulated.

mod cloud;
mod compute;
mod host;
mod identity;
mod image;
mod network;
mod operator;
mod placement;
mod refusal;
mod schema;
mod snapshot;
mod world;
