//! The API in process: what it answers, as snapshots, with the store in memory and hosts whose guests are simulated.

mod cloud;
mod compute;
mod host;
mod identity;
mod image;
mod network;
mod placement;
mod refusal;
mod snapshot;
mod world;
