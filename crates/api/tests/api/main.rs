//! Tests of the API in process: snapshots of its answers, with the store in memory and simulated guests.

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
